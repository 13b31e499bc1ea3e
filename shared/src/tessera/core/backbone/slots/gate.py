"""Gates: (B, C, *S) -> the same shape, each value multiplied by an attention weight."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims


def identity_gate(spatial_dims: SpatialDims, channels: int) -> nn.Module:
    """No gate at all."""
    return nn.Identity()


class SEGate(nn.Module):
    """Squeeze-and-excitation: channel weights from a two-layer network of the channel means.

    Hu et al., "Squeeze-and-Excitation Networks", arXiv 1709.01507. Few channels keep one hidden unit.

    Args:
        spatial_dims: Number of axes in S; the operator is the same for all.
        channels: C.
        ratio: Channels per hidden unit.
        bias: Whether the two layers have biases, as in the reference networks.
    """

    def __init__(
        self, spatial_dims: SpatialDims, channels: int, *, ratio: int = 16, bias: bool = True
    ) -> None:
        super().__init__()
        if ratio < 1:
            raise ValueError(f"gate se: ratio {ratio} is not a positive number; the paper uses 16")
        hidden = max(1, channels // ratio)
        self.squeeze = nn.Linear(channels, hidden, bias=bias)
        self.excite = nn.Linear(hidden, channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        means = x.flatten(2).mean(-1)
        return _weight_channels(x, self.excite(torch.relu(self.squeeze(means))))


class ECAGate(nn.Module):
    """Efficient channel attention: channel weights from a convolution along the channel means.

    Wang et al., "ECA-Net", arXiv 1910.03151.

    Args:
        spatial_dims: Number of axes in S; the operator is the same for all.
        channels: C.
        kernel: Odd number of neighbouring channels; None takes the paper's rule.
    """

    def __init__(self, spatial_dims: SpatialDims, channels: int, *, kernel: int | None = None) -> None:
        super().__init__()
        kernel = eca_kernel(channels) if kernel is None else kernel
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"gate eca: kernel {kernel} has no middle channel; give an odd number or None")
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        means = x.flatten(2).mean(-1)
        return _weight_channels(x, self.conv(means.unsqueeze(1)).squeeze(1))


def eca_kernel(channels: int) -> int:
    """Kernel that grows with log2(C): gamma = 2, b = 1, even numbers go up, at least 3."""
    size = int((math.log2(channels) + 1) / 2)
    return max(3, size if size % 2 else size + 1)


def _weight_channels(x: Tensor, logits: Tensor) -> Tensor:
    """Multiply each channel of (B, C, *S) by the sigmoid of its logit in (B, C)."""
    return x * torch.sigmoid(logits).reshape(*logits.shape, *[1] * (x.ndim - 2))
