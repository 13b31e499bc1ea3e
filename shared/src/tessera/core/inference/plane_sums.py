"""Sums of windows for the planes that windows still to come touch: a ring of planes along one axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class PlaneSums:
    """Sums (K, *S) of which only some planes along the slow axis exist at a time.

    Plane ``z`` lies in row ``z % depth`` of the ring, so nothing is moved when planes are finished.

    Args:
        classes: Values K an element.
        box: First and last-but-one element of the grid on each axis; the whole grid along the slow one.
        slow: The axis along which planes are finished.
        depth: Planes that exist at a time.
        device: Where the sums lie.
    """

    def __init__(
        self,
        classes: int,
        box: Sequence[tuple[int, int]],
        *,
        slow: int,
        depth: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._box = tuple(box)
        self._slow = slow
        self._depth = depth
        size = [stop - first for first, stop in box]
        size[slow] = depth
        self._sums = torch.zeros((classes, *size), dtype=torch.float32, device=device)
        self._rows = self._sums.movedim(slow + 1, 1)  # (K, ring, the other axes)
        self._first = box[slow][0]  # the first plane that still exists

    def add(self, raw: Tensor, weights: Tensor, start: Sequence[int]) -> None:
        """Add a window (K, *P) that begins at ``start``, times its weights (*P); what is outside is cut."""
        low = [max(at, first) for at, (first, _) in zip(start, self._box, strict=True)]
        high = [
            min(at + size, stop) for at, size, (_, stop) in zip(start, weights.shape, self._box, strict=True)
        ]
        if low[self._slow] < self._first or high[self._slow] > self._first + self._depth:
            raise ValueError(f"planes {low[self._slow]} to {high[self._slow]} do not exist")
        if any(b <= a for a, b in zip(low, high, strict=True)):
            return
        for first, stop, row in self._runs(low[self._slow], high[self._slow]):
            low[self._slow], high[self._slow] = first, stop
            source = tuple(slice(a - at, b - at) for a, b, at in zip(low, high, start, strict=True))
            target = [slice(a - box[0], b - box[0]) for a, b, box in zip(low, high, self._box, strict=True)]
            target[self._slow] = slice(row, row + stop - first)
            self._sums[:, *target].addcmul_(raw[:, *source], weights[source])

    def planes(self, first: int, stop: int) -> list[Tensor]:
        """The planes ``first`` to ``stop`` as one or two views (K, n, *the other axes), in order."""
        return [self._rows[:, row : row + b - a] for a, b, row in self._runs(first, stop)]

    def release(self, first: int) -> None:
        """Give up the planes before ``first``; their room is for later ones."""
        for a, b, row in self._runs(self._first, min(first, self._first + self._depth)):
            self._rows[:, row : row + b - a] = 0.0
        self._first = max(self._first, first)

    def _runs(self, first: int, stop: int) -> list[tuple[int, int, int]]:
        """Stretches of planes that lie side by side in the ring: first, behind the last, row of the first."""
        runs = []
        while first < stop:
            row = first % self._depth
            end = min(stop, first + self._depth - row)
            runs.append((first, end, row))
            first = end
        return runs

    def pick(self, index: int, planes: Tensor) -> Tensor:
        """A copy (n, *the other axes) of one value's planes."""
        return self._rows[index].index_select(0, planes % self._depth)
