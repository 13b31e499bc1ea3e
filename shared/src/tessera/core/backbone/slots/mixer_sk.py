"""Selective kernels: branches with different dilations, mixed by a softmax for each channel.

Li et al., "Selective Kernel Networks", arXiv 1903.06586.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.slots.convolutions import conv_norm


class SKMixer(nn.Module):
    """Convolutions of size 3 with dilation 1, 2, ..., weighted by what the sum of their means says.

    It ends in activated values: no norm or activation belongs after it. In training the batch norm of
    the squeezed means needs at least two samples.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output, C below.
        stride: Stride of every branch.
        branches: Number of convolutions, M below.
        groups: Groups of each convolution; None takes the paper's 32 as far as they divide the channels.
        ratio: Channels per hidden unit of the selection.
        min_hidden: Least number of hidden units.
    """

    activated = True

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        branches: int = 2,
        groups: int | None = None,
        ratio: int = 16,
        min_hidden: int = 32,
    ) -> None:
        super().__init__()
        if branches < 2:
            raise ValueError(f"mixer sk: {branches} branches leave nothing to select; give 2 or more")
        if ratio < 1 or min_hidden < 1:
            raise ValueError(f"mixer sk: ratio {ratio} and min_hidden {min_hidden} must be positive")
        groups = math.gcd(32, c_in, c_out) if groups is None else groups
        hidden = max(c_out // ratio, min_hidden)
        self.branches = nn.ModuleList(
            conv_norm(spatial_dims, c_in, c_out, kernel=3, stride=stride, dilation=m + 1, groups=groups)
            for m in range(branches)
        )
        self.squeeze = nn.Linear(c_out, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.select = nn.Linear(hidden, branches * c_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        maps = [branch(x) for branch in self.branches]
        means = torch.stack([each.flatten(2).mean(-1) for each in maps]).sum(0)
        weights = self.weights(means).reshape(*means.shape, len(maps), *[1] * (x.ndim - 2))
        mixed = maps[0] * weights[:, :, 0]
        for m in range(1, len(maps)):
            mixed = torch.addcmul(mixed, maps[m], weights[:, :, m])
        return mixed

    def weights(self, means: Tensor) -> Tensor:
        """Means (B, C) -> the branches' weights (B, C, M), which sum to 1 for each channel."""
        logits = self.select(torch.relu(self.norm(self.squeeze(means))))
        return logits.unflatten(1, (len(self.branches), -1)).softmax(1).transpose(1, 2)
