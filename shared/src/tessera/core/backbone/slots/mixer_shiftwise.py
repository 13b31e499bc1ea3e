"""Shift-wise convolution: long kernels made of small ones that are shifted and summed.

Li et al., "ShiftwiseConv: Small Convolutional Kernel with Large Kernel Effect", arXiv
2401.12736. Differences: the sum of shifted maps is computed as one convolution whose kernel is the small ones
side by side, which is the same linear map without a map for every shift and runs on any device; it serves 1-D
and 3-D, with one band per axis; the random choices are buffers in the state dict. How exactly the authors
draw them is unverified: here each channel has its own order.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, batch_norm
from tessera.core.backbone.merging import Mergeable
from tessera.core.backbone.slots.convolutions import fit_channels

_CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class ShiftwiseMixer(Mergeable):
    """x + a long depthwise band along each axis + a small depthwise kernel, each with its batch norm.

    Each channel has n = ceil(length / kernel) small kernels. A band sums, over several random
    assignments, the small kernels at n places side by side along its axis; the local part takes one of
    them. Where c_in differs from c_out or there is a stride, a convolution comes first.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Stride of the convolution in front.
        length: Length of each band; rounded up to a multiple of kernel.
        kernel: Size of the small kernels, odd.
        paths: Kernels trained side by side and added; `merge` keeps their sum.
        assignments: Random assignments of small kernels to places.
        ghost: Share of the channels that pass unchanged.
        seed: Of the random choices.
    """

    orders: Tensor
    picks: Tensor
    active: Tensor

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        length: int = 51,
        kernel: int = 3,
        paths: int = 2,
        assignments: int = 4,
        ghost: float = 0.23,
        seed: int = 123,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0 or length < kernel:
            raise ValueError(
                f"mixer shiftwise: kernel {kernel} must be odd and at most the length {length} of a band"
            )
        channels = int(c_out * (1 - ghost)) // 2 * 2
        if channels < 1 or channels > c_out:
            raise ValueError(f"mixer shiftwise: with ghost {ghost} none of {c_out} channels is convolved")
        self.spatial_dims = spatial_dims
        self.length = length
        self.kernel = kernel
        count = -(-length // kernel)
        self.fit = fit_channels(spatial_dims, c_in, c_out, stride)
        self.weights = nn.ParameterList(
            torch.empty(channels, count, *[kernel] * spatial_dims) for _ in range(paths)
        )
        self.band_norms = nn.ModuleList(batch_norm(spatial_dims, channels) for _ in range(spatial_dims))
        self.local_norm = batch_norm(spatial_dims, channels)
        draw = torch.Generator().manual_seed(seed)
        shape = (spatial_dims, assignments, channels, count)
        self.register_buffer("orders", torch.rand(shape, generator=draw, device="cpu").argsort(-1))
        self.register_buffer("picks", torch.randint(count, (channels,), generator=draw, device="cpu"))
        chosen = torch.randperm(c_out, generator=draw, device="cpu")[:channels]
        self.register_buffer("active", chosen.sort().values)
        self._draw_weights()

    def _draw_weights(self) -> None:
        """Uniform in +-1 / sqrt(values of a small kernel), as any depthwise convolution here."""
        bound = 1 / math.sqrt(self.kernel**self.spatial_dims)
        for weight in self.weights:
            nn.init.uniform_(weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        x = self.fit(x)
        chosen = x.index_select(1, self.active)
        small = torch.stack(list(self.weights)).sum(0)
        local = small[torch.arange(len(small), device=x.device), self.picks]
        mixed = self.local_norm(self._convolve(chosen, local, None))
        for axis, norm in enumerate(self.band_norms):
            mixed = mixed + norm(self._convolve(chosen, self._band(small, axis), axis))
        return x.index_add(1, self.active, mixed)

    def _band(self, small: Tensor, axis: int) -> Tensor:
        """Small kernels (C, n, *k) -> one kernel (C, *k'), n times as long along the axis."""
        order = self.orders[axis].reshape(*self.orders.shape[1:], *[1] * self.spatial_dims)
        every = small.expand(len(order), *small.shape)
        placed = every.gather(2, order.expand(*order.shape[:3], *small.shape[2:])).sum(0)
        return placed.movedim(1, axis + 1).flatten(axis + 1, axis + 2)

    def _convolve(self, x: Tensor, kernels: Tensor, long_axis: int | None) -> Tensor:
        """Depthwise convolution that keeps the size; a band is centred on value length // 2 of it."""
        padding: list[int] = []
        for axis, size in reversed(list(enumerate(kernels.shape[1:]))):
            before = self.length // 2 if axis == long_axis else self.kernel // 2
            padding += [before, size - 1 - before]
        return _CONVS[self.spatial_dims](F.pad(x, padding), kernels.unsqueeze(1), groups=len(kernels))

    @torch.no_grad()
    def merge(self) -> None:
        """Add the kernels of all paths."""
        self.weights = nn.ParameterList([torch.stack(list(self.weights)).sum(0)])
