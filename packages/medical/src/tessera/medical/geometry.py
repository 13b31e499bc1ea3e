"""The voxels of a scan and their place in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.core.data.geometry import Geometry, Placement, Region

Rows = tuple[tuple[float, ...], ...]
Matrix = npt.NDArray[np.float64]

ASKEW = 1e-6  # of a voxel's step along another axis: more than rounding leaves
IDENTITY: Rows = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))


@dataclass(frozen=True)
class VolumeGeometry(Geometry):
    """A grid (I, J, K) of voxels, its place in space, and its place on the grid of its source.

    Indices mean centres of voxels; space is RAS in millimetres, as in NIfTI.

    Args:
        size: Number of voxels along each array axis.
        affine: Four rows of the matrix from an index (i, j, k, 1) to RAS mm (x, y, z, 1), as read.
        to_source: The same from an index of this grid to an index of the source's grid.
        source_size: Size of the source's grid; this grid's own when not given.
    """

    size: tuple[int, ...]
    affine: Rows
    to_source: Rows = IDENTITY
    source_size: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "source_size", self.source_size or self.size)
        shapes = {np.shape(self.affine), np.shape(self.to_source)}
        if len(self.size) != 3 or len(self.source_size) != 3 or min(self.size) < 0 or shapes != {(4, 4)}:
            raise ValueError(
                f"not a grid of voxels: size {self.size}, affine {np.shape(self.affine)}; "
                "expected three axes and a 4 x 4 matrix"
            )

    @classmethod
    def of(cls, size: Sequence[int], affine: npt.ArrayLike) -> VolumeGeometry:
        """A source's own grid."""
        return cls(tuple(int(n) for n in size), _rows(np.asarray(affine, dtype=np.float64)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along each axis."""
        return self.size

    @property
    def matrix(self) -> Matrix:
        """The affine as an array (4, 4)."""
        return np.array(self.affine)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbouring voxels along each axis, mm."""
        return tuple(float(step) for step in np.linalg.norm(self.matrix[:3, :3], axis=0))

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel, mm3."""
        return float(abs(np.linalg.det(self.matrix[:3, :3])))

    def crop(self, region: Region) -> VolumeGeometry:
        """The grid of that region."""
        move = np.eye(4)
        move[:3, 3] = region.start
        return self._moved(region.shape, move)

    def resample(self, shape: tuple[int, ...]) -> VolumeGeometry:
        """The grid of ``shape`` voxels over the same extent, outer faces on outer faces."""
        if min(shape, default=1) < 1:
            raise ValueError(f"cannot resample to {shape}: give at least one voxel an axis")
        scale = np.array(self.size) / np.array(shape)
        move = np.diag([*scale, 1.0])
        move[:3, 3] = (scale - 1) / 2
        return self._moved(shape, move)

    def permute(self, axes: Sequence[int]) -> VolumeGeometry:
        """The grid of ``array.transpose(axes)``."""
        move = np.zeros((4, 4))
        move[list(axes), range(3)] = 1.0
        move[3, 3] = 1.0
        return self._moved(tuple(self.size[axis] for axis in axes), move)

    def flip(self, axis: int) -> VolumeGeometry:
        """The grid of the array reversed along an axis."""
        move = np.eye(4)
        move[axis, axis] = -1.0
        move[axis, 3] = self.size[axis] - 1
        return self._moved(self.size, move)

    def towards_ras(self) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        """Which permutation, then which flips, bring the axes nearest to right, anterior, superior.

        Returns:
            Axes for ``transpose``, and for each axis afterwards whether it must be reversed.
        """
        axes = nearest_axes(self.matrix[:3, :3] / np.array(self.spacing))
        flips = tuple(bool(self.matrix[world, axis] < 0) for world, axis in enumerate(axes))
        return axes, flips

    def canonical(self) -> VolumeGeometry:
        """The grid after the permutation and the flips of ``towards_ras``."""
        axes, flips = self.towards_ras()
        grid = self.permute(axes)
        for axis, reverse in enumerate(flips):
            grid = grid.flip(axis) if reverse else grid
        return grid

    def invert(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map indices (N, 3) of this grid to indices of the source's grid."""
        return _apply(np.array(self.to_source), points)

    def placement(self) -> Placement:
        """This grid along the axes of its source's grid; raises where it lies askew on it."""
        move = np.array(self.to_source)[:3]
        steps = np.abs(move[:, :3])
        axes = tuple(int(axis) for axis in steps.argmax(axis=0))
        rest = steps.copy()
        rest[axes, range(3)] = 0.0
        if len(set(axes)) != 3 or (rest.max(axis=0) > ASKEW * steps.max(axis=0)).any():
            raise ValueError(
                f"the grid lies askew on its source's: {move[:, :3].tolist()}; only permuted, reversed, "
                "cropped and resampled grids have a place along its axes"
            )
        scale = tuple(float(move[source, axis]) for axis, source in enumerate(axes))
        return Placement(axes, scale, tuple(float(move[source, 3]) for source in axes))

    def to_world(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map indices (N, 3) of this grid to RAS mm."""
        return _apply(self.matrix, points)

    def _moved(self, size: tuple[int, ...], move: Matrix) -> VolumeGeometry:
        """The grid whose index x is this grid's index ``move`` x."""
        return VolumeGeometry(
            tuple(size), _rows(self.matrix @ move), _rows(np.array(self.to_source) @ move), self.source_size
        )


def nearest_axes(directions: Matrix) -> tuple[int, ...]:
    """For each world axis the array axis nearest to it, each used once; columns are unit directions."""
    left = np.abs(directions)
    found = [0, 0, 0]
    for _ in range(3):
        world, axis = np.unravel_index(int(np.argmax(left)), left.shape)
        found[world] = int(axis)
        left[world, :] = -1.0
        left[:, axis] = -1.0
    return tuple(found)


def _apply(matrix: Matrix, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def _rows(matrix: Matrix) -> Rows:
    return tuple(tuple(float(value) for value in row) for row in matrix)
