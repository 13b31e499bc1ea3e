"""Layers chosen by the number of spatial dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

SpatialDims = Literal[1, 2, 3]
Sizes = int | tuple[int, ...]

_Layers = dict[int, Callable[..., nn.Module]]
_CONVS: _Layers = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORMS: _Layers = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_MAX_POOLS: _Layers = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVG_POOLS: _Layers = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


def require_dims(plug: str, spatial_dims: int, *, supported: tuple[int, ...] = (1, 2, 3)) -> None:
    """Refuse a number of spatial dimensions that the named plug cannot serve."""
    if spatial_dims not in supported:
        known = " or ".join(map(str, supported))
        raise ValueError(f"{plug} cannot serve spatial_dims={spatial_dims}; it serves {known}")


def per_axis(spatial_dims: SpatialDims, sizes: Sizes, *, name: str = "stride") -> tuple[int, ...]:
    """One positive size per spatial axis; a single number counts for all axes."""
    values = (sizes,) * spatial_dims if isinstance(sizes, int) else tuple(sizes)
    if len(values) != spatial_dims or min(values) < 1:
        raise ValueError(f"{name} {sizes} does not fit: give one number or {spatial_dims} numbers, all >= 1")
    return values


def conv(
    spatial_dims: SpatialDims,
    c_in: int,
    c_out: int,
    *,
    kernel: Sizes,
    stride: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    bias: bool = True,
) -> nn.Module:
    """Convolution (B, c_in, *S) -> (B, c_out, *S')."""
    return _CONVS[spatial_dims](
        c_in, c_out, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias
    )


def batch_norm(spatial_dims: SpatialDims, channels: int) -> nn.Module:
    """Batch normalisation of the channel axis of (B, C, *S)."""
    return _BATCH_NORMS[spatial_dims](channels)


def max_pool(spatial_dims: SpatialDims, size: Sizes, *, stride: Sizes | None = None) -> nn.Module:
    """Maximum over windows side by side; an incomplete last window is dropped.

    With a stride, odd windows are centred on every stride-th value instead.
    """
    if stride is None:
        return _MAX_POOLS[spatial_dims](size)
    padding = tuple(k // 2 for k in per_axis(spatial_dims, size, name="size"))
    return _MAX_POOLS[spatial_dims](size, stride=stride, padding=padding)


def avg_pool(spatial_dims: SpatialDims, size: Sizes) -> nn.Module:
    """Mean over windows side by side; an incomplete last window is dropped."""
    return _AVG_POOLS[spatial_dims](size)
