"""How much a window counts at each of its places, one profile an axis: the map is their product."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

SIGMA_SHARE = 1 / 8  # of the window's length (nnU-Net)

Profile = Callable[[int], Tensor]
"""Length of a window along an axis -> weights (length,), float64, all positive."""


def gaussian(length: int, *, sigma_share: float = SIGMA_SHARE) -> Tensor:
    """Weights (length,) that peak with one at ``length // 2``; sigma is a share of the length."""
    distance = torch.arange(length, dtype=torch.float64) - length // 2
    weights = torch.exp(-0.5 * (distance / (sigma_share * length)) ** 2)
    return torch.where(weights > 0, weights, weights[weights > 0].min())


def constant(length: int) -> Tensor:
    """Weights (length,) of one."""
    return torch.ones(length, dtype=torch.float64)


def importance(patch: Sequence[int], profile: Profile) -> Tensor:
    """The map (*patch) of a window, float32: the product of its profiles."""
    weights = torch.ones((), dtype=torch.float64)
    for length in patch:
        weights = weights[..., None] * profile(length)
    return weights.float()


def coverage(starts: Iterable[int], weights: Tensor, length: int) -> Tensor:
    """Sum (length,) of the weights of all windows over an axis, float64; starts may lie outside it."""
    total = torch.zeros(length, dtype=torch.float64)
    for start in starts:
        first, last = max(0, start), min(length, start + len(weights))
        if first < last:
            total[first:last] += weights[first - start : last - start]
    return total
