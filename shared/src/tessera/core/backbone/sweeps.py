"""Walks through a map (B, C, *S) along each axis and back: 2 in 1-D, 4 in 2-D, 6 in 3-D.

State-space mixers read a map as sequences (`directional_sweeps`, `merge_sweeps`), message passing
goes from slice to slice (`slices`, `stack_slices`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def directional_sweeps(x: Tensor) -> Tensor:
    """(B, C, *S) -> (B, 2d, C, L): every position of the map in 2d orders, L = product of S.

    Sweep i < d runs fastest along axis d - 1 - i of S, the other axes in their own order: 0 is row
    after row, in 2-D 1 is column after column. Sweep d + i is sweep i backwards.
    """
    axes = range(x.ndim - 1, 1, -1)
    forwards = torch.stack([x.movedim(axis, -1).flatten(2) for axis in axes], dim=1)
    return torch.cat([forwards, forwards.flip(-1)], dim=1)


def merge_sweeps(sweeps: Tensor, sizes: Sequence[int]) -> Tensor:
    """(B, 2d, C, L) -> (B, C, *sizes): each sweep put back into place, then summed.

    The inverse of `directional_sweeps` up to the number of sweeps: merged sweeps of x are 2d * x.
    """
    dims = len(sizes)
    if sweeps.ndim != 4 or sweeps.shape[1] != 2 * dims or sweeps.shape[3] != torch.Size(sizes).numel():
        raise ValueError(
            f"sweeps of shape {tuple(sweeps.shape)} do not belong to a map of sizes {tuple(sizes)}; "
            f"expected (B, {2 * dims}, C, {torch.Size(sizes).numel()})"
        )
    both_ways = sweeps[:, :dims] + sweeps[:, dims:].flip(-1)
    batch, _, channels, _ = sweeps.shape
    merged = both_ways[:, 0].reshape(batch, channels, *sizes)
    for i in range(1, dims):
        axis = dims - 1 - i
        others = [size for j, size in enumerate(sizes) if j != axis]
        moved = both_ways[:, i].reshape(batch, channels, *others, sizes[axis])
        merged = merged + moved.movedim(-1, axis + 2)
    return merged


def slices(x: Tensor, axis: int, *, backwards: bool = False) -> list[Tensor]:
    """(B, C, *S) -> the slices (B, C, *S without axis) in the order in which a pass meets them."""
    parts = list(x.unbind(axis + 2))
    return parts[::-1] if backwards else parts


def stack_slices(parts: Sequence[Tensor], axis: int, *, backwards: bool = False) -> Tensor:
    """Inverse of `slices`."""
    return torch.stack(list(parts[::-1] if backwards else parts), dim=axis + 2)
