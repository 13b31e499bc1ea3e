"""Space-to-depth: neighbouring values become channels, for one, two and three spatial dimensions.

Two orders of the new channels are in use and weights do not carry over between them, so every call names its
order:

- ``blocks``: one block of all C channels per offset, the first axis running fastest, as in SPD-Conv
  (in 2-D the offsets (0,0), (1,0), (0,1), (1,1));
- ``channels``: all offsets of one channel together, the last axis running fastest, as in torch's
  pixel_unshuffle.
"""

from __future__ import annotations

from math import prod
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

ChannelOrder = Literal["blocks", "channels"]


def space_to_depth(x: Tensor, factors: tuple[int, ...], *, order: ChannelOrder) -> Tensor:
    """(B, C, *S) -> (B, C * prod(factors), *S / factors), one factor per axis; S must be divisible."""
    batch, channels, *size = x.shape
    if any(s % f for s, f in zip(size, factors, strict=True)):
        raise ValueError(f"space-to-depth: size {tuple(size)} is not divisible by {factors}; pad it first")
    coarse = [s // f for s, f in zip(size, factors, strict=True)]
    split = x.reshape(batch, channels, *_interleave(coarse, factors))
    return split.permute(_forward_axes(len(size), order)).reshape(batch, channels * prod(factors), *coarse)


def pad_to_multiple(x: Tensor, factors: tuple[int, ...]) -> Tensor:
    """Append zeros to each axis of (B, C, *S) until the factors divide its size."""
    missing = [-size % factor for size, factor in zip(x.shape[2:], factors, strict=True)]
    if not any(missing):
        return x
    return F.pad(x, [pad for extra in reversed(missing) for pad in (0, extra)])


def _interleave(coarse: list[int], factors: tuple[int, ...]) -> list[int]:
    return [size for pair in zip(coarse, factors, strict=True) for size in pair]


def _forward_axes(spatial_dims: int, order: ChannelOrder) -> list[int]:
    """Permutation of (B, C, coarse_1, offset_1, coarse_2, offset_2, ...) that puts the offsets in order."""
    coarse = [2 + 2 * axis for axis in range(spatial_dims)]
    offsets = [3 + 2 * axis for axis in range(spatial_dims)]
    if order == "channels":
        return [0, 1, *offsets, *coarse]
    return [0, *reversed(offsets), 1, *coarse]
