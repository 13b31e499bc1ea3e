"""The inverted residual block of the MobileNets.

Sandler et al., "MobileNetV2", arXiv 1801.04381, with the activations and the gate of Howard et al.,
"Searching for MobileNetV3", arXiv 1905.02244.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.slots.convolutions import conv_norm


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, gate, linear 1x1; a shortcut where the shape stays.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Stride of the depthwise convolution.
        kernel: Its odd kernel.
        expand: Expanded channels over c_in, rounded by `make_divisible`; None leaves the first 1x1 out.
        se: Whether there is a gate.
        activation: After the first two convolutions.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        kernel: int = 3,
        expand: float | None = 6,
        se: bool = False,
        activation: type[nn.Module] = nn.Hardswish,
    ) -> None:
        super().__init__()
        hidden = c_in if expand is None else make_divisible(c_in * expand)
        layers: list[nn.Module] = []
        if expand is not None:
            layers.append(conv_norm(spatial_dims, c_in, hidden, kernel=1, activation=activation))
        layers.append(
            conv_norm(
                spatial_dims,
                hidden,
                hidden,
                kernel=kernel,
                stride=stride,
                groups=hidden,
                activation=activation,
            )
        )
        if se:
            layers.append(HardGate(hidden))
        layers.append(conv_norm(spatial_dims, hidden, c_out, kernel=1, activation=None))
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        y = self.layers(x)
        return x + y if self.shortcut else y


class HardGate(nn.Module):
    """Squeeze-and-excitation with about a quarter of the channels hidden and a piecewise linear sigmoid.

    Args:
        channels: C.
        divisor: The hidden units are a multiple of it; 8 in MobileNetV3, 4 in GhostNet.
    """

    def __init__(self, channels: int, *, divisor: int = 8) -> None:
        super().__init__()
        hidden = make_divisible(channels / 4, divisor)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        means = x.flatten(2).mean(-1)
        weights = F.hardsigmoid(self.excite(torch.relu(self.squeeze(means))))
        return x * weights.reshape(*weights.shape, *[1] * (x.ndim - 2))


def make_divisible(value: float, divisor: int = 8) -> int:
    """Nearest multiple of the divisor that is not more than a tenth below the value."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
