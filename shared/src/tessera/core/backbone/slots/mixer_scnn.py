"""Messages from slice to slice through the whole map, along each axis and back.

Pan et al., "Spatial As Deep: Spatial CNN for Traffic Scene Understanding", arXiv 1712.06080.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.slots.convolutions import fit_channels
from tessera.core.backbone.sweeps import slices, stack_slices

_CONVS = {2: F.conv1d, 3: F.conv2d}


class SCNNMixer(nn.Module):
    """2d passes one after the other: each slice gains relu(conv(slice before)), with one kernel per pass.

    In an image: down, up, right, left. The time grows with the sum of the sizes, as the slices of a
    pass wait for each other: for small maps, once before the head. Where c_in differs from
    c_out or there is a stride, a convolution comes first. 2d * c_out^2 * kernel^(d - 1) parameters.

    Args:
        spatial_dims: Number of axes in S; in 1-D a slice is one position and kernel plays no role.
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Stride of the convolution in front.
        kernel: Size of the convolution within a slice, odd.
    """

    def __init__(
        self, spatial_dims: SpatialDims, c_in: int, c_out: int, stride: int = 1, *, kernel: int = 9
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"mixer scnn: kernel {kernel} has no middle; give an odd number")
        self.spatial_dims = spatial_dims
        self.padding = kernel // 2
        self.fit = fit_channels(spatial_dims, c_in, c_out, stride)
        size = [kernel] * (spatial_dims - 1)
        self.weights = nn.ParameterList(torch.empty(c_out, c_out, *size) for _ in range(2 * spatial_dims))
        deviation = math.sqrt(2 / (math.prod(size) * c_out**2 * 5))  # authors' code
        for weight in self.weights:
            nn.init.normal_(weight, std=deviation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        x = self.fit(x)
        for number, weight in enumerate(self.weights):
            axis, backwards = number // 2, number % 2 == 1
            parts = slices(x, axis, backwards=backwards)
            for j in range(1, len(parts)):
                parts[j] = parts[j] + torch.relu(self._within_slice(parts[j - 1], weight))
            x = stack_slices(parts, axis, backwards=backwards)
        return x

    def _within_slice(self, part: Tensor, weight: Tensor) -> Tensor:
        if self.spatial_dims == 1:
            return F.linear(part, weight)
        return _CONVS[self.spatial_dims](part, weight, padding=self.padding)
