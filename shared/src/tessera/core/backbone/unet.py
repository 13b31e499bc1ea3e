"""U-Net over any encoder: what the stages saw comes back on the way up.

Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv 1505.04597;
logits at several sizes as in Dou et al., arXiv 1607.00582. Blocks are those of the encoder's layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, conv
from tessera.core.backbone.encoders import MapEncoder, Stage
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.plugs import Grid, Plug, route_at
from tessera.core.backbone.slots.route import State
from tessera.core.backbone.upsampling import UpMode, Upsample


class UpStage(nn.Module):
    """Enlarge, join with the skip, blocks: (B, c_in, *S) and (B, c_skip, *S') -> (B, c_out, *S').

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the map from below.
        c_skip: Channels of the encoder's map; 0 where it has none of this size.
        c_out: Channels of the result.
        strides: Size S' over S, per axis.
        layout: Its blocks are used, as those of ``stage``.
        stage: Number of the stage in the layout.
        grid: Size S', if known.
        depth: Blocks.
        skip: Plug of the slot route; it sees the skip, then the enlarged map.
        up: How the map is enlarged.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_skip: int,
        c_out: int,
        strides: tuple[int, ...],
        *,
        layout: EncoderLayout,
        stage: int,
        grid: Grid | None = None,
        depth: int = 1,
        skip: Plug = "concat",
        up: UpMode = "interpolate",
    ) -> None:
        super().__init__()
        self.up = Upsample(spatial_dims, c_in, c_out, strides, mode=up)
        channels = [c_skip, self.up.out_channels] if c_skip else [self.up.out_channels]
        self.route = route_at(skip if c_skip else "last", spatial_dims, channels)
        self.stage = Stage(
            spatial_dims,
            self.route.out_channels,
            layout,
            stage,
            grid=grid,
            c_out=c_out,
            strides=(1,) * spatial_dims,
            depth=depth,
        )

    def forward(self, x: Tensor, skip: Tensor | None, size: Sequence[int], state: State) -> Tensor:
        """(B, c_in, *S) and the skip (B, c_skip, *size) -> (B, c_out, *size)."""
        enlarged = self.up(x, size)
        return self.stage(self.route([enlarged] if skip is None else [skip, enlarged], state), state)


class UNet(nn.Module):
    """(B, c, *S) -> logits (B, K, *S) for any S that the encoder can halve.

    In training with deep supervision the result is a list: logits at the input's size first, then at the
    sizes of the coarser decoder maps.

    Args:
        encoder: The encoder; of several maps with one stride the last is the skip.
        num_classes: K.
        widths: Channels of the decoder's maps, coarsest first; those of the encoder's maps by default, and
            half the finest one's where the encoder has no map of the input's size.
        depth: Blocks of each decoder stage.
        skip: Plug of the slot route that joins skip and enlarged map: concat, sum, or last for no skips.
        up: How maps are enlarged.
        deep_supervision: Coarser maps that give logits in training.
    """

    def __init__(
        self,
        encoder: MapEncoder,
        num_classes: int,
        *,
        widths: Sequence[int] | None = None,
        depth: int = 1,
        skip: Plug = "concat",
        up: UpMode = "interpolate",
        deep_supervision: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.levels = _levels(encoder)
        finer = self.levels[:-1]
        if widths is None:
            coarse = self.levels[1].channels
            widths = [level.channels or max(1, coarse // 2) for level in reversed(finer)]
        _check(widths, deep_supervision, levels=len(finer))
        ups: list[UpStage] = []
        below = self.levels[-1]
        for level, c_out in zip(reversed(finer), widths, strict=True):
            ups.append(
                UpStage(
                    encoder.spatial_dims,
                    (self.levels[-1].channels, *widths)[len(ups)],
                    level.channels,
                    c_out,
                    tuple(low // high for low, high in zip(below.strides, level.strides, strict=True)),
                    layout=replace(encoder.layout, down=None),
                    stage=min(max(0, (level.source or 0) - 1), encoder.layout.stages - 1),
                    grid=level.grid,
                    depth=depth,
                    skip=skip,
                    up=up,
                )
            )
            below = level
        self.ups = nn.ModuleList(ups)
        self.classes = nn.ModuleList(
            conv(encoder.spatial_dims, c, num_classes, kernel=1)
            for c in list(reversed(widths))[: 1 + deep_supervision]
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, c, *S) -> logits (B, K, *S), or a list of logits, finest first."""
        state: State = {}
        maps = self.encoder(x, state)
        y, decoded = maps[-1], []
        for up, level in zip(self.ups, reversed(self.levels[:-1]), strict=True):
            skip = None if level.source is None else maps[level.source]
            y = up(y, skip, x.shape[2:] if skip is None else skip.shape[2:], state)
            decoded.append(y)
        if not self.training:
            return self.classes[0](y)
        logits = [classes(y) for classes, y in zip(self.classes, reversed(decoded), strict=False)]
        return logits if len(logits) > 1 else logits[0]


class Level(NamedTuple):
    """One size of map: its number among the encoder's maps (None: the input's size, without a map)."""

    source: int | None
    channels: int
    strides: tuple[int, ...]
    grid: Grid | None


def _levels(encoder: MapEncoder) -> list[Level]:
    """The last map of each size, finest first, beginning with the input's size."""
    last = {strides: index for index, strides in enumerate(encoder.strides)}
    levels = [Level(i, encoder.channels[i], s, encoder.grids[i]) for s, i in last.items()]
    ones = (1,) * encoder.spatial_dims
    if levels[0].strides != ones:
        levels.insert(0, Level(None, 0, ones, encoder.layout.input_size))
    if len(levels) < 2:
        raise ValueError("UNet: the encoder makes nothing smaller; give a stage of its layout a stride")
    return levels


def _check(widths: Sequence[int], deep_supervision: int, *, levels: int) -> None:
    if len(widths) != levels:
        raise ValueError(f"UNet: {len(widths)} widths for {levels} decoder stages; give one for each")
    if not 0 <= deep_supervision < levels:
        raise ValueError(
            f"UNet: deep_supervision={deep_supervision} of {levels} decoder maps; give 0 to {levels - 1}"
        )
