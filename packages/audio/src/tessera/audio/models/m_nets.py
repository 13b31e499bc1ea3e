"""M3, M5, M11, M18 and M34-res: very deep convolutional networks on raw sound samples.

Dai, Dai, Qu, Li, Das, "Very Deep Convolutional Neural Networks for Raw Waveforms", arXiv 1610.00087.
Input of the paper: 4 s at 8 kHz, each clip standardised to mean 0 and variance 1. Differences: logits
come without the softmax; an optional gate, another head and dropout before it. The paper's variants M3-fc to
M34-fc, whose two fully connected layers take the place of the mean over time, are ``head="fc"``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from tessera.core.backbone import build_adn, build_down, build_head, conv
from tessera.core.backbone.plugs import Place, Plug, gate_at

VariantName = Literal["m3", "m5", "m11", "m18", "m34-res"]

POOL = 4
STEM_STRIDE = 4
FC_UNITS = 1000  # from memory of the paper; its counts of 129 M for M3-fc and 18 M for M5-fc agree


@dataclass(frozen=True)
class Variant:
    """One column of the paper's table 1.

    Args:
        stem: Filters of the first convolution.
        stages: (filters, number of blocks) between the pools.
        residual: Whether a block is two convolutions and a shortcut instead of one convolution.
        last_pool: Whether a pool follows the last convolution as well.
    """

    stem: int
    stages: tuple[tuple[int, int], ...]
    residual: bool = False
    last_pool: bool = False


VARIANTS: dict[VariantName, Variant] = {
    "m3": Variant(256, ((256, 1),), last_pool=True),
    "m5": Variant(128, ((128, 1), (256, 1), (512, 1)), last_pool=True),
    "m11": Variant(64, ((64, 2), (128, 2), (256, 3), (512, 2))),
    "m18": Variant(64, ((64, 4), (128, 4), (256, 4), (512, 4))),
    "m34-res": Variant(48, ((48, 3), (96, 4), (192, 6), (384, 3)), residual=True),
}


class PlainBlock(nn.Sequential):
    """Convolution of 3 samples, batch norm, ReLU, gate: (B, c_in, T) -> (B, c_out, T)."""

    def __init__(self, c_in: int, c_out: int, *, stage: int, gate: Plug) -> None:
        super().__init__(
            conv(1, c_in, c_out, kernel=3, padding=1),
            build_adn("bn_relu", 1, c_out, "mid", stage),
            gate_at(gate, Place(stage=stage), 1, c_out),
        )


class ResidualBlock(nn.Module):
    """Two convolutions of 3 samples around a shortcut: (B, c_in, T) -> (B, c_out, T).

    The shortcut has no parameters: where the channels double, each is repeated in place (c0, c0, c1,
    c1, ...). The sum is normalised once more before its ReLU.
    """

    def __init__(self, c_in: int, c_out: int, *, stage: int, gate: Plug) -> None:
        super().__init__()
        self.repeats = c_out // c_in
        self.branch = nn.Sequential(
            conv(1, c_in, c_out, kernel=3, padding=1),
            build_adn("bn_relu", 1, c_out, "first", stage),
            conv(1, c_out, c_out, kernel=3, padding=1),
            build_adn("bn_relu", 1, c_out, "last", stage),
            gate_at(gate, Place(stage=stage), 1, c_out),
        )
        self.post_add = build_adn("bn_relu", 1, c_out, "post_add", stage, norm_after_add=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, T) -> (B, c_out, T)."""
        shortcut = x.repeat_interleave(self.repeats, dim=1) if self.repeats > 1 else x
        return self.post_add(self.branch(x) + shortcut)


class FlatHead(nn.Sequential):
    """Two fully connected layers over a map of one size, then the classes: (B, C, T) -> (B, K).

    Args:
        channels: C.
        frames: T.
        num_classes: K.
        dropout: Before the last layer.
    """

    def __init__(self, channels: int, frames: int, num_classes: int, *, dropout: float) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(channels * frames, FC_UNITS),
            nn.ReLU(inplace=True),
            nn.Linear(FC_UNITS, FC_UNITS),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(FC_UNITS, num_classes),
        )


class MNet(nn.Module):
    """Sound samples (B, 1, T) -> logits (B, K).

    Args:
        num_classes: K.
        variant: Column of the paper's table.
        stem_kernel: Samples under the first filters, an even number: 80, or the paper's 8 and 320.
        gate: Plug of the gate after each plain block, or before each addition.
        head: Name of the head over the stage maps, or ``fc`` for the paper's fully connected layers.
        samples: T, needed for the head ``fc`` and for no other.
        dropout: Before the head's linear layer; the paper has none.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        variant: VariantName = "m5",
        stem_kernel: int = 80,
        gate: Plug = "identity",
        head: str = "mean",
        samples: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"MNet: there is no variant {variant!r}; choose one of: {', '.join(VARIANTS)}")
        if stem_kernel < STEM_STRIDE or stem_kernel % 2:
            raise ValueError(f"MNet: stem_kernel {stem_kernel} is not an even number of 4 or more; try 80")
        table = VARIANTS[variant]
        # Padding for T // 4 steps whatever the kernel: 38 for 80 samples, as in the paper's 32,000 -> 8,000.
        self.stem = nn.Sequential(
            conv(
                1,
                1,
                table.stem,
                kernel=stem_kernel,
                stride=STEM_STRIDE,
                padding=(stem_kernel - STEM_STRIDE) // 2,
            ),
            build_adn("bn_relu", 1, table.stem, "stem"),
        )
        self.stages = nn.ModuleList(_stages(table, gate=gate))
        self.min_samples = STEM_STRIDE * POOL ** (len(table.stages) + table.last_pool)
        self.samples = samples
        self.head = self._head(head, [width for width, _ in table.stages], num_classes, dropout=dropout)
        self.apply(_init_glorot)

    def forward(self, x: Tensor) -> Tensor:
        """Samples (B, 1, T) -> logits (B, K); T at least `min_samples`."""
        maps = self.stage_maps(x)
        return self.head(maps[-1] if self.samples is not None else maps)

    def stage_maps(self, x: Tensor) -> list[Tensor]:
        """Samples (B, 1, T) -> the stages' outputs (B, C_i, T_i), T_i a quarter of the one before or so."""
        if x.ndim != 3 or x.shape[1] != 1:
            raise ValueError(f"MNet: the input has shape {tuple(x.shape)}; expected (B, 1, T)")
        if x.shape[-1] < self.min_samples:
            raise ValueError(
                f"MNet: {x.shape[-1]} samples are too few; expected at least {self.min_samples}. "
                "Pad the clips with zeros or take longer ones"
            )
        if self.samples is not None and x.shape[-1] != self.samples:
            raise ValueError(
                f"MNet: {x.shape[-1]} samples, but head='fc' was built for {self.samples}; "
                "cut the clips to that length or use head='mean'"
            )
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def _head(self, head: str, widths: list[int], num_classes: int, *, dropout: float) -> nn.Module:
        if (head == "fc") != (self.samples is not None):
            raise ValueError(
                f"MNet: head={head!r} with samples={self.samples}; "
                "give the number of samples for head='fc' and None for the others"
            )
        if self.samples is None:
            return build_head(head, 1, widths, num_classes, dropout=dropout)
        frames = self.samples // self.min_samples
        if frames < 1:
            raise ValueError(
                f"MNet: samples={self.samples} are too few; expected at least {self.min_samples}"
            )
        return FlatHead(widths[-1], frames, num_classes, dropout=dropout)


def _stages(table: Variant, *, gate: Plug) -> list[nn.Module]:
    """For each stage a pool, then its blocks, and the last pool where the table has one."""
    block = ResidualBlock if table.residual else PlainBlock
    stages: list[nn.Module] = []
    c_in = table.stem
    for stage, (width, count) in enumerate(table.stages, start=1):
        layers = [build_down("max", 1, c_in, c_in, POOL)]
        layers += [block(c_in if i == 0 else width, width, stage=stage, gate=gate) for i in range(count)]
        if table.last_pool and stage == len(table.stages):
            layers.append(build_down("max", 1, width, width, POOL))
        stages.append(nn.Sequential(*layers))
        c_in = width
    return stages


def _init_glorot(module: nn.Module) -> None:
    """Uniform weights after Glorot and zero biases, as in the re-implementation that gave the counts."""
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
