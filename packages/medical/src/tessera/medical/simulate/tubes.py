"""Tubes on a grid: signed distances, evaluated only in the boxes around their pieces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tessera.medical.simulate.tree import Points

Array = npt.NDArray[np.float32]
Box = tuple[slice, slice, slice]

FAR_MM = 1000.0
"""Distance given to voxels outside every box."""


@dataclass(frozen=True)
class Grid:
    """Voxel centres along the axes right, anterior, superior.

    Args:
        shape: Number of voxels (I, J, K).
        spacing_mm: Step of each axis.
        origin_mm: RAS place of voxel (0, 0, 0).
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]

    @classmethod
    def around(
        cls, centre_mm: Points, *, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
    ) -> Grid:
        """The grid whose middle lies at ``centre_mm``."""
        half = (np.array(shape) - 1) / 2 * np.array(spacing_mm)
        x, y, z = (np.asarray(centre_mm) - half).tolist()
        return cls(shape, spacing_mm, (x, y, z))

    @property
    def voxel_mm(self) -> float:
        """Edge of the cube of a voxel's volume."""
        return float(np.prod(self.spacing_mm) ** (1 / 3))

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """From an index to RAS mm (4, 4)."""
        matrix = np.diag([*self.spacing_mm, 1.0])
        matrix[:3, 3] = self.origin_mm
        return matrix

    @cached_property
    def axes(self) -> tuple[Array, Array, Array]:
        """Coordinates of the voxel centres along each axis, mm."""
        x, y, z = (
            (start + step * np.arange(size)).astype(np.float32)
            for start, step, size in zip(self.origin_mm, self.spacing_mm, self.shape, strict=True)
        )
        return x, y, z

    def box(self, low_mm: Points, high_mm: Points) -> Box | None:
        """The voxels between two corners (3,); None when there are none."""
        step, start = np.array(self.spacing_mm), np.array(self.origin_mm)
        first = np.maximum(np.ceil((low_mm - start) / step), 0).astype(int)
        last = np.minimum(np.floor((high_mm - start) / step) + 1, self.shape).astype(int)
        if np.any(first >= last):
            return None
        i, j, k = (slice(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True))
        return i, j, k

    def index(self, points_mm: Points) -> npt.NDArray[np.int64]:
        """Nearest voxel of points (N, 3), outside the grid too."""
        place = (points_mm - np.array(self.origin_mm)) / np.array(self.spacing_mm)
        return np.floor(place + 0.5).astype(np.int64)

    def holds(self, points_mm: Points) -> npt.NDArray[np.bool_]:
        """Which of the points (N, 3) lie in a voxel of the grid."""
        place = self.index(points_mm)
        return np.all((place >= 0) & (place < np.array(self.shape)), axis=1)

    def thinned(self, factor: int) -> Grid:
        """Every ``factor``-th slice, from the middle of the first group; ``factor`` is odd."""
        i, j, k = self.shape
        x, y, z = self.spacing_mm
        u, v, w = self.origin_mm
        return Grid((i, j, k // factor), (x, y, z * factor), (u, v, w + z * (factor // 2)))


@dataclass(frozen=True)
class Tube:
    """Axis points (P, 3) and radii (P,) in mm; one point is a ball."""

    points_mm: Points
    radius_mm: Points
    oval: float = 1.0


def tube_distance(grid: Grid, tube: Tube, *, reach_mm: float) -> tuple[Box, Array] | None:
    """Signed distance to a tube in the box around it, mm: negative inside.

    A piece between two points is a cone with round ends: distance to the nearest axis point less the radius
    there, which is exact for equal radii and short of it by the cosine of the taper otherwise. Voxels
    farther than ``reach_mm`` from a piece may hold any larger value.

    Returns:
        Box and distances in it, or None when the tube passes beside the grid.
    """
    margin = tube.radius_mm[:, None] + reach_mm
    low, high = tube.points_mm - margin, tube.points_mm + margin
    outer = grid.box(low.min(axis=0), high.max(axis=0))
    if outer is None:
        return None
    found = np.full([part.stop - part.start for part in outer], FAR_MM, dtype=np.float32)
    for piece in range(max(len(tube.points_mm) - 1, 1)):
        pair = slice(piece, piece + 2)
        box = grid.box(low[pair].min(axis=0), high[pair].max(axis=0))
        if box is None:
            continue
        inner = tuple(
            slice(part.start - whole.start, part.stop - whole.start)
            for part, whole in zip(box, outer, strict=True)
        )
        distance = _piece_distance(grid, box, tube, piece)
        np.minimum(found[inner], distance, out=found[inner])
    return outer, found


def _piece_distance(grid: Grid, box: Box, tube: Tube, piece: int) -> Array:
    """Signed distance to the round cone between points ``piece`` and ``piece + 1``."""
    start = tube.points_mm[piece]
    end = tube.points_mm[min(piece + 1, len(tube.points_mm) - 1)]
    thick, thin = tube.radius_mm[piece], tube.radius_mm[min(piece + 1, len(tube.radius_mm) - 1)]
    flat = np.array([1.0, 1.0 / tube.oval, 1.0])
    way = ((end - start) * flat).astype(np.float32)
    x, y, z = (
        ((axis[part] - np.float32(origin)) * np.float32(scale)).reshape(shape)
        for axis, part, origin, scale, shape in zip(
            grid.axes, box, start, flat, ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True
        )
    )
    length2 = float(way @ way)
    if length2 == 0.0:
        return np.sqrt(x * x + y * y + z * z) - np.float32(thick)
    along = x * (way[0] / length2) + y * (way[1] / length2) + z * (way[2] / length2)
    np.clip(along, 0.0, 1.0, out=along)
    square = (x - along * way[0]) ** 2
    square += (y - along * way[1]) ** 2
    square += (z - along * way[2]) ** 2
    distance = np.sqrt(square, out=square)
    distance -= np.float32(thick)
    if thin != thick:
        distance -= along * np.float32(thin - thick)
    return distance


def union_distance(grid: Grid, tubes: Iterable[Tube], *, reach_mm: float) -> Array:
    """Signed distance (I, J, K) to the nearest of the tubes, ``FAR_MM`` beyond their reach."""
    whole = np.full(grid.shape, FAR_MM, dtype=np.float32)
    for tube in tubes:
        near = tube_distance(grid, tube, reach_mm=reach_mm)
        if near is not None:
            box, distance = near
            np.minimum(whole[box], distance, out=whole[box])
    return whole


def smooth_minimum(one: Array, other: Array, *, width_mm: float) -> Array:
    """The smaller of two distances, rounded where they differ by less than ``width_mm``."""
    lower = np.minimum(one, other)
    if width_mm > 0:
        near = np.maximum(np.float32(width_mm) - np.abs(one - other), 0)
        lower -= near * near * np.float32(0.25 / width_mm)
    return lower


def coverage(distance: Array, *, voxel_mm: float) -> Array:
    """Part of a voxel below a surface, from the signed distance at its centre."""
    covered = distance * np.float32(-1.0 / voxel_mm)
    covered += np.float32(0.5)
    return np.clip(covered, 0.0, 1.0, out=covered)


def ramp_radius(radius_mm: float, *, voxel_mm: float) -> float:
    """Radius for which ``coverage`` of a cylinder, summed over its section, is that of ``radius_mm``.

    Summed over a plane the ramp holds pi (s^2 + h^2 / 12) for s >= h / 2 and pi (s + h / 2)^3 / (3 h) below,
    h the voxel; without this, airways thinner than a voxel would hold too much air.
    """
    h = voxel_mm
    s2 = radius_mm**2 - h * h / 12
    if s2 >= h * h / 4:
        return float(s2**0.5)
    return float((3 * h * radius_mm**2) ** (1 / 3) - h / 2)
