"""SkipblockNet-M: MobileNetV3 whose early, fine map is handed to two later stages by skip blocks.

Abrahamyan et al., "Bias Loss for Mobile Neural Networks", arXiv 2107.11170 (there also SkipNet), with the
host of Howard et al., "Searching for MobileNetV3", arXiv 1905.02244. That the skip blocks have no
squeeze-and-excitation follows from the parameter count; their activation, hard swish here, is unverified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.inverted_residual import InvertedResidual
from tessera.core.backbone.last_map import LastMapNetwork
from tessera.core.backbone.slots.convolutions import conv_norm
from tessera.core.backbone.slots.route_skip_block import SkipBlockRoute

STEM = 16  # channels
LAST = 960  # channels of the last map
HIDDEN = 1280  # units between the pooled map and the logits


class Row(NamedTuple):
    """One inverted residual block; without ``expand`` it lacks the first 1x1 convolution."""

    kernel: int
    expand: float | None
    c_out: int
    se: bool
    hard_swish: bool
    stride: int = 1


class Skip(NamedTuple):
    """One skip block."""

    kernel: int
    expand: float


_TAIL = (
    Row(3, 6, 80, False, True, 2),
    Row(3, 2.5, 80, False, True),
    Row(3, 2.3, 80, False, True),
    Row(3, 2.3, 80, False, True),
    Row(3, 6, 112, True, True),
    Row(3, 6, 112, True, True),
    Row(5, 6, 160, True, True, 2),
    Row(5, 6, 160, True, True),
    Row(5, 6, 160, True, True),
)
MOBILENET_V3_LARGE = (
    Row(3, None, STEM, False, False),
    Row(3, 4, 24, False, False, 2),
    Row(3, 3, 24, False, False),
    Row(5, 3, 40, True, False, 2),
    Row(5, 3, 40, True, False),
    Row(5, 3, 40, True, False),
    *_TAIL,
)
SKIPBLOCKNET_M = (
    Row(3, 1, STEM, False, True),
    *MOBILENET_V3_LARGE[1:5],
    Row(5, 6, 40, True, True),
    *_TAIL,
)
SKIPS_M = {5: Skip(5, 6), 9: Skip(3, 2.3)}


class MobileNetV3(LastMapNetwork):
    """MobileNetV3 from rows of inverted residuals, with or without skip blocks.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        num_classes: K.
        rows: The blocks in order.
        skips: Skip blocks from the first row's output, by the number of the row (from 0) whose output they
            are added to.
        dropout: Share of the hidden units set to zero in training.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        num_classes: int,
        *,
        rows: Sequence[Row],
        skips: Mapping[int, Skip] | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.stem = conv_norm(spatial_dims, c_in, STEM, kernel=3, stride=2, activation=nn.Hardswish)
        self.rows, width = nn.ModuleList(), STEM
        for row in rows:
            self.rows.append(_block(spatial_dims, width, row))
            width = row.c_out
        self.skips = nn.ModuleDict()
        for number, skip in (skips or {}).items():
            channels = [rows[0].c_out, rows[number].c_out]
            route = SkipBlockRoute(spatial_dims, channels, kernel=skip.kernel, expand=skip.expand)
            self.skips[str(number)] = route
        self.last = conv_norm(spatial_dims, width, LAST, kernel=1, activation=nn.Hardswish)
        self.hidden = nn.Linear(LAST, HIDDEN)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(HIDDEN, num_classes)

    def last_map(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> the last map (B, 960, *ceil(S / 32)), which the bias loss takes."""
        x = early = self.rows[0](self.stem(x))
        for number, row in enumerate(self.rows[1:], start=1):
            x = row(x)
            if str(number) in self.skips:
                x = self.skips[str(number)]([early, x], {})
        return self.last(x)

    def classify(self, last: Tensor) -> Tensor:
        """Last map (B, 960, *S) -> logits (B, K)."""
        hidden = F.hardswish(self.hidden(last.flatten(2).mean(-1)))
        return self.linear(self.dropout(hidden))


def mobilenet_v3_large(
    spatial_dims: SpatialDims, c_in: int, num_classes: int, *, dropout: float = 0.2
) -> MobileNetV3:
    """The host, 5,483,032 parameters with three input channels and 1000 classes."""
    return MobileNetV3(spatial_dims, c_in, num_classes, rows=MOBILENET_V3_LARGE, dropout=dropout)


def skipblocknet_m(
    spatial_dims: SpatialDims, c_in: int, num_classes: int, *, dropout: float = 0.2
) -> MobileNetV3:
    """SkipblockNet-M, 5,532,352 parameters with three input channels and 1000 classes."""
    return MobileNetV3(spatial_dims, c_in, num_classes, rows=SKIPBLOCKNET_M, skips=SKIPS_M, dropout=dropout)


def _block(spatial_dims: SpatialDims, c_in: int, row: Row) -> InvertedResidual:
    return InvertedResidual(
        spatial_dims,
        c_in,
        row.c_out,
        row.stride,
        kernel=row.kernel,
        expand=row.expand,
        se=row.se,
        activation=nn.Hardswish if row.hard_swish else nn.ReLU,
    )
