"""Finds volumes in a file or a tree of folders, and opens them and their label files.

A case is an image file (its id is the path below the folder) or a DICOM series (its id is made of the
series' UID, so that no name of a patient enters it). DICOM objects that are never a volume, as structured
reports, structure sets, segmentations and waveforms, are left out and counted in the log. Image series
that cannot be a volume, as localizers and colour images, are cases: they fail when opened, with the reason.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tessera.core.data.case import Case, FileRef
from tessera.core.data.geometry import Region
from tessera.core.data.walk import walk_files
from tessera.core.errors import DataError
from tessera.medical.agreement import axis_codes, check_same_grid, same_place
from tessera.medical.dicom_files import find_series, looks_like_dicom
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.label_files import LabelSource, open_labels
from tessera.medical.stored_volume import StoredVolume
from tessera.medical.volume_files import (
    CHANNEL,
    IMAGE,
    SUFFIXES,
    image_grid,
    is_volume_file,
    modality_of,
    open_image,
    stem,
)

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample
    from tessera.core.run_config import RunConfig

DATA = "data"  # the role of the file that a detached header names
_DETACHED = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)\s*(\S.*?)\s*$", re.MULTILINE | re.IGNORECASE)

log = logging.getLogger(__name__)


class VolumeReader:
    """Finds and opens volumes.

    Args:
        config: The run's; ``data.channels`` says how many values a voxel has, in one file or one file each,
            and ``data.fix_affine``, where there is one, what ``fix_affine`` says; ``modalities``, where there
            are some, those of DICOM series that are opened.
        channels: The same as a number; None and no config: as many as there are files.
        fix_affine: Give labels that only lie elsewhere the image's place in space.
    """

    def __init__(
        self, config: RunConfig | None = None, *, channels: int | None = None, fix_affine: bool = False
    ) -> None:
        data = None if config is None else config.data
        named = getattr(data, "channels", None)
        self.channels = len(named) if channels is None and named is not None else channels
        self.fix_affine = fix_affine or bool(getattr(data, "fix_affine", False))
        self.modalities: tuple[str, ...] = getattr(config, "modalities", None) or ()

    def find(self, path: Path) -> list[Case]:
        """Every volume below a folder (or the one file), sorted by id.

        Where several channels are wanted, files that differ in nnU-Net's number of the channel alone
        (``_0000``, ``_0001``) are one case, called without the number and the ending.
        """
        path = Path(path)
        if path.is_file():
            return _one_file(path)
        if not path.is_dir():
            raise DataError(f"there is no file or folder {path}", hint="check the spelling of the path")
        files = [file for file in walk_files(path) if not file.name.startswith(".")]
        volumes = [file for file in files if is_volume_file(file)]
        others = [file for file in files if not is_volume_file(file) and looks_like_dicom(file)]
        cases = [_case(file, file.relative_to(path).as_posix()) for file in volumes]
        if self.channels is not None and self.channels > 1:
            cases = _one_case_for_channels(cases)
        cases += find_series(others, path)
        if not cases:
            raise DataError(
                f"no volumes in {path}",
                found=f"{len(files)} other files",
                expected=f"files ending in {', '.join(SUFFIXES)}, or DICOM images with any ending",
            )
        return sorted(cases, key=lambda case: case.id)

    def open(self, case: Case) -> VolumeSource:
        """Open a volume; raises ``DataError`` for what is not one."""
        source = VolumeSource(case, open_image(case, channels=self.channels))
        if self.channels not in (None, source.channels):
            raise DataError(
                f"case {case.id} has another number of channels",
                found=source.channels,
                expected=self.channels,
                hint="give one file a channel, in the order the network was trained with",
            )
        modality = modality_of(case) if self.modalities else ""
        if modality and modality not in self.modalities:
            raise DataError(
                f"case {case.id} is of another modality than the network was trained on",
                found=f"a DICOM series of modality {modality}",
                expected=" or ".join(self.modalities),
                hint=f"use a bundle trained on {modality}; one trained with --set modalities=[] takes any",
            )
        return source

    def open_mask(self, case: Case, target: str) -> LabelSource:
        """Open a case's labels on the grid of its image; axes in another order are turned."""
        path = case.target_file(target).path
        if path is None:
            raise DataError(f"case {case.id} has labels without a local file", hint="run tessera fetch")
        image = image_grid(case)
        labels = open_labels(path)
        if axis_codes(labels.grid) != axis_codes(image):
            turned = labels.turned_like(image)
            labels = turned if same_place(image, turned.grid) else labels
        check_same_grid(case.id, image, labels.grid, fix_affine=self.fix_affine)
        return labels.placed(image)


class VolumeSource:
    """One open volume; ``grid`` is its own, ``read`` gives (C, I, J, K) in the file's physical units.

    ``channels`` is the number of values a voxel; ``remarks`` are flags of what a person should know.

    Args:
        case: The case.
        volumes: Its files, one a channel or one with all channels, on the same grid.
    """

    def __init__(self, case: Case, volumes: Sequence[StoredVolume]) -> None:
        self.case = case
        self._volumes = tuple(volumes)
        self._grid = volumes[0].grid
        self.channels = sum(volume.channels for volume in volumes)
        self.remarks = tuple(dict.fromkeys(remark for volume in volumes for remark in volume.remarks))

    @property
    def grid(self) -> VolumeGeometry:
        """The volume's own grid."""
        return self._grid

    def read(self, region: Region | None = None) -> Sample:
        """The region's values (C, I, J, K), float32."""
        import torch

        region = region or Region((0, 0, 0), self.grid.shape)
        outside = any(stop > n for stop, n in zip(region.stop, self.grid.shape, strict=True))
        if outside or min(region.start) < 0:
            raise ValueError(f"{region} of a volume of {self.grid.shape} voxels")
        parts = [volume.values(region) for volume in self._volumes]
        return {
            "input": torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts)),
            "geometry": self.grid.crop(region),
            "case_id": self.case.id,
            "region": region,
            "flags": self.remarks,
        }

    def extremes(self) -> tuple[float, float]:
        """Least and greatest value of the first channel, found without converting all of it."""
        first = self._volumes[0]
        low, high = (float(np.float32(max(end, first.lowest))) for end in first.extremes())
        return low, high

    def close(self) -> None:
        """Let go of the voxels."""
        self._volumes = ()


def _one_file(path: Path) -> list[Case]:
    if is_volume_file(path):
        return [_case(path, path.name)]
    if not looks_like_dicom(path):
        raise DataError(
            f"{path} is no volume",
            expected=f"a DICOM file, or a name ending in {', '.join(SUFFIXES)}",
        )
    cases = find_series([path], path.parent)
    if not cases:
        raise DataError(f"{path} is a DICOM file, but no image", expected="CT, MR or another scan")
    return cases


def _case(file: Path, name: str) -> Case:
    files: dict[str, FileRef | tuple[FileRef, ...]] = {IMAGE: FileRef(path=file)}
    if (data := _detached(file)) is not None:
        files[DATA] = FileRef(path=data)
    return Case(id=name, files=files, group=file.name.split(".")[0])


def _one_case_for_channels(cases: list[Case]) -> list[Case]:
    """Join the files whose ids differ in the number of the channel alone; a single file stays as it is."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        file = case.path(IMAGE)
        parts = CHANNEL.fullmatch(stem(file))
        together = parts is not None and DATA not in case.files
        key = case.id.removesuffix(file.name) + parts[1] if parts and together else case.id
        found.setdefault(key, []).append(case)
    joined = []
    for key, members in found.items():
        files = tuple(reference for case in members for reference in case.all_files())
        alone = len(members) == 1
        joined.append(
            members[0] if alone else Case(id=key, files={IMAGE: files}, group=key.rpartition("/")[2])
        )
    return joined


def _detached(file: Path) -> Path | None:
    """The file of voxels that an NHDR or MHD header names."""
    if not file.name.lower().endswith((".nhdr", ".mhd")):
        return None
    try:
        with file.open("rb") as stream:
            match = _DETACHED.search(stream.read(2**16))
    except OSError:
        return None
    path = file.parent / os.fsdecode(match[1]) if match else None
    return path if path is not None and path.is_file() else None
