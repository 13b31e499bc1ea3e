"""Convolutions that several mixers are made of."""

from __future__ import annotations

from torch import nn

from tessera.core.backbone.blocks import SpatialDims, batch_norm, conv


def conv_norm(
    spatial_dims: SpatialDims,
    c_in: int,
    c_out: int,
    *,
    kernel: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution without bias, batch norm, activation: (B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
    if kernel % 2 == 0:
        raise ValueError(f"kernel {kernel} has no middle; give an odd number")
    layers = [
        conv(
            spatial_dims,
            c_in,
            c_out,
            kernel=kernel,
            stride=stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
        ),
        batch_norm(spatial_dims, c_out),
    ]
    return nn.Sequential(*layers) if activation is None else nn.Sequential(*layers, activation())


def fit_channels(spatial_dims: SpatialDims, c_in: int, c_out: int, stride: int = 1) -> nn.Module:
    """What a mixer that keeps channels and size puts first; nothing where nothing changes.

    (B, c_in, *S) -> (B, c_out, *ceil(S / stride)): a convolution without bias, of size 1, or 3 where
    there is a stride, so that no value is skipped.
    """
    if c_in == c_out and stride == 1:
        return nn.Identity()
    kernel = 1 if stride == 1 else 3
    return conv(spatial_dims, c_in, c_out, kernel=kernel, stride=stride, padding=kernel // 2, bias=False)
