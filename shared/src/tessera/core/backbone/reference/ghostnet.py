"""GhostNet: inverted bottlenecks whose pointwise convolutions are ghost modules.

Han et al., "GhostNet: More Features from Cheap Operations", arXiv 1911.11907.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.inverted_residual import HardGate, make_divisible
from tessera.core.backbone.last_map import LastMapNetwork
from tessera.core.backbone.slots.convolutions import conv_norm
from tessera.core.backbone.slots.mixer_ghost import GhostMixer

STEM = 16  # channels before scaling by the width
HIDDEN = 1280  # units between the pooled map and the logits, at any width
DIVISOR = 4  # of all channels


class Row(NamedTuple):
    """One bottleneck, with channels before scaling by the width."""

    kernel: int
    expanded: int
    c_out: int
    gate: bool = False
    stride: int = 1


ROWS = (  # of the paper at width 1
    Row(3, 16, 16),
    Row(3, 48, 24, stride=2),
    Row(3, 72, 24),
    Row(5, 72, 40, gate=True, stride=2),
    Row(5, 120, 40, gate=True),
    Row(3, 240, 80, stride=2),
    Row(3, 200, 80),
    Row(3, 184, 80),
    Row(3, 184, 80),
    Row(3, 480, 112, gate=True),
    Row(3, 672, 112, gate=True),
    Row(5, 672, 160, gate=True, stride=2),
    Row(5, 960, 160),
    Row(5, 960, 160, gate=True),
    Row(5, 960, 160),
    Row(5, 960, 160, gate=True),
)


class GhostNet(LastMapNetwork):
    """5,182,508 parameters at width 1 with images of three channels and 1000 classes.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        num_classes: K.
        width: Factor of the channels, rounded to multiples of 4.
        dropout: Share of the hidden units set to zero in training.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        num_classes: int,
        *,
        width: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        channels = make_divisible(STEM * width, DIVISOR)
        self.stem = conv_norm(spatial_dims, c_in, channels, kernel=3, stride=2)
        blocks = []
        for row in ROWS:
            scaled = row._replace(
                expanded=make_divisible(row.expanded * width, DIVISOR),
                c_out=make_divisible(row.c_out * width, DIVISOR),
            )
            blocks.append(GhostBottleneck(spatial_dims, channels, scaled))
            channels = scaled.c_out
        self.blocks = nn.Sequential(*blocks)
        last = make_divisible(ROWS[-1].expanded * width, DIVISOR)
        self.last = conv_norm(spatial_dims, channels, last, kernel=1)
        self.hidden = nn.Linear(last, HIDDEN)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(HIDDEN, num_classes)

    def last_map(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> the last map (B, C, *S')."""
        return self.last(self.blocks(self.stem(x)))

    def classify(self, last: Tensor) -> Tensor:
        """Last map (B, C, *S') -> logits (B, K)."""
        return self.linear(self.dropout(torch.relu(self.hidden(last.flatten(2).mean(-1)))))


class GhostBottleneck(nn.Module):
    """Ghost module, depthwise convolution with the stride if any, gate, linear ghost module; plus a shortcut.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        row: What it is made of.
    """

    def __init__(self, spatial_dims: SpatialDims, c_in: int, row: Row) -> None:
        super().__init__()
        layers: list[nn.Module] = [GhostMixer(spatial_dims, c_in, row.expanded)]
        if row.stride > 1:
            layers.append(_depthwise(spatial_dims, row.expanded, row))
        if row.gate:
            layers.append(HardGate(row.expanded, divisor=DIVISOR))
        layers.append(GhostMixer(spatial_dims, row.expanded, row.c_out, relu=False))
        self.layers = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if c_in != row.c_out or row.stride > 1:
            pointwise = conv_norm(spatial_dims, c_in, row.c_out, kernel=1, activation=None)
            self.shortcut = nn.Sequential(_depthwise(spatial_dims, c_in, row), pointwise)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        return self.layers(x) + self.shortcut(x)


def _depthwise(spatial_dims: SpatialDims, channels: int, row: Row) -> nn.Module:
    return conv_norm(
        spatial_dims,
        channels,
        channels,
        kernel=row.kernel,
        stride=row.stride,
        groups=channels,
        activation=None,
    )
