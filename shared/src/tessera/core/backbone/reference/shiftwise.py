"""ShiftWise network: inverted blocks behind long shift-wise convolutions.

Li et al., "ShiftwiseConv: Small Convolutional Kernel with Large Kernel Effect", arXiv
2401.12736. The count equals that of the authors' dense network; its sparse training is not rebuilt, and the
order of its random draws is unverified.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, batch_norm, conv
from tessera.core.backbone.drop_path import DropPath, rising_rates
from tessera.core.backbone.last_map import LastMapNetwork
from tessera.core.backbone.metaformer import LayerScale
from tessera.core.backbone.slots.adn_layer_norm import ChannelLayerNorm
from tessera.core.backbone.slots.gate import SEGate
from tessera.core.backbone.slots.mixer_shiftwise import ShiftwiseMixer

FFN_RATIO = 4
LAYER_SCALE = 1e-6  # first value


class ShiftWiseNet(LastMapNetwork):
    """ShiftWise-tiny, by default: 31,790,260 parameters with three input channels and 1000 classes.

    Merged 31,002,670.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        num_classes: K.
        widths: Channels of each stage.
        depths: Blocks of each stage.
        lengths: Length of the bands in each stage.
        drop_path: Probability of skipping the last block, rising evenly from 0 at the first.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (80, 160, 320, 640),
        depths: Sequence[int] = (3, 3, 18, 3),
        lengths: Sequence[int] = (51, 49, 47, 13),
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        d = spatial_dims
        rates = iter(rising_rates(drop_path, sum(depths)))
        layers = [_halve(d, c_in, widths[0] // 2), nn.GELU(), _halve(d, widths[0] // 2, widths[0])]
        before = widths[0]
        for stage, (width, depth, length) in enumerate(zip(widths, depths, lengths, strict=True)):
            if stage > 0:
                layers.append(_halve(d, before, width))
            layers += [ShiftWiseBlock(d, width, length=length, drop_path=next(rates)) for _ in range(depth)]
            before = width
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(before, eps=1e-6)
        self.linear = nn.Linear(before, num_classes)

    def last_map(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> the last map (B, C, *S')."""
        return self.layers(x)

    def classify(self, last: Tensor) -> Tensor:
        """Last map (B, C, *S') -> logits (B, K)."""
        return self.linear(self.norm(last.flatten(2).mean(-1)))


class ShiftWiseBlock(nn.Module):
    """x + shift-wise convolution, norm, gate, 1x1, GELU, response norm, 1x1, norm.

    Args:
        spatial_dims: Number of axes in S.
        channels: C.
        length: Of the bands.
        drop_path: Probability that a sample skips the branch in training.
    """

    def __init__(
        self, spatial_dims: SpatialDims, channels: int, *, length: int, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        inner = FFN_RATIO * channels
        self.layers = nn.Sequential(
            ShiftwiseMixer(spatial_dims, channels, channels, length=length),
            batch_norm(spatial_dims, channels),
            SEGate(spatial_dims, channels, ratio=4),
            conv(spatial_dims, channels, inner, kernel=1),
            nn.GELU(),
            ResponseNorm(inner),
            conv(spatial_dims, inner, channels, kernel=1, bias=False),
            batch_norm(spatial_dims, channels),
            LayerScale(channels, LAYER_SCALE),
            DropPath(drop_path),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        return x + self.layers(x)


class ResponseNorm(nn.Module):
    """x + scale * x * (norm of the channel / mean of these norms) + bias.

    Global response normalisation: Woo et al., "ConvNeXt V2", arXiv 2301.00808.
    """

    def __init__(self, channels: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        norms = torch.linalg.vector_norm(x.flatten(2), dim=-1)
        factors = 1 + self.scale * norms / (norms.mean(1, keepdim=True) + self.eps)
        ones = [1] * (x.ndim - 2)
        return torch.addcmul(self.bias.reshape(-1, *ones), x, factors.reshape(*norms.shape, *ones))


def _halve(spatial_dims: SpatialDims, c_in: int, c_out: int) -> nn.Module:
    """Convolution of size 3 with stride 2, layer norm."""
    halved = conv(spatial_dims, c_in, c_out, kernel=3, stride=2, padding=1)
    return nn.Sequential(halved, ChannelLayerNorm(c_out))
