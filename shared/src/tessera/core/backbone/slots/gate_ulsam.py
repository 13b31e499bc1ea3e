"""ULSAM: one spatial attention map for each group of channels."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, batch_norm, conv

MOMENTUM = 0.9  # of the batch norms, in torch's sense: the authors' code

_MAX_POOLS: dict[int, type[nn.Module]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}


class ULSAMGate(nn.Module):
    """Ultra-lightweight subspace attention: x + A x, with A a softmax over all positions, per group.

    Saini et al., "ULSAM: Ultra-Lightweight Subspace Attention Module for Compact Convolutional Neural
    Networks", arXiv 2006.15102. The authors loop over the groups; here grouped convolutions run them at
    once, with the same 5 C + 3 groups parameters.

    Args:
        spatial_dims: Number of axes in S.
        channels: C, a multiple of `groups`.
        groups: Number of attention maps.
    """

    def __init__(self, spatial_dims: SpatialDims, channels: int, *, groups: int = 4) -> None:
        super().__init__()
        if groups < 1 or channels % groups:
            raise ValueError(
                f"gate ulsam: {channels} channels do not split into {groups} groups; "
                f"give groups that divides {channels}"
            )
        self.groups = groups
        self.attend = nn.Sequential(
            conv(spatial_dims, channels, channels, kernel=1, groups=channels),
            _fast_norm(spatial_dims, channels),
            nn.ReLU(),
            _MAX_POOLS[spatial_dims](3, stride=1, padding=1),
            conv(spatial_dims, channels, groups, kernel=1, groups=groups),
            _fast_norm(spatial_dims, groups),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        attention = torch.softmax(self.attend(x).flatten(2), dim=-1)
        grouped = x.reshape(x.shape[0], self.groups, -1, attention.shape[-1])
        return (grouped + attention.unsqueeze(2) * grouped).reshape(x.shape)


def _fast_norm(spatial_dims: SpatialDims, channels: int) -> nn.Module:
    norm = batch_norm(spatial_dims, channels)
    cast(nn.BatchNorm1d, norm).momentum = MOMENTUM
    return norm
