"""One strip of a mask: windows are added, and planes that no later window touches become labels at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.core.inference.axis_map import AxisMap
from tessera.core.inference.labels import best_labels, label_type
from tessera.core.inference.plane_sums import PlaneSums

_CHUNK_ELEMENTS = 2**17  # of one class at a time: half a MiB stays in a processor's cache


@dataclass(frozen=True, kw_only=True)
class Part:
    """The part of the network's grid that a wavefront runs over, and where its elements go.

    Args:
        box: First element and the one behind the last, on each axis.
        maps: The output elements of each axis; their lower neighbours are counted from the box.
        slow: The axis along which it runs.
        depth: Planes of sums that exist at a time.
        classes: Values an element.
        inverse: One over the sum of all windows' weights, a factor an axis (length,), counted from the box;
            None where windows do not form a lattice, so that the sum is not a product.
    """

    box: tuple[tuple[int, int], ...]
    maps: tuple[AxisMap, ...]
    slow: int
    depth: int
    classes: int
    inverse: tuple[Tensor, ...] | None

    @property
    def others(self) -> tuple[int, ...]:
        """The axes of a plane."""
        return tuple(axis for axis in range(len(self.box)) if axis != self.slow)


class Wavefront:
    """Sums of windows that come sorted along the slow axis, and labels of what is finished.

    Args:
        part: Where it runs.
        weights: Importance map (*P) of a window.
        write: Takes the output elements along the slow axis and their labels (n, *the other axes).
    """

    def __init__(self, part: Part, weights: Tensor, write: Callable[[AxisMap, Tensor], None]) -> None:
        self._part = part
        self._weights = weights
        self._write = write
        self._map = part.maps[part.slow]
        self._planes = tuple(part.maps[axis] for axis in part.others)
        self._picks = all(map.picks for map in part.maps)
        self._inverse = None if part.inverse is None or self._picks else _plane(part)
        self._sums = self._ring(part.classes)
        # Not needed where values are picked: what divides all classes alike does not change the best.
        self._counts = self._ring(1) if part.inverse is None and not self._picks else None
        self._final = 0  # planes before this one are finished
        self._written = 0  # output elements along the slow axis

    def add(self, raw: Tensor, start: Sequence[int]) -> None:
        """Add a window (K, *P) that begins at ``start`` on the grid."""
        if start[self._part.slow] > self._final:
            self._finish(start[self._part.slow])
        self._sums.add(raw, self._weights, start)
        if self._counts is not None:
            self._counts.add(torch.ones_like(raw[:1]), self._weights, start)

    def close(self) -> None:
        """No more windows come."""
        self._finish(self._part.box[self._part.slow][1])

    def _ring(self, values: int) -> PlaneSums:
        part = self._part
        return PlaneSums(values, part.box, slow=part.slow, depth=part.depth, device=self._weights.device)

    def _finish(self, final: int) -> None:
        """Label all planes before ``final``, no more at a time than exist: there may be none for a while."""
        keep = 0 if self._map.picks else 1  # the last plane is still a neighbour of elements to come
        reach = max(1, self._part.depth - keep)
        while self._final < final:
            self._final = min(final, self._final + reach)
            for elements in self._ready():
                if all(len(map) for map in self._planes):
                    self._write(elements, self._picked(elements) if self._picks else self._blended(elements))
            self._sums.release(self._final - keep)
            if self._counts is not None:
                self._counts.release(self._final - keep)

    def _ready(self) -> Iterator[AxisMap]:
        """The output elements whose neighbours are finished now, some at a time, in the order of planes."""
        total = len(self._map)
        count = int((self._map.upper < self._final).sum())
        step = max(1, _CHUNK_ELEMENTS // max(1, self._plane_elements()))
        reverse = total > 1 and bool(self._map.lower[0] > self._map.lower[-1])
        while self._written < count:
            stop = min(count, self._written + step)
            first, last = (total - stop, total - self._written) if reverse else (self._written, stop)
            yield self._map.part(first, last)
            self._written = stop

    def _plane_elements(self) -> int:
        """Elements of a plane, on the grid or in the output, whichever are more."""
        inside = outside = 1
        for axis, map in zip(self._part.others, self._planes, strict=True):
            inside *= self._part.box[axis][1] - self._part.box[axis][0]
            outside *= len(map)
        return max(inside, outside)

    def _picked(self, elements: AxisMap) -> Tensor:
        """Labels where each output element takes the class of one element: no value is interpolated."""
        first, last = int(elements.lower.min()), int(elements.lower.max())
        found = [
            best_labels(views, label_type(self._part.classes)) for views in self._sums.planes(first, last + 1)
        ]
        labels = found[0] if len(found) == 1 else torch.cat(found)
        labels = AxisMap(0, elements.lower - first, elements.weight).apply(labels, 0)
        for axis, map in enumerate(self._planes):
            labels = map.apply(labels, axis + 1)
        return labels

    def _blended(self, elements: AxisMap) -> Tensor:
        """Labels of interpolated means of windows."""
        share = elements.weight.reshape(-1, *(1 for _ in self._planes)).to(self._weights.device)
        low = self._inverse_of(elements.lower).mul_(1 - share)
        high = None if elements.picks else self._inverse_of(elements.upper).mul_(share)

        def values() -> Iterator[Tensor]:
            for index in range(self._part.classes):
                value = self._sums.pick(index, elements.lower).mul_(low)
                if high is not None:
                    value.addcmul_(self._sums.pick(index, elements.upper), high)
                for axis in range(len(self._planes), 0, -1):  # the last first: it costs most for each row
                    value = self._planes[axis - 1].apply(value, axis)
                yield value

        return best_labels(values(), label_type(self._part.classes))

    def _inverse_of(self, planes: Tensor) -> Tensor:
        """One over the windows' weights on planes (n, *the other axes), a copy."""
        if self._counts is not None:
            counts = self._counts.pick(0, planes)
            return torch.where(counts > 0, 1 / counts, 0.0)  # where no window was, all classes are zero
        assert self._inverse is not None and self._part.inverse is not None
        factors = self._part.inverse[self._part.slow][planes].float().to(self._inverse.device)
        return factors.reshape(-1, *(1 for _ in self._planes)) * self._inverse


def _plane(part: Part) -> Tensor:
    """The inverse weights of a plane (*the other axes), without the slow axis's factor."""
    assert part.inverse is not None
    plane = torch.ones((), dtype=torch.float64)
    for axis in part.others:
        plane = plane[..., None] * part.inverse[axis]
    return plane.float()
