"""In which order the windows of a mask are computed, so that their sums need little memory.

Sums of windows exist only for the planes that windows still to come touch: planes along one axis, in
strips along another where a whole plane times the number of classes is too much. A window that lies in two
strips is computed once in each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np

from tessera.core.data.geometry import Region

FLOAT_BYTES = 4
_TRIES = 8  # widths of strips that are compared


@dataclass(frozen=True)
class Strip:
    """A part of the grid that is finished before the next one begins.

    Args:
        first: Its first region in the schedule.
        stop: Behind its last region in the schedule.
        low: Its first element along the cross axis.
        high: Behind its last element along the cross axis.
        end: Behind the last element whose sum it needs: one more where outputs lie between elements.
    """

    first: int
    stop: int
    low: int
    high: int
    end: int


@dataclass(frozen=True)
class Schedule:
    """Regions in the order of computation; regions on the seams of strips come more than once.

    Args:
        regions: What is read and computed, in order; within a strip sorted along the slow axis.
        strips: Consecutive parts of ``regions``; none where the order has no meaning.
        slow: The axis along which planes are finished.
        cross: The axis along which strips lie side by side; on a grid of one axis the same.
        depth: Planes of sums that exist at a time.
    """

    regions: tuple[Region, ...]
    strips: tuple[Strip, ...] = ()
    slow: int = 0
    cross: int = 0
    depth: int = 1


def schedule(
    regions: Sequence[Region],
    shape: Sequence[int],
    patch: Sequence[int],
    *,
    classes: int,
    budget_bytes: int,
    between: Sequence[bool],
) -> Schedule:
    """Order regions so that the sums fit the budget with as few repeated windows as possible.

    Strips are cut where windows start or stop, so few classes or a large budget give one strip, and too
    small a budget the least that is possible.

    Args:
        regions: All different, in any order.
        shape: Size of the grid.
        patch: Size of a window.
        classes: Values an element.
        budget_bytes: Room for the sums.
        between: For each axis whether outputs lie between elements and so need both neighbours.
    """
    found = []
    for slow, cross in permutations(range(len(shape)), 2) if len(shape) > 1 else [(0, 0)]:
        depth = min(patch[slow] + between[slow], shape[slow])
        rest = [extent for axis, extent in enumerate(shape) if axis not in (slow, cross)]
        row = FLOAT_BYTES * classes * depth * math.prod(rest)
        strips = [(0, 1, 1)] if slow == cross else []
        if not strips:
            extents = [(region.start[cross], region.stop[cross]) for region in regions]
            strips = _cut(extents, shape[cross], most=budget_bytes // max(1, row), reach=int(between[cross]))
        over = max(0, row * max(end - low for low, _, end in strips) - budget_bytes)
        made = _fill(regions, strips, slow, cross)
        found.append((over, len(made[0]), slow, cross, Schedule(*made, slow, cross, depth)))
    return min(found, key=lambda option: option[:4])[-1]


def _cut(
    extents: Sequence[tuple[int, int]], length: int, *, most: int, reach: int
) -> list[tuple[int, int, int]]:
    """First element, cut and end of strips of at most ``most`` elements, with few windows in two strips.

    Args:
        extents: First element and the one behind the last of every window.
        length: Elements of the axis.
        most: Elements of a strip; more where windows leave no place to cut.
        reach: Elements behind its cut that a strip needs.
    """
    if length <= most:
        return [(0, length, length)]
    places = sorted({place for extent in extents for place in extent if 0 < place < length})
    first, last = np.array(extents).reshape(-1, 2).T
    limits = [place for place in places if place <= most][-_TRIES:] or [most]
    found = []
    for limit in limits:
        cuts = [0]
        for place, following in pairwise([*places, length]):
            if min(following + reach, length) - cuts[-1] > limit:
                cuts.append(place)
        strips = [(low, high, min(high + reach, length)) for low, high in pairwise([*cuts, length])]
        windows = sum(int(((first < end) & (last > low)).sum()) for low, _, end in strips)
        found.append((windows, max(end - low for low, _, end in strips), strips))
    return min(found)[-1]


def _fill(
    regions: Sequence[Region], strips: Sequence[tuple[int, int, int]], slow: int, cross: int
) -> tuple[tuple[Region, ...], tuple[Strip, ...]]:
    """The regions of each strip, one strip after the other."""
    ordered = sorted(regions, key=lambda region: region.start[slow])
    order: list[Region] = []
    filled = []
    for low, high, end in strips:
        first = len(order)
        order += [r for r in ordered if slow == cross or (r.start[cross] < end and r.stop[cross] > low)]
        filled.append(Strip(first, len(order), low, high, end))
    return tuple(order), tuple(filled)
