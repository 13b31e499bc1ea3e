"""Channel networks with a depthwise convolution between their two layers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, batch_norm, conv


class DAFF(nn.Module):
    """1x1, BN, GELU; plus a depthwise 3^d, BN, GELU of it; 1x1, BN. Biases everywhere.

    Lu et al. (DHVT), arXiv 2210.05958; what the paper does with its class token is in `reference.dhvt`.

    Args:
        spatial_dims: Number of axes in S.
        channels: C.
        ratio: Hidden channels over C.
    """

    def __init__(self, spatial_dims: SpatialDims, channels: int, *, ratio: float = 4.0) -> None:
        super().__init__()
        hidden = _hidden("daff", channels, ratio)
        self.expand = conv(spatial_dims, channels, hidden, kernel=1)
        self.norm1 = batch_norm(spatial_dims, hidden)
        self.depthwise = conv(spatial_dims, hidden, hidden, kernel=3, padding=1, groups=hidden)
        self.norm2 = batch_norm(spatial_dims, hidden)
        self.reduce = conv(spatial_dims, hidden, channels, kernel=1)
        self.norm3 = batch_norm(spatial_dims, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        x = F.gelu(self.norm1(self.expand(x)))
        x = x + F.gelu(self.norm2(self.depthwise(x)))
        return self.norm3(self.reduce(x))


class InteractiveFfn(nn.Module):
    """I-FFN: 1x1, depthwise 3^d, GELU, 1x1, with biases.

    "ECViT", arXiv 2504.14825; that the GELU stands after the depthwise convolution is unverified.

    Args:
        spatial_dims: Number of axes in S.
        channels: C.
        ratio: Hidden channels over C.
    """

    def __init__(self, spatial_dims: SpatialDims, channels: int, *, ratio: float = 4.0) -> None:
        super().__init__()
        hidden = _hidden("ecvit", channels, ratio)
        self.expand = conv(spatial_dims, channels, hidden, kernel=1)
        self.depthwise = conv(spatial_dims, hidden, hidden, kernel=3, padding=1, groups=hidden)
        self.reduce = conv(spatial_dims, hidden, channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        return self.reduce(F.gelu(self.depthwise(self.expand(x))))


def _hidden(name: str, channels: int, ratio: float) -> int:
    hidden = round(channels * ratio)
    if hidden < 1:
        raise ValueError(
            f"ffn {name}: ratio {ratio} of {channels} channels leaves none; the usual ratio is 4"
        )
    return hidden
