"""Where windows start: exact integers on the source's grid, also for fractional steps and after hours."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from typing import Literal

from tessera.core.data.geometry import Region

LastWindow = Literal["pad", "drop", "back"]


def window_starts(length: int, window: int, step: int | Fraction, last: LastWindow = "pad") -> list[int]:
    """First elements of the windows over ``length`` elements; window k starts at floor(k * step).

    ``last`` says what happens to elements after the last whole window: ``drop`` leaves them out, ``pad``
    adds the next window, which reaches past the end, ``back`` adds one that ends at the end. A length
    shorter than one window gives one window that must be padded (``drop``: none).
    """
    if isinstance(step, float) or step <= 0 or window < 1 or length < 0:
        raise ValueError(
            f"window_starts needs length >= 0, window >= 1 and an exact step > 0 (int or Fraction); "
            f"found length {length}, window {window}, step {step!r}"
        )
    step = Fraction(step)
    if length < window:
        return [0] if length and last != "drop" else []
    n_whole = _count_until(length - window, step)
    starts = [k * step.numerator // step.denominator for k in range(n_whole)]
    next_start = n_whole * step.numerator // step.denominator
    uncovered = starts[-1] + window < length and next_start < length
    if uncovered and last == "pad":
        starts.append(next_start)
    elif uncovered and last == "back":
        starts.append(length - window)
    return starts


def _count_until(highest: int, step: Fraction) -> int:
    """How many k = 0, 1, ... have floor(k * step) <= highest."""
    return -((-(highest + 1) * step.denominator) // step.numerator)


def window_regions(
    shape: Sequence[int], window: Sequence[int], step: Sequence[int | Fraction], last: LastWindow = "pad"
) -> list[Region]:
    """Windows over a grid of any number of axes, last axis fastest, cut off at the grid's end.

    A region smaller than ``window`` is the part inside the grid; the reader pads it.
    """
    axes = [
        [(start, min(start + width, length)) for start in window_starts(length, width, stride, last)]
        for length, width, stride in zip(shape, window, step, strict=True)
    ]
    return [Region(tuple(a for a, _ in box), tuple(b for _, b in box)) for box in product(*axes)]
