"""Where the elements of an output lie on an axis of the network's grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_SNAP = 1e-6  # elements; a place this near to a centre is meant to be the centre


@dataclass(frozen=True)
class AxisMap:
    """Consecutive output elements, each between two elements of the network's grid.

    Args:
        start: The first of these elements on the output's axis.
        lower: Element at or before each (n,), int64.
        weight: Share of the element after it (n,), float32; 0 on a centre, always 0 when only picking.
    """

    start: int
    lower: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.lower)

    @property
    def picks(self) -> bool:
        """Whether every output element takes one element's value as it is."""
        return not bool(self.weight.any())

    @property
    def upper(self) -> Tensor:
        """Element after each (n,); the same as ``lower`` where that counts for nothing."""
        return self.lower + (self.weight > 0)

    def part(self, first: int, stop: int) -> AxisMap:
        """The elements ``first`` to ``stop`` of this map."""
        return AxisMap(self.start + first, self.lower[first:stop], self.weight[first:stop])

    def within(self, first: int, stop: int) -> AxisMap:
        """The elements whose lower neighbour is one of ``first`` to ``stop``, counted from ``first``."""
        inside = torch.nonzero((self.lower >= first) & (self.lower < stop)).flatten()
        if len(inside) == 0:
            return self.part(0, 0)
        part = self.part(int(inside[0]), int(inside[-1]) + 1)
        return AxisMap(part.start, part.lower - first, part.weight)

    def apply(self, values: Tensor, axis: int) -> Tensor:
        """Values on the network's axis -> values of these elements; a view where nothing is computed."""
        if len(self) == 0:
            return values.narrow(axis, 0, 0)
        first = int(self.lower[0])
        steps = bool((self.lower == first + torch.arange(len(self))).all())
        low = values.narrow(axis, first, len(self)) if steps else _select(values, axis, self.lower)
        if self.picks:
            return low
        high = _select(values, axis, self.upper)
        shape = [1] * values.dim()
        shape[axis] = len(self)
        return torch.lerp(low, high, self.weight.to(values.device).reshape(shape))


def lies_between(scale: float, offset: float) -> bool:
    """Whether elements of an output lie between two of the grid's; arguments as those of ``axis_map``."""
    return any(abs(place - round(place)) >= _SNAP for place in (-offset / scale, (1 - offset) / scale))


def _select(values: Tensor, axis: int, places: Tensor) -> Tensor:
    places = places.to(values.device)
    if axis < values.dim() - 1 or values.device.type != "cpu":
        return values.index_select(axis, places)
    # Along the last axis index_select is three to ten times slower than this on a CPU (torch 2.14).
    return values.gather(axis, places.expand(*values.shape[:-1], len(places)))


def axis_map(length: int, scale: float, offset: float, out_length: int, *, nearest: bool = False) -> AxisMap:
    """The output elements that lie within ``length`` elements, from the first one's face to the last one's.

    Args:
        length: Elements of the network's grid.
        scale: Output elements per element; negative when reversed.
        offset: Place of element 0 on the output's axis.
        out_length: Elements of the output.
        nearest: Take the nearest element instead of the two neighbours.
    """
    place = (np.arange(out_length) - offset) / scale
    centre = np.rint(place)
    place = np.where(np.abs(place - centre) < _SNAP, centre, place)
    inside = np.flatnonzero((place >= -0.5 - _SNAP) & (place <= length - 0.5 + _SNAP))
    start = int(inside[0]) if len(inside) else 0
    place = np.clip(place[inside], 0, length - 1)
    lower = np.floor(place + 0.5 if nearest else place).clip(0, length - 1)
    weight = np.zeros_like(place) if nearest else place - lower
    return AxisMap(start, torch.from_numpy(lower.astype(np.int64)), torch.from_numpy(weight).float())
