"""What an encoder is made of, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tessera.core.backbone.blocks import Sizes
from tessera.core.backbone.bottleneck import CONV_SHORTCUT, BottleneckPlan, GatePosition
from tessera.core.backbone.metaformer import MetaformerPlan
from tessera.core.backbone.plugs import Grid, PerStage, Plug, at_stage


@dataclass(frozen=True, kw_only=True)
class EncoderLayout:
    """A stem and stages of blocks; the defaults are ResNet-18.

    Slots hold plugs (see `tessera.core.backbone.plugs`); those of stages may be lists, one plug a stage.

    Args:
        block: Skeleton of the blocks.
        widths: Channels of each stage.
        depths: Blocks of each stage.
        strides: Stride with which each stage begins.
        ratio: See `BottleneckPlan`; of the bottleneck skeleton.
        pointwise: See `BottleneckPlan`; of the bottleneck skeleton.
        groups: See `BottleneckPlan`; of the bottleneck skeleton.
        shortcut: See `BottleneckPlan`; of the bottleneck skeleton.
        act_after_add: See `BottleneckPlan`; of the bottleneck skeleton.
        ffn: See `MetaformerPlan`; of the metaformer skeleton.
        layer_scale: See `MetaformerPlan`; of the metaformer skeleton.
        final_norm: Whether the last map is normalised by the slot adn; None: in the metaformer skeleton.
        mixer: Spatial mixing of each block.
        gate: Gate of each block.
        gate_position: Where in the block it is.
        adn: Normalisation, activation and dropout everywhere.
        down: Downsampling before each stage that has a stride or other channels; None: the first mixer and
            shortcut of the stage do it (bottleneck), or a convolution (metaformer).
        route: What each stage is fed; the first stage sees the stem alone.
        input_map: Plug of the slot down that maps the input onto itself, such as a log-polar grid.
        stem: Plug of the slot down at position 0.
        stem_width: Its channels.
        stem_stride: Its stride.
        stem_adn: Whether the slot adn follows the stem and each ``down``: all of it in the bottleneck
            skeleton, its norm in the metaformer skeleton.
        stem_pool: Plug of the slot down after the stem, or None.
        stem_pool_stride: Its stride.
        drop_path: Probability of skipping the last block's branch, rising evenly from 0 at the first.
        input_size: Size of the input map, for plugs that are made for one size of map.
    """

    block: Literal["bottleneck", "metaformer"] = "bottleneck"
    widths: Sequence[int] = (64, 128, 256, 512)
    depths: Sequence[int] = (2, 2, 2, 2)
    strides: Sequence[Sizes] = (1, 2, 2, 2)
    ratio: float = 1.0
    pointwise: bool | None = None
    groups: int | Literal["depthwise"] = 1
    shortcut: Plug | None = field(default_factory=lambda: CONV_SHORTCUT)
    act_after_add: bool = True
    ffn: PerStage | None = "mlp"
    layer_scale: float | None = None
    final_norm: bool | None = None
    mixer: PerStage = "conv"
    gate: PerStage = "identity"
    gate_position: GatePosition = "last"
    adn: PerStage = "bn_relu"
    down: PerStage | None = None
    route: PerStage = "last"
    input_map: Plug | None = None
    stem: Plug = field(default_factory=lambda: {"kind": "conv", "kernel": 7, "bias": False})
    stem_width: int = 64
    stem_stride: Sizes = 2
    stem_adn: bool = True
    stem_pool: Plug | None = field(default_factory=lambda: {"kind": "max", "kernel": 3})
    stem_pool_stride: Sizes = 2
    drop_path: float = 0.0
    input_size: Grid | None = None

    def __post_init__(self) -> None:
        """Refuse what no encoder can be made of."""
        if self.block not in ("bottleneck", "metaformer"):
            raise ValueError(f"there is no block {self.block!r}; choose bottleneck or metaformer")
        counts = {len(self.widths), len(self.depths), len(self.strides)}
        if len(counts) != 1 or not self.widths:
            raise ValueError(
                f"{len(self.widths)} widths, {len(self.depths)} depths and {len(self.strides)} strides; "
                "give one of each for every stage"
            )
        if min(*self.widths, *self.depths, self.stem_width) < 1:
            raise ValueError(f"widths {self.widths} and depths {self.depths} must all be 1 or more")

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.widths)

    def plug(self, slot: str, stage: int) -> Plug:
        """The plug of a slot that is never empty."""
        plug = at_stage(getattr(self, slot), stage, self.stages, slot=slot)
        if plug is None:
            raise ValueError(f"slot {slot} of stage {stage} is empty; give it a plug")
        return plug

    def bottleneck(self, stage: int) -> BottleneckPlan:
        """What the bottleneck blocks of a stage are made of."""
        return BottleneckPlan(
            ratio=self.ratio,
            pointwise=self.pointwise,
            groups=self.groups,
            mixer=self.plug("mixer", stage),
            gate=self.plug("gate", stage),
            gate_position=self.gate_position,
            adn=self.plug("adn", stage),
            shortcut=self.shortcut,
            act_after_add=self.act_after_add,
        )

    def metaformer(self, stage: int) -> MetaformerPlan:
        """What the metaformer blocks of a stage are made of."""
        return MetaformerPlan(
            mixer=self.plug("mixer", stage),
            gate=self.plug("gate", stage),
            gate_position=self.gate_position,
            adn=self.plug("adn", stage),
            ffn=at_stage(self.ffn, stage, self.stages, slot="ffn"),
            layer_scale=self.layer_scale,
        )
