"""Maps on a coarse grid, read on a fine one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def read_linearly(map: Tensor, centres: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Map (B, *N) -> (B, *size), on straight lines between its values, held beyond the outermost.

    Args:
        map: Values.
        centres: For each axis where its values lie (N_i,), ascending, in elements of the fine grid, whose
            own lie at 0, 1, 2 ...; on the CPU.
        size: Of the fine grid.
    """
    for axis, (places, length) in enumerate(zip(centres, size, strict=True), start=1):
        if len(places) == 1:
            map = map.repeat_interleave(length, dim=axis)
            continue
        fine = torch.arange(length, dtype=places.dtype)
        right = torch.searchsorted(places, fine).clamp(1, len(places) - 1)
        left = right - 1
        share = ((fine - places[left]) / (places[right] - places[left])).clamp(0, 1).to(map)
        before, after = (map.index_select(axis, i.to(map.device)) for i in (left, right))
        map = torch.lerp(before, after, share.reshape(-1, *(1,) * (map.ndim - axis - 1)))
    return map


def enlarge(map: Tensor, size: Sequence[int]) -> Tensor:
    """Map (B, *N) -> (B, *size) over the same extent, linearly."""
    centres = [
        (torch.arange(n, dtype=torch.float64) + 0.5) * length / n - 0.5
        for n, length in zip(map.shape[1:], size, strict=True)
    ]
    return read_linearly(map, centres, size)
