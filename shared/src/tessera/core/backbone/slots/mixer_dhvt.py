"""Attention in which each head also sends a token of its own.

Lu et al., "Bridging the Gap Between Vision Transformers and CNNs on Small Datasets" (DHVT), arXiv 2210.05958.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.attention import Attention, to_map, to_tokens
from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.slots.convolutions import fit_channels

POSITION_DEVIATION = 0.02  # authors' code


class HeadInteractionAttention(nn.Module):
    """Attention of N tokens and h head tokens, which say what each head's channels hold on average.

    Args:
        channels: C.
        heads: h, which divides C.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(channels, heads, name="mixer dhvt")
        self.expand = nn.Linear(channels // heads, channels)
        self.norm = nn.LayerNorm(channels // heads)
        self.position = nn.Parameter(torch.empty(heads, channels))
        nn.init.trunc_normal_(self.position, std=POSITION_DEVIATION)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, C) -> tokens (B, N, C) and the mean (B, 1, C) of the head tokens."""
        tokens = self.attention(torch.cat([x, self.head_tokens(x)], dim=1))
        patches, heads = tokens.split([x.shape[1], len(self.position)], dim=1)
        return patches, heads.mean(1, keepdim=True)

    def head_tokens(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, h, C)."""
        heads = len(self.position)
        means = x.mean(1).reshape(len(x), heads, -1)  # (B, h, C / h)
        parts = self.expand(means).reshape(len(x), heads, heads, -1)
        return F.gelu(self.norm(parts)).flatten(2) + self.position


class DHVTMixer(nn.Module):
    """Head-interacting attention of a map's positions, without a class token (the network has one).

    Costs the square of the number of positions. Positions are unknown to it: the convolutions of the
    paper's patch embedding (down/sope) and channel network (ffn/daff) tell them apart. Where c_in differs
    from c_out or there is a stride, a convolution comes first.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Stride of the convolution in front.
        heads: Heads; they divide c_out.
    """

    def __init__(
        self, spatial_dims: SpatialDims, c_in: int, c_out: int, stride: int = 1, *, heads: int = 4
    ) -> None:
        super().__init__()
        self.fit = fit_channels(spatial_dims, c_in, c_out, stride)
        self.attention = HeadInteractionAttention(c_out, heads)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        x = self.fit(x)
        patches, _ = self.attention(to_tokens(x))
        return to_map(patches, x.shape[2:])
