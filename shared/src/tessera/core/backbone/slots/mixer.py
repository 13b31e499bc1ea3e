"""Mixers: spatial mixing inside a block. The default is a plain convolution."""

from __future__ import annotations

from torch import nn

from tessera.core.backbone.blocks import SpatialDims, conv


def conv_mixer(
    spatial_dims: SpatialDims, c_in: int, c_out: int, stride: int = 1, *, kernel: int = 3, groups: int = 1
) -> nn.Module:
    """Convolution (B, c_in, *S) -> (B, c_out, *ceil(S / stride)), zero padding, no bias."""
    if kernel % 2 == 0:
        raise ValueError(f"conv mixer: kernel {kernel} is even; choose an odd one")
    return conv(
        spatial_dims,
        c_in,
        c_out,
        kernel=kernel,
        stride=stride,
        padding=kernel // 2,
        bias=False,
        groups=groups,
    )
