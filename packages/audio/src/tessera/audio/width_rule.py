"""All widths of a network scaled by one factor, so that it has a wanted number of parameters."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

Count = Callable[[tuple[int, ...]], int]

logger = logging.getLogger(__name__)

TOLERANCE = 0.02  # share of the budget that may be missed; Choi et al. 2017
STEPS = 24  # halvings of the factor's interval, enough to tell widths of 10,000 apart
LARGEST_FACTOR = 1024.0


def scale_widths(base: Sequence[int], factor: float) -> tuple[int, ...]:
    """Each width times the factor, to the nearest whole number, at least 1."""
    return tuple(max(1, math.floor(factor * width + 0.5)) for width in base)


def widths_for(
    parameters: int, base: Sequence[int], build: Callable[[tuple[int, ...]], nn.Module]
) -> tuple[int, ...]:
    """The scaled widths whose network has the number of parameters nearest to the wanted one.

    Equal widths stay equal. Where a small network's next whole numbers are too far apart, one of the widths
    stays behind and the others make up for it. Networks are built without memory for their weights, to count
    them. Raises ``ValueError`` when the nearest is off by more than 2 %.
    """

    def count(widths: tuple[int, ...]) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in build(widths).parameters())

    def miss(widths: tuple[int, ...]) -> int:
        return abs(count(widths) - parameters)

    below, above = _around(parameters, lambda factor: scale_widths(base, factor), count)
    nearest = min(below, above, key=miss)
    if miss(nearest) > TOLERANCE * parameters:
        nearest = min((nearest, *_with_one_behind(parameters, base, below, count)), key=miss)
    if miss(nearest) > TOLERANCE * parameters:
        raise ValueError(
            f"parameters: {parameters:,} cannot be reached by scaling widths {list(base)}; the nearest are "
            f"{count(below):,} and {count(above):,}"
        )
    logger.info("widths %s for %s parameters", list(nearest), f"{count(nearest):,}")
    return nearest


def _around(
    parameters: int, widths_at: Callable[[float], tuple[int, ...]], count: Count
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The last widths with fewer parameters and the next ones."""
    low, high = 0.0, 1.0
    while count(widths_at(high)) < parameters and high < LARGEST_FACTOR:
        low, high = high, 2 * high
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if count(widths_at(middle)) < parameters else (low, middle)
    return widths_at(low), widths_at(high)


def _with_one_behind(
    parameters: int, base: Sequence[int], below: tuple[int, ...], count: Count
) -> Iterator[tuple[int, ...]]:
    """Widths around the wanted number while those of one value of ``base`` stay what they are."""
    for value in dict.fromkeys(base):

        def widths_at(factor: float, value: int = value) -> tuple[int, ...]:
            scaled = scale_widths(base, factor)
            return tuple(b if w == value else s for b, w, s in zip(below, base, scaled, strict=True))

        yield from _around(parameters, widths_at, count)
