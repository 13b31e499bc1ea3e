"""Image files of a case, by their ending: NIfTI, NRRD and MetaImage; everything else is DICOM."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tessera.core.data.case import Case
from tessera.core.errors import DataError
from tessera.medical import itk_files, nifti
from tessera.medical.agreement import check_same_grid
from tessera.medical.dicom_files import read_header
from tessera.medical.dicom_series import open_series, series_layout
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.stored_volume import StoredVolume

SUFFIXES = (*nifti.SUFFIXES, *itk_files.SUFFIXES)
IMAGE = "image"  # the role of a case's image
CHANNEL = re.compile(r"(.+)_([0-9]{4})")  # nnU-Net numbers the files of a case's channels


def is_volume_file(path: Path) -> bool:
    """Whether the name is that of a NIfTI, NRRD or MetaImage file."""
    return path.name.lower().endswith(SUFFIXES)


def is_nifti(path: Path) -> bool:
    """Whether the name is that of a NIfTI file."""
    return path.name.lower().endswith(nifti.SUFFIXES)


def stem(path: Path) -> str:
    """The name without the ending."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def image_files(case: Case) -> tuple[Path, ...]:
    """The local files of a case's image: slices of a series, or one a channel."""
    value = case.files[IMAGE]
    paths = [reference.path for reference in (value if isinstance(value, tuple) else (value,))]
    if None in paths or not paths:
        raise DataError(f"case {case.id} has an image without a local file", hint="run tessera fetch")
    return tuple(path for path in paths if path is not None)


def open_image(case: Case, *, channels: int | None = None) -> list[StoredVolume]:
    """Open the files of a case's image, all on one grid."""
    paths = image_files(case)
    if not is_volume_file(paths[0]):
        return [open_series(paths, name=f"case {case.id}")]
    volumes = [open_file(path, channels=channels if len(paths) == 1 else None) for path in paths]
    _check_channels(case, paths, [volume.grid for volume in volumes])
    return volumes


def image_grid(case: Case) -> VolumeGeometry:
    """The grid of a case's image, from its headers alone."""
    paths = image_files(case)
    if not is_volume_file(paths[0]):
        return series_layout(paths, name=f"case {case.id}").grid
    if is_nifti(paths[0]):
        return nifti.grid_of(nifti.read_header(paths[0]), paths[0])
    return itk_files.grid_of(itk_files.read_header(paths[0]), paths[0])


def modality_of(case: Case) -> str:
    """The DICOM modality of a case's image, for instance CT; empty for files that carry none."""
    path = image_files(case)[0]
    if is_volume_file(path):
        return ""
    return str(read_header(path, only=("SOPClassUID", "Modality")).get("Modality") or "")


def open_file(path: Path, *, channels: int | None = None) -> StoredVolume:
    """Open one NIfTI, NRRD or MetaImage file."""
    opener = nifti.open_nifti if is_nifti(path) else itk_files.open_itk
    return opener(path, channels=channels)


def _check_channels(case: Case, paths: Sequence[Path], grids: Sequence[VolumeGeometry]) -> None:
    for path, grid in zip(paths[1:], grids[1:], strict=True):
        check_same_grid(f"{case.id}, {path.name}", grids[0], grid, second="channel")
