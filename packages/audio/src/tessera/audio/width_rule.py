"""All widths of a network scaled by one factor, so that it has a wanted number of parameters."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

TOLERANCE = 0.02  # share of the budget that may be missed; Choi et al. 2017
STEPS = 24  # halvings of the factor's interval, enough to tell widths of 10,000 apart


def scale_widths(base: Sequence[int], factor: float) -> tuple[int, ...]:
    """Each width times the factor, to the nearest whole number, at least 1."""
    return tuple(max(1, math.floor(factor * width + 0.5)) for width in base)


def widths_for(
    parameters: int, base: Sequence[int], build: Callable[[tuple[int, ...]], nn.Module]
) -> tuple[int, ...]:
    """The scaled widths whose network has the number of parameters nearest to the wanted one.

    Equal widths stay equal. Networks are built without memory for their weights, to count them. Raises
    ``ValueError`` when the nearest is off by more than 2 %.
    """

    def count(widths: tuple[int, ...]) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in build(widths).parameters())

    low, high = 0.0, 1.0
    while count(scale_widths(base, high)) < parameters:
        low, high = high, 2 * high
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if count(scale_widths(base, middle)) < parameters else (low, middle)
    below, above = scale_widths(base, low), scale_widths(base, high)
    counts = {widths: count(widths) for widths in _between(below, above, base)}
    nearest = min(counts, key=lambda widths: abs(counts[widths] - parameters))
    if abs(counts[nearest] - parameters) > TOLERANCE * parameters:
        raise ValueError(
            f"parameters: {parameters:,} cannot be reached by scaling widths {list(base)}; the nearest are "
            f"{counts[below]:,} and {counts[above]:,}"
        )
    logger.info("widths %s for %s parameters", list(nearest), f"{counts[nearest]:,}")
    return nearest


def _between(
    below: tuple[int, ...], above: tuple[int, ...], base: Sequence[int]
) -> Iterator[tuple[int, ...]]:
    """Both, and what lies between when several widths reach their next whole number at one factor."""
    yield below
    yield above
    for value in dict.fromkeys(base):
        yield tuple(b if width == value else a for a, b, width in zip(below, above, base, strict=True))
        yield tuple(a if width == value else b for a, b, width in zip(below, above, base, strict=True))
