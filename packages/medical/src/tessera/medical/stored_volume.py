"""A volume as its file stores it, and the values of a region of it in physical units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.core.data.geometry import Region
from tessera.core.errors import DataError
from tessera.medical.geometry import Matrix, VolumeGeometry

Stored = npt.NDArray[Any]

SLAB = 16  # slices converted at once: bounds the float64 copy to 34 MB for slices of 512 x 512
BLOCK = 16  # voxels of I and K copied at once, so that both orders stay in the processor's cache
SINGULAR = 1e-6  # share of the box's volume that three axes must span

NO_ORIENTATION = "no orientation"  # the file does not say how it lies in the patient
AMBIGUOUS = "two orientations"  # NIfTI: sform and qform differ; the sform is used
ONE_SLICE = "one slice"
SHEARED = "axes not at right angles"
NO_HU = "no air in CT"  # the rescale to HU is missing or wrong, or the image was cut


@dataclass(frozen=True, eq=False)
class StoredVolume:
    """Voxels as stored, kept small until a region is asked for.

    Args:
        raw: Stored values (I, J, K, C), perhaps a memory map.
        grid: The volume's own grid.
        slope: Factor of each slice along K, (K,) or (1,).
        intercept: Added after the factor, (K,) or (1,).
        lowest: Smaller values are raised to this one; the unit of the values.
        remarks: What a person should know, as words for the ledger.
    """

    raw: Stored
    grid: VolumeGeometry
    slope: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]
    lowest: float = -np.inf
    remarks: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Number of values a voxel."""
        return int(self.raw.shape[3])

    @property
    def as_stored(self) -> bool:
        """Whether stored values are physical values."""
        return bool((self.slope == 1).all() and (self.intercept == 0).all()) and self.lowest == -np.inf

    def values(self, region: Region) -> npt.NDArray[np.float32]:
        """The region's values (C, I, J, K) in physical units; I runs fastest in memory, as in all files."""
        found = np.empty((self.channels, *reversed(region.shape)), dtype=np.float32).transpose(0, 3, 2, 1)
        for first, last, slab in self._slabs(region):
            found[..., first - region.start[2] : last - region.start[2]] = np.moveaxis(slab, 3, 0)
        if self.lowest > -np.inf:
            np.maximum(found, np.float32(self.lowest), out=found)
        return found

    def extremes(self) -> tuple[float, float]:
        """Least and greatest value of the first channel in physical units, before ``lowest`` applies."""
        found = []
        for k in range(self.grid.shape[2]):
            plane = self.raw[:, :, k, 0]
            ends = np.array([plane.min(), plane.max()], dtype=np.float64)
            found.append(ends * _part(self.slope, k, k + 1)[0] + _part(self.intercept, k, k + 1)[0])
        return float(np.min(found)), float(np.max(found))

    @property
    def whole(self) -> Region:
        """The region of all voxels."""
        return Region((0, 0, 0), self.grid.shape)

    def not_finite(self) -> int:
        """Number of values that are NaN or too large for float32; none can be in stored integers."""
        if self.raw.dtype.kind in "iub" and np.isfinite([*self.slope, *self.intercept]).all():
            return 0
        largest = float(np.finfo(np.float32).max)
        return sum(int((~(np.abs(slab) <= largest)).sum()) for _, _, slab in self._slabs(self.whole))

    def _slabs(self, region: Region) -> Iterator[tuple[int, int, Stored]]:
        """A few slices after another: first and last slice, and values (I, J, slices, C)."""
        (i, j, k), (i_stop, j_stop, k_stop) = region.start, region.stop
        plain = bool((self.slope == 1).all())
        whole = bool((self.intercept == np.rint(self.intercept)).all())
        intercept = self.intercept.astype(np.float32) if plain and whole else self.intercept
        for first in range(k, k_stop, SLAB):
            last = min(first + SLAB, k_stop)
            slab = self.raw[i:i_stop, j:j_stop, first:last]
            if not plain:
                slab = slab * _part(self.slope, first, last)
            if self.intercept.any():  # whole numbers stay exact: 16 bits fit float32, more become float64
                slab = slab + _part(intercept, first, last)
            yield first, last, slab


def _part(factors: npt.NDArray[Any], first: int, last: int) -> npt.NDArray[Any]:
    """The factors of these slices, (slices or 1, 1), to go with (I, J, slices, C)."""
    return (factors if len(factors) == 1 else factors[first:last])[:, None]


def slices_first(voxels: Stored) -> Stored:
    """(K, J, I) in C order, as files have them, of (I, J, K) in any order; 2 to 4 times NumPy's speed."""
    if voxels.flags.f_contiguous:
        return voxels.T
    i_size, j_size, k_size = voxels.shape
    found = np.empty((k_size, j_size, i_size), dtype=voxels.dtype)
    for i in range(0, i_size, BLOCK):
        for k in range(0, k_size, BLOCK):
            part = voxels[i : i + BLOCK, :, k : k + BLOCK]
            found[k : k + BLOCK, :, i : i + BLOCK] = part.transpose(2, 1, 0)
    return found


def check_values(volume: StoredVolume, name: str) -> None:
    """Refuse what no network can take."""
    if 0 in volume.raw.shape:
        raise DataError(f"{name} holds no voxels", found=f"shape {volume.raw.shape}")
    if volume.raw.dtype.kind not in "iufb":
        raise DataError(
            f"{name} holds no plain numbers",
            found=f"values of type {volume.raw.dtype}",
            expected="integers or floats: one intensity a voxel",
            hint="export the scan itself, not a colour or complex image of it",
        )
    if wrong := volume.not_finite():
        raise DataError(
            f"{name} holds values that are not numbers",
            found=f"{wrong} of {volume.raw.size} values are NaN or infinite",
            expected="finite numbers",
            hint="replace them by the value of air or background, or export the volume again",
        )


def check_affine(affine: Matrix, name: str) -> None:
    """Refuse an affine that does not place voxels in space."""
    axes = np.asarray(affine, dtype=np.float64)[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    singular = not np.isfinite(affine).all() or abs(np.linalg.det(axes)) <= SINGULAR * np.prod(lengths)
    if singular or (lengths == 0).any():
        raise DataError(
            f"{name} does not say where its voxels lie",
            found=f"a singular affine {np.round(np.asarray(affine), 6).tolist()}",
            expected="three axes that span a volume",
            hint="convert the original DICOM series again, for instance with dcm2niix",
        )


def shape_remarks(grid: VolumeGeometry) -> tuple[str, ...]:
    """Remarks on a grid that is read but is not what most networks were trained for."""
    unit = grid.matrix[:3, :3] / np.array(grid.spacing)
    oblique = np.abs(unit.T @ unit - np.eye(3)).max() > 1e-2
    return (*((ONE_SLICE,) if min(grid.shape) == 1 else ()), *((SHEARED,) if oblique else ()))
