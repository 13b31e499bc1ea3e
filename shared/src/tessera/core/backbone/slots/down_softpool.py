"""SoftPool: the mean of each window, weighted by the softmax of its values.

Stergiou et al., "Refining activation downsampling with SoftPool", arXiv 2101.00440. As in the paper and its
CUDA kernel each channel has its own weights and negative results stay (the authors' Python fallback differs
in both).
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import Sizes, SpatialDims, conv, per_axis
from tessera.core.backbone.space_to_depth import space_to_depth


class SoftPool(nn.Module):
    """Softmax-weighted mean over windows side by side; an incomplete last window is dropped.

    Args:
        spatial_dims: Number of axes in S.
        size: Size and stride of the window.
    """

    def __init__(self, spatial_dims: SpatialDims, size: Sizes) -> None:
        super().__init__()
        self.size = per_axis(spatial_dims, size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *floor(S / size))."""
        for axis, size in enumerate(self.size, start=2):
            x = x.narrow(axis, 0, x.shape[axis] // size * size)
        batch, channels = x.shape[:2]
        folded = space_to_depth(x, self.size, order="blocks")
        windows = folded.reshape(batch, prod(self.size), channels, *folded.shape[2:])
        return (torch.softmax(windows, dim=1) * windows).sum(dim=1)


def softpool_down(spatial_dims: SpatialDims, c_in: int, c_out: int, stride: Sizes) -> nn.Module:
    """SoftPool: size S gives floor(S / stride); a 1x1 convolution where the channels change."""
    pool = SoftPool(spatial_dims, stride)
    if c_in == c_out:
        return pool
    return nn.Sequential(pool, conv(spatial_dims, c_in, c_out, kernel=1))
