"""DAS: a gate for each value from a deformable convolution, in one to three dimensions."""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.core.backbone.blocks import SpatialDims, conv
from tessera.core.backbone.slots.adn_layer_norm import ChannelLayerNorm


class DeformConv(nn.Module):
    """Convolution whose kernel positions move by offsets of their own at each output position.

    Dai et al., "Deformable Convolutional Networks", arXiv 1703.06211, with stride 1 and zero padding.
    Samples between positions are interpolated linearly, outside the map is zero. In 2-D this is
    torchvision's operator, the order of the offsets included.

    Args:
        spatial_dims: d.
        c_in: Channels of the map.
        c_out: Channels of the result.
        kernel: k, odd, the same on all axes.
    """

    taps: Tensor

    def __init__(self, spatial_dims: SpatialDims, c_in: int, c_out: int, *, kernel: int = 3) -> None:
        super().__init__()
        plain = cast(nn.Conv1d, conv(spatial_dims, c_in, c_out, kernel=kernel))
        self.weight, self.bias = plain.weight, cast(nn.Parameter, plain.bias)
        around = range(-(kernel // 2), kernel // 2 + 1)
        taps = torch.tensor(list(itertools.product(around, repeat=spatial_dims)), dtype=torch.float32)
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """Map (B, c_in, *S), offsets in positions (B, k^d * d, *S), axes of S innermost -> (B, c_out, *S)."""
        samples = sample(x, self._positions(offsets, x.shape[2:])).to(x.dtype)
        mixed = torch.einsum("bikl,oik->bol", samples, self.weight.flatten(2))
        return (mixed + self.bias.unsqueeze(1)).reshape(x.shape[0], -1, *x.shape[2:])

    def _positions(self, offsets: Tensor, sizes: torch.Size) -> Tensor:
        """Where each tap reads: (B, k^d, L, d), L the product of the sizes."""
        dtype = torch.promote_types(offsets.dtype, torch.float32)  # half floats cannot count so far
        axes = [torch.arange(size, device=offsets.device, dtype=dtype) for size in sizes]
        centres = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)
        moves = offsets.reshape(offsets.shape[0], *self.taps.shape, -1).transpose(2, 3)
        return centres + self.taps.unsqueeze(1) + moves


def sample(x: Tensor, positions: Tensor) -> Tensor:
    """Linear interpolation of (B, C, *S) at positions (B, K, L, d) in units of S -> (B, C, K, L)."""
    sizes = x.shape[2:]
    axes = [(at + 0.5) * (2 / size) - 1 for at, size in zip(positions.unbind(-1), sizes, strict=True)]
    grid = torch.stack(axes[::-1], dim=-1)  # grid_sample: the last axis first, edges at -1 and 1
    x = x.to(positions.dtype)
    if len(sizes) == 1:  # a dummy axis of one position, read at its middle
        x, grid = x.unsqueeze(2), F.pad(grid, (0, 1))
    if len(sizes) == 3:
        return F.grid_sample(x, grid.unsqueeze(1), align_corners=False).squeeze(2)
    return F.grid_sample(x, grid, align_corners=False)


class DASGate(nn.Module):
    """Deformable attention: each value weighted by what a deformable convolution finds elsewhere.

    Salajegheh et al., "DAS: A Deformable Attention to Capture Salient Information in CNNs",
    arXiv 2311.12091: features from a depthwise separable convolution, instance norm and GELU; offsets
    from a convolution of them; a deformable convolution, layer norm and sigmoid make the weights. The
    paper has images only, and no public code.

    Unverified: the value of alpha, the kernel sizes, which layers have biases, the axes of the layer norm
    (channels here), the zero start of the offsets, and therefore every parameter count.

    Args:
        spatial_dims: Number of axes in S.
        channels: C.
        alpha: Part of the channels that the features have.
        kernel: Odd size of the depthwise, offset and deformable kernels.
    """

    def __init__(
        self, spatial_dims: SpatialDims, channels: int, *, alpha: float = 0.2, kernel: int = 3
    ) -> None:
        super().__init__()
        if alpha <= 0 or kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"gate das: alpha {alpha} must be positive and kernel {kernel} odd")
        inner = max(1, int(alpha * channels))
        reach = kernel // 2
        self.depthwise = conv(
            spatial_dims, channels, channels, kernel=kernel, padding=reach, groups=channels, bias=False
        )
        self.pointwise = conv(spatial_dims, channels, inner, kernel=1, bias=False)  # the norm removes biases
        moves = spatial_dims * kernel**spatial_dims
        self.offsets = conv(spatial_dims, inner, moves, kernel=kernel, padding=reach)
        for parameter in self.offsets.parameters():
            nn.init.zeros_(parameter)
        self.deform = DeformConv(spatial_dims, inner, channels, kernel=kernel)
        self.norm = ChannelLayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S); S has at least two positions."""
        features = F.gelu(F.instance_norm(self.pointwise(self.depthwise(x))))
        found = self.deform(features, self.offsets(features))
        return x * torch.sigmoid(self.norm(found))
