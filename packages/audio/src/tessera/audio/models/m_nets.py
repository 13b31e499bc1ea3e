"""M3, M5, M11, M18 and M34-res: very deep convolutional networks on raw sound samples.

Dai, Dai, Qu, Li, Das, "Very Deep Convolutional Neural Networks for Raw Waveforms", arXiv 1610.00087.
Input of the paper: 4 s at 8 kHz, each clip standardised to mean 0 and variance 1. Differences: logits
come without the softmax; an optional gate, another head and dropout before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from tessera.core.backbone import build_adn, build_down, build_gate, build_head, conv

VariantName = Literal["m3", "m5", "m11", "m18", "m34-res"]

POOL = 4
STEM_STRIDE = 4


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

    def __init__(self, c_in: int, c_out: int, *, stage: int, gate: str) -> None:
        super().__init__(
            conv(1, c_in, c_out, kernel=3, padding=1),
            build_adn("bn_relu", 1, c_out, "mid", stage),
            build_gate(gate, 1, c_out),
        )


class ResidualBlock(nn.Module):
    """Two convolutions of 3 samples around a shortcut: (B, c_in, T) -> (B, c_out, T).

    The shortcut has no parameters: where the channels double, each is repeated in place (c0, c0, c1,
    c1, ...). The sum is normalised once more before its ReLU.
    """

    def __init__(self, c_in: int, c_out: int, *, stage: int, gate: str) -> None:
        super().__init__()
        self.repeats = c_out // c_in
        self.branch = nn.Sequential(
            conv(1, c_in, c_out, kernel=3, padding=1),
            build_adn("bn_relu", 1, c_out, "first", stage),
            conv(1, c_out, c_out, kernel=3, padding=1),
            build_adn("bn_relu", 1, c_out, "last", stage),
            build_gate(gate, 1, c_out),
        )
        self.post_add = build_adn("bn_relu", 1, c_out, "post_add", stage, norm_after_add=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, T) -> (B, c_out, T)."""
        shortcut = x.repeat_interleave(self.repeats, dim=1) if self.repeats > 1 else x
        return self.post_add(self.branch(x) + shortcut)


class MNet(nn.Module):
    """Sound samples (B, 1, T) -> logits (B, K).

    Args:
        num_classes: K.
        variant: Column of the paper's table.
        stem_kernel: Samples under the first filters, an even number: 80, or the paper's 8 and 320.
        gate: Name of the gate after each plain block, or before each addition.
        head: Name of the head over the stage maps.
        dropout: Before the head's linear layer; the paper has none.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        variant: VariantName = "m5",
        stem_kernel: int = 80,
        gate: str = "identity",
        head: str = "mean",
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
        self.head = build_head(head, 1, [width for width, _ in table.stages], num_classes, dropout=dropout)
        self.min_samples = STEM_STRIDE * POOL ** (len(table.stages) + table.last_pool)
        self.apply(_init_glorot)

    def forward(self, x: Tensor) -> Tensor:
        """Samples (B, 1, T) -> logits (B, K); T at least `min_samples`."""
        return self.head(self.stage_maps(x))

    def stage_maps(self, x: Tensor) -> list[Tensor]:
        """Samples (B, 1, T) -> the stages' outputs (B, C_i, T_i), T_i a quarter of the one before or so."""
        if x.ndim != 3 or x.shape[1] != 1:
            raise ValueError(f"MNet: the input has shape {tuple(x.shape)}; expected (B, 1, T)")
        if x.shape[-1] < self.min_samples:
            raise ValueError(
                f"MNet: {x.shape[-1]} samples are too few; expected at least {self.min_samples}. "
                "Pad the clips with zeros or take longer ones"
            )
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def _stages(table: Variant, *, gate: str) -> list[nn.Module]:
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
