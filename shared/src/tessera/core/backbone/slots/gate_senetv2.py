"""SENetV2's gate: squeeze-and-excitation whose hidden layer is made of several branches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims


class SaEGate(nn.Module):
    """Squeeze aggregated excitation: channel weights from `branches` parallel squeezes of the channel means.

    Narayanan, "SENetV2: Aggregated dense layer for channelwise and global representations",
    arXiv 2311.10807. The branches, stacked, are one matrix: the gate equals squeeze-and-excitation with
    ``branches * (C // ratio)`` hidden units and no biases. Unlike the public ports, few or odd channels
    are served: a branch keeps at least one unit. Unverified: the paper's settings (32 and 4, the defaults
    here) and its accuracies; with them the gate costs twice the parameters of SE with ratio 16.

    Args:
        spatial_dims: Number of axes in S; the operator is the same for all.
        channels: C.
        ratio: Channels per hidden unit of one branch.
        branches: Number of squeezes, the paper's cardinality.
    """

    def __init__(
        self, spatial_dims: SpatialDims, channels: int, *, ratio: int = 32, branches: int = 4
    ) -> None:
        super().__init__()
        if min(ratio, branches) < 1:
            raise ValueError(f"gate sae: ratio {ratio} and branches {branches} must both be at least 1")
        hidden = branches * max(1, channels // ratio)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        means = x.flatten(2).mean(-1)
        weights = torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))
        return x * weights.reshape(*weights.shape, *[1] * (x.ndim - 2))
