"""Maps cut into windows side by side, and put together again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def window_counts(sizes: Sequence[int], window: Sequence[int]) -> tuple[int, ...]:
    """Windows along each axis, the last one perhaps incomplete."""
    return tuple(-(-size // width) for size, width in zip(sizes, window, strict=True))


def partition_windows(x: Tensor, window: Sequence[int]) -> Tensor:
    """(B, C, *S) -> tokens (B, W, P, C): W windows of P positions each, both in row-major order.

    Every size must be a multiple of the window's; `pad_to_windows` makes it so.
    """
    counts = window_counts(x.shape[2:], window)
    if any(n * w != s for n, w, s in zip(counts, window, x.shape[2:], strict=True)):
        raise ValueError(
            f"windows of {tuple(window)} do not fill a map of {tuple(x.shape[2:])}; pad or resize it first"
        )
    d = len(counts)
    pairs = [size for pair in zip(counts, window, strict=True) for size in pair]
    split = x.reshape(*x.shape[:2], *pairs)
    order = [0, *range(2, 2 + 2 * d, 2), *range(3, 3 + 2 * d, 2), 1]
    return split.permute(order).flatten(1, d).flatten(2, 1 + d)


def merge_windows(tokens: Tensor, window: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Tokens (B, W, P, C) -> (B, C, *sizes), the inverse of `partition_windows`."""
    counts = window_counts(sizes, window)
    d = len(counts)
    split = tokens.reshape(tokens.shape[0], *counts, *window, tokens.shape[-1])
    order = [0, 1 + 2 * d, *(axis for i in range(d) for axis in (1 + i, 1 + d + i))]
    return split.permute(order).reshape(tokens.shape[0], tokens.shape[-1], *sizes)


def pad_to_windows(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """Zeros after the end of each axis up to a multiple, and a mask (W, P) that is False there.

    The mask is None where nothing was missing.
    """
    sizes = x.shape[2:]
    missing = [-size % width for size, width in zip(sizes, window, strict=True)]
    if not any(missing):
        return x, None
    pads = [pad for size in reversed(missing) for pad in (0, size)]
    inside = F.pad(torch.ones(1, 1, *sizes, device=x.device), pads)
    return F.pad(x, pads), partition_windows(inside, window)[0, :, :, 0] > 0
