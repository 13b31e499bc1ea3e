"""Downsampling: (B, c_in, *S) -> (B, c_out, *S / stride)."""

from __future__ import annotations

from torch import nn

from tessera.core.backbone.blocks import Sizes, SpatialDims, avg_pool, conv, max_pool, per_axis


def conv_down(
    spatial_dims: SpatialDims,
    c_in: int,
    c_out: int,
    stride: Sizes,
    *,
    kernel: Sizes | None = None,
    bias: bool = True,
) -> nn.Module:
    """Convolution with a stride: size S gives ceil(S / stride).

    Without a kernel each axis takes the smallest odd one that skips no value, at least 3.
    """
    strides = per_axis(spatial_dims, stride)
    if kernel is None:
        kernels = tuple(max(3, s + 1 - s % 2) for s in strides)
    else:
        kernels = _odd(spatial_dims, kernel, "down conv")
    padding = tuple(k // 2 for k in kernels)
    return conv(spatial_dims, c_in, c_out, kernel=kernels, stride=strides, padding=padding, bias=bias)


def patch_down(
    spatial_dims: SpatialDims, c_in: int, c_out: int, stride: Sizes, *, bias: bool = True
) -> nn.Module:
    """One linear layer over patches side by side: size S gives floor(S / stride)."""
    strides = per_axis(spatial_dims, stride)
    return conv(spatial_dims, c_in, c_out, kernel=strides, stride=strides, bias=bias)


def max_down(
    spatial_dims: SpatialDims, c_in: int, c_out: int, stride: Sizes, *, kernel: Sizes | None = None
) -> nn.Module:
    """Max pooling; a 1x1 convolution where the channels change.

    Windows side by side make floor(S / stride) of size S, an odd kernel around every stride-th value
    ceil(S / stride).
    """
    strides = per_axis(spatial_dims, stride)
    if kernel is None:
        pool = max_pool(spatial_dims, strides)
    else:
        pool = max_pool(spatial_dims, _odd(spatial_dims, kernel, "down max"), stride=strides)
    return _project(pool, spatial_dims, c_in, c_out)


def avg_down(spatial_dims: SpatialDims, c_in: int, c_out: int, stride: Sizes) -> nn.Module:
    """Mean pooling: size S gives floor(S / stride); a 1x1 convolution where the channels change."""
    return _project(avg_pool(spatial_dims, per_axis(spatial_dims, stride)), spatial_dims, c_in, c_out)


def _odd(spatial_dims: SpatialDims, kernel: Sizes, plug: str) -> tuple[int, ...]:
    kernels = per_axis(spatial_dims, kernel, name="kernel")
    if any(k % 2 == 0 for k in kernels):
        raise ValueError(f"{plug}: kernel {kernel} has no middle; give odd numbers or None")
    return kernels


def _project(pool: nn.Module, spatial_dims: SpatialDims, c_in: int, c_out: int) -> nn.Module:
    if c_in == c_out:
        return pool
    return nn.Sequential(pool, conv(spatial_dims, c_in, c_out, kernel=1))
