"""Attention over tokens (..., N, C), shared by the mixers that flatten their map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention of tokens to themselves, or to other tokens where those are given.

    Vaswani et al., "Attention Is All You Need", arXiv 1706.03762; all layers with biases.

    Args:
        channels: C.
        heads: Number of heads; it divides C.
        name: Of the plug, for messages.
    """

    def __init__(self, channels: int, heads: int, *, name: str = "attention") -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"{name}: {heads} heads do not divide {channels} channels; choose a divisor")
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, others: Tensor | None = None, *, mask: Tensor | None = None) -> Tensor:
        """Tokens (..., N, C) -> same shape, reading ``others`` (..., M, C); a False in ``mask`` hides."""
        if others is None:
            query, key, value = (self._split(part) for part in self.qkv(x).chunk(3, dim=-1))
        else:
            parts = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), (x, others, others), strict=True)
            query, key, value = (self._split(F.linear(source, w, b)) for w, b, source in parts)
        leading = query.shape[:-3]
        if mask is None:  # the fast kernels want four axes
            query, key, value = (part.flatten(0, -4) for part in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.proj(mixed.transpose(-2, -3).flatten(-2).reshape(*leading, *x.shape[-2:]))

    def _split(self, x: Tensor) -> Tensor:
        """(..., N, C) -> (..., heads, N, C / heads)."""
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(-2, -3)


class TransformerLayer(nn.Module):
    """Layer norm, attention, add; layer norm, two layers, add: tokens (..., N, C) -> the same shape.

    Args:
        channels: C.
        heads: Number of heads.
        hidden: Units between the two layers.
        activation: Between the two layers.
        dropout: After the attention and each of the two layers.
        name: Of the plug, for messages.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        hidden: int,
        *,
        activation: type[nn.Module] = nn.GELU,
        dropout: float = 0.0,
        name: str = "transformer",
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = Attention(channels, heads, name=name)
        self.norm2 = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, hidden)
        self.act = activation()
        self.fc2 = nn.Linear(hidden, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., N, C) -> (..., N, C)."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        hidden = self.dropout(self.act(self.fc1(self.norm2(x))))
        return x + self.dropout(self.fc2(hidden))


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, *S) -> (B, N, C), row after row."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, sizes: torch.Size | tuple[int, ...]) -> Tensor:
    """(B, N, C) -> (B, C, *sizes), the inverse of `to_tokens`."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *sizes)
