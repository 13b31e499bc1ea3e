"""Where a prepared volume lies in its source: an order of axes, flips and a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.core.data.geometry import Region
from tessera.medical.geometry import VolumeGeometry

TOLERANCE = 1e-3  # voxels; what many steps of rounding may move a face


@dataclass(frozen=True)
class Layout:
    """A source's voxels reordered, flipped and cropped, not resampled.

    Args:
        axes: For ``transpose``.
        flips: Which axes are reversed then.
        box: What is kept then.
        whole: Size before the box is cut.
    """

    axes: tuple[int, ...]
    flips: tuple[bool, ...]
    box: Region
    whole: tuple[int, ...]

    @classmethod
    def towards(cls, source: VolumeGeometry, axes: Sequence[int]) -> Layout:
        """The whole source turned to RAS, its axes in the order given."""
        to_ras, flips = source.towards_ras()
        order = tuple(to_ras[axis] for axis in axes)
        whole = tuple(source.size[axis] for axis in order)
        return cls(order, tuple(flips[axis] for axis in axes), Region((0, 0, 0), whole), whole)

    @classmethod
    def of(cls, grid: VolumeGeometry) -> Layout:
        """How a prepared grid was cut from its source, whatever its resampling."""
        turn = np.array(grid.to_source)[:3, :3]
        axes = tuple(int(axis) for axis in np.abs(turn).argmax(0))
        flips = tuple(bool(turn[axis, place] < 0) for place, axis in enumerate(axes))
        faces = grid.invert([[-0.5] * 3, [n - 0.5 for n in grid.size]])[:, list(axes)]
        whole = tuple(grid.source_size[axis] for axis in axes)
        mirrored = np.array(whole) - 1 - faces
        faces = np.where(flips, mirrored, faces) + 0.5
        edges = np.round(faces)
        aligned = np.count_nonzero(turn) == 3 and sorted(axes) == [0, 1, 2]
        if not aligned or np.abs(faces - edges).max() > TOLERANCE:
            raise ValueError(f"this grid is not a box of its source's voxels: {grid}")
        start, stop = (tuple(int(edge) for edge in row) for row in edges)
        return cls(axes, flips, Region(start, stop), whole)

    def cut(self, region: Region) -> Layout:
        """The layout of a part of the box; the region counts from the box's own corner."""
        start = tuple(a + b for a, b in zip(self.box.start, region.start, strict=True))
        stop = tuple(a + b for a, b in zip(self.box.start, region.stop, strict=True))
        return Layout(self.axes, self.flips, Region(start, stop), self.whole)

    def grid(self, source: VolumeGeometry) -> VolumeGeometry:
        """The geometry of what ``take`` gives."""
        grid = source.permute(self.axes)
        for axis, reverse in enumerate(self.flips):
            grid = grid.flip(axis) if reverse else grid
        return grid.crop(self.box)

    def take(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view (..., *box) of the source's array (..., I, J, K)."""
        return self._turned(array)[self._slices()]

    def put(self, part: npt.NDArray[Any], into: npt.NDArray[Any]) -> None:
        """Write (..., *box) to its place in the source's array (..., I, J, K)."""
        self._turned(into)[self._slices()] = part

    def stored(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view (..., I, J, K) of an array (..., *box), in the source's order of axes."""
        leading = array.ndim - 3
        flipped = np.flip(array, tuple(leading + axis for axis, reverse in enumerate(self.flips) if reverse))
        places = (leading + self.axes.index(axis) for axis in range(3))
        return flipped.transpose(*range(leading), *places)

    @property
    def source_box(self) -> Region:
        """The box on the source's grid (I, J, K)."""
        sides = []
        for axis in range(3):
            place = self.axes.index(axis)
            first, stop, n = self.box.start[place], self.box.stop[place], self.whole[place]
            sides.append((n - stop, n - first) if self.flips[place] else (first, stop))
        return Region(*(tuple(ends) for ends in zip(*sides, strict=True)))

    def _turned(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        leading = array.ndim - 3
        turned = array.transpose(*range(leading), *(leading + axis for axis in self.axes))
        return np.flip(turned, tuple(leading + axis for axis, reverse in enumerate(self.flips) if reverse))

    def _slices(self) -> tuple[Any, ...]:
        return (..., *(slice(a, b) for a, b in zip(self.box.start, self.box.stop, strict=True)))
