"""Heads: the list of stage maps (B, C_i, *S_i) -> logits (B, K)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims


class MeanHead(nn.Module):
    """Mean of the last map, dropout, one linear layer; any map size."""

    def __init__(
        self, spatial_dims: SpatialDims, channels: Sequence[int], num_classes: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels[-1], num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_i, *S_i) -> logits (B, K)."""
        return self.linear(self.dropout(maps[-1].flatten(2).mean(-1)))


class MeanMaxHead(nn.Module):
    """Means and maxima of the last map side by side, dropout, one linear layer; any map size."""

    def __init__(
        self, spatial_dims: SpatialDims, channels: Sequence[int], num_classes: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(2 * channels[-1], num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_i, *S_i) -> logits (B, K)."""
        last = maps[-1].flatten(2)
        return self.linear(self.dropout(torch.cat([last.mean(-1), last.amax(-1)], dim=1)))
