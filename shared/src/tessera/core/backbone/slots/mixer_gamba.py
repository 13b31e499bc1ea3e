"""A selective scan and attention side by side, mixed by a gate.

"vGamba", arXiv 2503.21262, first version (later versions have other modules). Only its abstract could be
checked: the inner layers of the scan branch, the place of the position encoding and that it is a depthwise
convolution here (the paper's is relative, in two dimensions) are unverified.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.attention import Attention, to_map, to_tokens
from tessera.core.backbone.blocks import SpatialDims, conv
from tessera.core.backbone.scan.directional import DirectionalScan
from tessera.core.backbone.slots.convolutions import fit_channels


class GambaMixer(nn.Module):
    """y = g * scan(x) + (1 - g) * attention(x) with g = sigmoid(1x1 of both), in place of a 3x3.

    One scan, row after row, without the copies in other directions. The attention costs the square of the
    number of positions: for the last stages. Where c_in differs from c_out or there is a stride, a
    convolution comes first.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output, C below.
        stride: Stride of the convolution in front.
        heads: Heads of the attention; they divide C.
        order: Values of state per channel.
        position: "conv" adds a depthwise 3^d convolution of the input, so that both branches know
            neighbours; "none" leaves it out.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        heads: int = 4,
        order: int = 16,
        position: Literal["conv", "none"] = "conv",
    ) -> None:
        super().__init__()
        if position not in ("conv", "none"):
            raise ValueError(f"mixer gamba: there is no position {position!r}; choose conv or none")
        self.fit = fit_channels(spatial_dims, c_in, c_out, stride)
        self.position: nn.Module | None = None
        if position == "conv":
            self.position = conv(spatial_dims, c_out, c_out, kernel=3, padding=1, groups=c_out)
        self.cell = GambaCell(c_out, order=order)
        self.attention = Attention(c_out, heads, name="mixer gamba")
        self.gate = nn.Linear(2 * c_out, c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        x = self.fit(x)
        sizes = x.shape[2:]
        if self.position is not None:
            x = x + self.position(x)
        tokens = to_tokens(x)
        scanned, attended = self.cell(tokens), self.attention(tokens)
        gate = torch.sigmoid(self.gate(torch.cat([scanned, attended], dim=-1)))
        return to_map(attended + gate * (scanned - attended), sizes)


class GambaCell(nn.Module):
    """Linear layer, SiLU, one scan forwards, linear layer: tokens (B, L, C) -> the same shape.

    Args:
        channels: C.
        order: Values of state per channel.
    """

    def __init__(self, channels: int, *, order: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(channels, channels, bias=False)
        self.scan = DirectionalScan(channels, directions=1, order=order, rank=-(-channels // 16))
        self.project_out = nn.Linear(channels, channels, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C)."""
        sequence = F.silu(self.project_in(tokens)).transpose(1, 2)[:, None]
        return self.project_out(self.scan(sequence)[:, 0].transpose(1, 2))
