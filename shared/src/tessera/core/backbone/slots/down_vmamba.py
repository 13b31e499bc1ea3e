"""The stem of VMamba: two convolutions with strides."""

from __future__ import annotations

from torch import nn

from tessera.core.backbone.blocks import Sizes, SpatialDims, conv, per_axis
from tessera.core.backbone.slots.adn_layer_norm import ChannelLayerNorm


def vmamba_down(spatial_dims: SpatialDims, c_in: int, c_out: int, stride: Sizes) -> nn.Module:
    """3^d convolution to c_out / 2, layer norm, GELU, 3^d convolution: size S gives ceil(S / stride).

    Liu et al., "VMamba", arXiv 2401.10166. Each convolution takes half of the stride (4 there); the norm that
    follows is the network's.
    """
    strides = per_axis(spatial_dims, stride)
    if c_out % 2 or any(s not in (1, 2, 4) for s in strides):
        raise ValueError(
            f"down vmamba: {c_out} channels with stride {stride}; give an even number, and 1, 2 or 4 per axis"
        )
    first = tuple(min(s, 2) for s in strides)
    second = tuple(s // f for s, f in zip(strides, first, strict=True))
    return nn.Sequential(
        conv(spatial_dims, c_in, c_out // 2, kernel=3, stride=first, padding=1),
        ChannelLayerNorm(c_out // 2, eps=1e-5),
        nn.GELU(),
        conv(spatial_dims, c_out // 2, c_out, kernel=3, stride=second, padding=1),
    )
