"""Attentive statistics pooling: mean and standard deviation over positions, weighted by attention.

Okabe et al., "Attentive Statistics Pooling for Deep Speaker Embedding", arXiv 1803.10963, in the form of
EfficientTDNN (arXiv 2103.13581): one weight per channel and position, no biases. There it pools over time;
here over all positions of a signal, image or volume.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims

VARIANCE_FLOOR = 1e-9  # keeps the gradient of the root finite; EfficientTDNN


class AttentiveStatistics(nn.Module):
    """Weighted mean and population standard deviation of each channel.

    Args:
        channels: C.
        hidden: Width of the attention network.
    """

    def __init__(self, channels: int, hidden: int = 128) -> None:
        super().__init__()
        self.squeeze = nn.Conv1d(channels, hidden, 1, bias=False)
        self.score = nn.Conv1d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, 2C): means, then standard deviations."""
        x = x.flatten(2)
        weights = torch.softmax(self.score(torch.tanh(self.squeeze(x))), dim=-1)
        mean = (weights * x).sum(-1)
        variance = (weights * (x - mean.unsqueeze(-1)).square()).sum(-1)
        return torch.cat([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=1)


class ASPHead(nn.Module):
    """Attentive statistics of the last map, batch norm, dropout, one linear layer; any map size.

    Args:
        spatial_dims: Number of axes of the maps; the operator is the same for all.
        channels: Channels of each map; only the last one is read.
        num_classes: K.
        dropout: Share of the pooled values set to zero in training.
        hidden: Width of the attention network.
        norm: Whether a batch norm follows the pooling, as in the paper; in training it needs two samples.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        channels: Sequence[int],
        num_classes: int,
        *,
        dropout: float = 0.0,
        hidden: int = 128,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.pool = AttentiveStatistics(channels[-1], hidden)
        self.norm = nn.BatchNorm1d(2 * channels[-1]) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(2 * channels[-1], num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_i, *S_i) -> logits (B, K)."""
        return self.linear(self.dropout(self.norm(self.pool(maps[-1]))))
