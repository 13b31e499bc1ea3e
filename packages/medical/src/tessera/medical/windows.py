"""Volumes as the network sees them: turned, cropped, normalised, resampled, then cut into patches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from tessera.core.data.case import Source
from tessera.core.data.geometry import Geometry, Region
from tessera.core.errors import ConfigError, DataError
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.layout import Layout
from tessera.medical.normalisation import normalise
from tessera.medical.resampling import orders_for, resample, resample_labels
from tessera.medical.stored_volume import SLAB

if TYPE_CHECKING:
    from torch import Tensor

    from tessera.core.data.sample import Sample
    from tessera.medical.planning.data_config import VolumeDataConfig

RIGHT = 0  # of the RAS axes

Spacing = Sequence[float | None]


class HasVolumeData(Protocol):
    """A run's config with a data section for volumes."""

    @property
    def data(self) -> VolumeDataConfig:
        """How volumes become inputs."""
        ...


class VolumeWindows:
    """Patches of prepared volumes, all of one size.

    A region never leaves the prepared grid. Where the grid is smaller than the patch, the region is the whole
    axis and ``read`` appends zeros at its end: voxel x of a region is voxel x of the input.
    """

    cuts_prepared: Literal[True] = True

    def __init__(self, config: HasVolumeData) -> None:
        data = config.data
        missing = [n for n in ("axes", "spacing_mm", "patch", "normalisation") if getattr(data, n) is None]
        if data.axes is None or data.spacing_mm is None or data.patch is None or data.normalisation is None:
            raise ConfigError(
                "how volumes are cut is not known yet",
                found=f"null for {', '.join(f'data.{name}' for name in missing)}",
                hint="tessera train plans them from the training data; tessera plan shows the plan",
            )
        self.axes = data.axes
        self.spacing_mm = data.spacing_mm
        self.patch = data.patch
        self.normalisation = data.normalisation
        self.image_order = data.image_order
        self.crop = data.crop
        self.overlap = data.overlap
        self.spatial_dims = data.spatial_dims
        self.sides = data.sides or ()

    @property
    def mirror_swaps(self) -> dict[int, tuple[tuple[int, int], ...]]:
        """Axis of the input that exchanges left and right, to the classes that change places with it."""
        axis = self.axes.index(RIGHT) - (3 - self.spatial_dims)
        return {axis: self.sides} if self.sides and axis >= 0 else {}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, *patch); for slices (C, H, W)."""
        return (len(self.normalisation), *self.patch[3 - self.spatial_dims :])

    def prepare(self, source: Source) -> tuple[npt.NDArray[np.float32], VolumeGeometry]:
        """The whole volume (C, *S), and its grid."""
        import torch

        own = volume_grid(source.grid)
        layout = Layout.towards(own, self.axes)
        if self.crop:
            layout = layout.cut(_shown(source, layout))
        grid = layout.grid(own)
        spacing = target_spacing(grid.spacing, self.spacing_mm)
        shape = resampled_shape(grid.size, grid.spacing, spacing)
        orders = orders_for(grid.spacing, spacing, order=self.image_order)

        def image() -> Tensor:  # held by nobody else, so that resampling can let go of it
            return torch.from_numpy(normalise(_gathered(source, layout), self.normalisation))

        return resample(image(), shape, orders=orders).numpy(), grid.resample(shape)

    def prepare_mask(self, mask: Source, prepared: Geometry) -> npt.NDArray[np.int16]:
        """The classes (*S) of a mask (1, I, J, K), on the grid that ``prepare`` gave for its image."""
        import torch

        grid, own = volume_grid(prepared), volume_grid(mask.grid)
        if own.size != grid.source_size:
            raise DataError(
                "the mask has another shape than its image",
                found=f"mask {own.size}, image {grid.source_size}",
                expected="one class for each voxel of the image",
            )
        layout = Layout.of(grid)
        spacing = layout.grid(own).spacing
        orders = orders_for(spacing, target_spacing(spacing, self.spacing_mm), order=1)
        classes = np.ascontiguousarray(layout.take(mask.read()["input"][0].numpy()), dtype=np.int16)
        return resample_labels(torch.from_numpy(classes), grid.size, orders=orders).numpy()

    def plan(self, grid: Geometry) -> Sequence[Region]:
        """Patches that cover the grid; the longest axis changes slowest."""
        starts = [
            window_starts(n, side, self.overlap) for n, side in zip(grid.shape, self.patch, strict=True)
        ]
        slow = sorted(range(3), key=lambda axis: -grid.shape[axis])
        regions = []
        for places in product(*(starts[axis] for axis in slow)):
            corner = dict(zip(slow, places, strict=True))
            regions.append(self._region(grid, [corner[axis] for axis in range(3)]))
        return regions

    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        """A patch at a uniformly random place."""
        rooms = [max(0, n - side) for n, side in zip(grid.shape, self.patch, strict=True)]
        return self._region(grid, [int(rng.integers(0, room + 1)) for room in rooms])

    def draw_at(self, grid: Geometry, voxel: Sequence[int], rng: np.random.Generator) -> Region:
        """A patch with that voxel in its middle, or as near to it as the grid allows.

        The middle of an even side lies between two voxels; which of them it is, is drawn.
        """
        starts = []
        for place, n, side in zip(voxel, grid.shape, self.patch, strict=True):
            before = (side - 1 + int(rng.integers(0, 2))) // 2
            starts.append(min(max(int(place) - before, 0), max(0, n - side)))
        return self._region(grid, starts)

    def read(self, source: Source, region: Region) -> Sample:
        """One patch (C, *patch) of a prepared volume; for slices (C, H, W)."""
        part = source.read(region)["input"]
        return {"input": self.fill(part), "geometry": source.grid.crop(region), "region": region}

    def fill(self, part: Tensor, *, value: float = 0) -> Tensor:
        """A region's voxels (..., *region), or a mask's, at the patch's size: ``value`` appended."""
        from torch.nn.functional import pad

        missing = [side - n for side, n in zip(self.patch, part.shape[-3:], strict=True)]
        if any(missing):
            part = pad(part, [n for more in reversed(missing) for n in (0, more)], value=value)
        return part.squeeze(-3) if self.spatial_dims == 2 else part

    def _region(self, grid: Geometry, starts: Sequence[int]) -> Region:
        ends = [min(a + side, n) for a, side, n in zip(starts, self.patch, grid.shape, strict=True)]
        return Region(tuple(starts), tuple(ends))


def window_starts(length: int, side: int, overlap: float) -> list[int]:
    """First voxels of an axis's windows, evenly spread, neighbours overlapping by at least that share."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / (side * (1 - overlap))) + 1
    starts = [round(place * (length - side) / (count - 1)) for place in range(count)]
    return list(dict.fromkeys(starts))  # steps of less than a voxel meet some twice


def nonzero_box(image: npt.NDArray[Any]) -> Region:
    """The box of (C, I, J, K) outside which all channels are zero; everything when all are zero."""
    lines = [np.zeros(n, dtype=np.bool_) for n in image.shape[1:]]
    for i in range(image.shape[1]):
        _mark(image[:, i : i + 1], lines, first=i, axis=0)
    return _box_of(lines)


def _mark(part: npt.NDArray[Any], lines: Sequence[npt.NDArray[np.bool_]], *, first: int, axis: int) -> None:
    """Mark on each axis's line where a part (C, I, J, K), beginning at ``first`` of one, is not zero."""
    some = (part != 0).any(0)
    for other, line in enumerate(lines):
        found = some.any(tuple(a for a in range(3) if a != other))
        start = first if other == axis else 0
        line[start : start + len(found)] |= found


def _box_of(lines: Sequence[npt.NDArray[np.bool_]]) -> Region:
    """From the first to the last marked place of each axis; the whole axis without one."""
    places = [np.flatnonzero(line) if line.any() else np.arange(len(line)) for line in lines]
    return Region(tuple(int(at[0]) for at in places), tuple(int(at[-1]) + 1 for at in places))


def _shown(source: Source, layout: Layout) -> Region:
    """The box along the layout's axes outside which all channels of a source are zero."""
    lines = [np.zeros(n, dtype=np.bool_) for n in source.grid.shape]
    for first, slab in _slabs(source, layout.source_box):
        _mark(slab, lines, first=first, axis=2)
    turned = [lines[axis] for axis in layout.axes]
    return _box_of([line[::-1] if back else line for line, back in zip(turned, layout.flips, strict=True)])


def _gathered(source: Source, layout: Layout) -> npt.NDArray[np.float32]:
    """The values (C, *box) of a source along the layout's axes; no more than this exists of all voxels."""
    box, image, wrong = layout.source_box, None, 0
    for first, slab in _slabs(source, box):
        if image is None:
            image = np.empty((len(slab), *layout.box.shape), dtype=np.float32)
        place = first - box.start[2]
        layout.stored(image)[..., place : place + slab.shape[3]] = slab
        if not np.isfinite(slab.sum(dtype=np.float64)):
            wrong += int(np.count_nonzero(~np.isfinite(slab)))
    if image is None:
        raise DataError("the image holds no voxels", found=f"a grid of {source.grid.shape}")
    if wrong:
        raise DataError(
            "the image has voxels that are not numbers",
            found=f"{wrong} of {image.size} voxels are NaN or infinite",
            hint="repair the file, or replace them by the value of air",
        )
    return image


def _slabs(source: Source, box: Region) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """A few slices after another of a box: the first slice's place, and values (C, I, J, slices)."""
    for first in range(box.start[2], box.stop[2], SLAB):
        last = min(first + SLAB, box.stop[2])
        part = Region((*box.start[:2], first), (*box.stop[:2], last))
        yield first, source.read(part)["input"].numpy()


def target_spacing(own: Sequence[float], spacing_mm: Spacing) -> tuple[float, ...]:
    """The planned spacing, mm; the volume's own where none is planned."""
    return tuple(step if mm is None else mm for step, mm in zip(own, spacing_mm, strict=True))


def resampled_shape(
    size: Sequence[int], own: Sequence[float], spacing_mm: Sequence[float]
) -> tuple[int, ...]:
    """Size of a grid at another spacing: to the nearest whole number of voxels, at least one."""
    return tuple(max(1, round(n * a / b)) for n, a, b in zip(size, own, spacing_mm, strict=True))


def volume_grid(grid: Geometry) -> VolumeGeometry:
    """The grid, if it is one of voxels."""
    if not isinstance(grid, VolumeGeometry):
        raise TypeError(f"volumes need a VolumeGeometry, not {type(grid).__name__}")
    return grid
