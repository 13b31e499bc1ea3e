"""Files of labels: a whole number a voxel, its place in the list of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tessera.core.data.geometry import Region
from tessera.core.errors import DataError
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.stored_volume import Stored, StoredVolume
from tessera.medical.volume_files import open_file

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample

LARGEST = 2**16 - 1


@dataclass(frozen=True, eq=False)
class LabelSource:
    """One open file of labels.

    Args:
        path: The file.
        labels: The label of each voxel (I, J, K), of an integer type.
        highest: The highest label.
        grid: Where the voxels lie.
    """

    path: Path
    labels: Stored
    highest: int
    grid: VolumeGeometry

    def read(self, region: Region | None = None) -> Sample:
        """The region's labels (1, I, J, K), uint8, or int32 where they need it."""
        import torch

        region = region or Region((0, 0, 0), self.grid.shape)
        found = self.labels[tuple(map(slice, region.start, region.stop))]
        kind = np.uint8 if self.highest < 256 else np.int32
        values = torch.from_numpy(np.array(found, dtype=kind, order="C")[None])
        return {"input": values, "geometry": self.grid.crop(region), "region": region}

    def close(self) -> None:
        """Nothing to release: the labels go with the object."""

    def counts(self) -> dict[int, int]:
        """Number of voxels of each label that occurs."""
        found = np.zeros(LARGEST + 1, dtype=np.int64)
        for k in range(self.labels.shape[2]):
            part = np.bincount(self.labels[:, :, k].ravel())
            found[: len(part)] += part
        return {int(label): int(found[label]) for label in np.flatnonzero(found)}

    def placed(self, grid: VolumeGeometry) -> LabelSource:
        """The same labels on a grid of the same shape."""
        return replace(self, grid=grid)

    def turned_like(self, image: VolumeGeometry) -> LabelSource:
        """The same labels in the same place, their axes in the order and directions of an image's."""
        axes, flips = self.grid.towards_ras()
        upright = np.flip(self.labels.transpose(axes), tuple(np.flatnonzero(flips)))
        grid = self.grid.canonical()
        axes, flips = image.towards_ras()
        for axis in np.flatnonzero(flips).tolist():
            upright, grid = np.flip(upright, axis), grid.flip(axis)
        back = tuple(int(axis) for axis in np.argsort(axes))
        turned = grid.permute(back)
        place = VolumeGeometry.of(turned.size, turned.matrix)
        return replace(self, labels=upright.transpose(back), grid=place)


def open_labels(path: Path) -> LabelSource:
    """Open a NIfTI, NRRD or MetaImage file of labels; refuses what are no labels."""
    volume = open_file(path)
    raw = volume.raw[..., 0]
    if not volume.as_stored or raw.dtype.kind not in "iub":
        raw = _whole_numbers(volume, path)
    low, high = int(raw.min()), int(raw.max())
    if low < 0 or high > LARGEST:
        raise DataError(
            f"{path} holds no labels",
            found=f"values from {low} to {high}",
            expected=f"whole numbers from 0 to {LARGEST}",
            hint="check that this is the file of labels and not the image",
        )
    return LabelSource(path, raw, high, volume.grid)


def check_labels(case_id: str, counts: Mapping[int, int], classes: Sequence[str]) -> None:
    """Refuse labels outside the list of classes.

    Args:
        case_id: The case, for the message.
        counts: Voxels of each label, of ``LabelSource.counts``.
        classes: Names; a label is a place in this list.
    """
    unknown = {label: n for label, n in sorted(counts.items()) if not 0 <= label < len(classes)}
    if unknown:
        raise DataError(
            f"case {case_id}: the file of labels holds values that are no class",
            found=", ".join(f"{label} ({n} voxels)" for label, n in unknown.items()),
            expected=", ".join(f"{place} {name}" for place, name in enumerate(classes)),
            hint="add the classes to dataset.yaml, or correct the labels",
        )


def _whole_numbers(volume: StoredVolume, path: Path) -> Stored:
    """Labels that were stored as floats or with a factor."""
    found = np.empty(volume.grid.shape, dtype=np.int32)
    for k in range(volume.grid.shape[2]):
        i, j, _ = volume.grid.shape
        part = volume.values(Region((0, 0, k), (i, j, k + 1)))[0]
        rounded = np.rint(part)
        if wrong := int((rounded != part).sum()):
            raise DataError(
                f"{path} holds no labels",
                found=f"{wrong} values in slice {k} that are not whole, for instance "
                f"{part[rounded != part][0]:g}",
                expected=f"whole numbers from 0 to {LARGEST}",
                hint="labels must be resampled without interpolation; check that this is not the image",
            )
        found[:, :, k : k + 1] = rounded.clip(-1, LARGEST + 1)
    return found
