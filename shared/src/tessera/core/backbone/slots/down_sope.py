"""Patch embeddings made of convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import Sizes, SpatialDims, batch_norm, conv, max_pool, per_axis


class ChannelAffine(nn.Module):
    """A learned factor and offset for each channel: (B, C, *S) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.offset = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        shape = -1, *[1] * (x.ndim - 2)
        return x * self.scale.reshape(shape) + self.offset.reshape(shape)


def sope_down(spatial_dims: SpatialDims, c_in: int, c_out: int, stride: Sizes) -> nn.Module:
    """Affine, convolutions with stride 2 and BN, GELU between them, affine: S gives ceil(S / stride).

    Lu et al. (DHVT), arXiv 2210.05958. The widths double from one to the next up to c_out; a single
    convolution is followed by the GELU, as in the authors' code. The stride of each axis is a power of two.
    """
    strides = per_axis(spatial_dims, stride)
    steps = max(strides).bit_length() - 1
    if steps < 1 or any(s & (s - 1) for s in strides):
        raise ValueError(f"down sope: stride {stride} is not made of halvings; give 2, 4, 8 or 16")
    if c_out % (1 << (steps - 1)):
        raise ValueError(
            f"down sope: {c_out} channels cannot be halved {steps - 1} times; "
            f"give a multiple of {1 << (steps - 1)}"
        )
    layers: list[nn.Module] = [ChannelAffine(c_in)]
    width = c_in
    for step in range(steps):
        wider = c_out >> (steps - 1 - step)
        halving = tuple(2 if s >> step > 1 else 1 for s in strides)
        layers += [
            conv(spatial_dims, width, wider, kernel=3, stride=halving, padding=1, bias=False),
            batch_norm(spatial_dims, wider),
            nn.GELU(),
        ]
        width = wider
    if steps > 1:
        layers.pop()
    return nn.Sequential(*layers, ChannelAffine(c_out))


def ecvit_down(
    spatial_dims: SpatialDims, c_in: int, c_out: int, stride: Sizes, *, kernel: int = 3
) -> nn.Module:
    """A convolution along each axis, BN and GELU after each, max pooling, 1x1: S gives floor(S / stride).

    "ECViT", arXiv 2504.14825, the tokeniser; kernel size and width are unverified, and the learned positions
    of the paper are left to the depthwise convolution of ffn/ecvit.
    """
    if kernel % 2 == 0:
        raise ValueError(f"down ecvit: kernel {kernel} has no middle; give an odd number")
    strides = per_axis(spatial_dims, stride)
    layers: list[nn.Module] = []
    for axis in reversed(range(spatial_dims)):  # along the rows first
        sizes = tuple(kernel if i == axis else 1 for i in range(spatial_dims))
        layers += [
            conv(
                spatial_dims,
                c_in if axis == spatial_dims - 1 else c_out,
                c_out,
                kernel=sizes,
                padding=tuple(size // 2 for size in sizes),
                bias=False,
            ),
            batch_norm(spatial_dims, c_out),
            nn.GELU(),
        ]
    return nn.Sequential(*layers, max_pool(spatial_dims, strides), conv(spatial_dims, c_out, c_out, kernel=1))
