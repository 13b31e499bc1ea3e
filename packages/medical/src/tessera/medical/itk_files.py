"""NRRD and MetaImage files through SimpleITK, whose space LPS becomes RAS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from tessera.core.data.atomic import replacing
from tessera.core.errors import DataError
from tessera.medical.geometry import Matrix, VolumeGeometry
from tessera.medical.stored_volume import (
    NO_ORIENTATION,
    Stored,
    StoredVolume,
    check_affine,
    check_values,
    shape_remarks,
    slices_first,
)

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
ORTHONORMAL = 1e-4  # largest error of a direction that ITK can keep

ITK: Any = SimpleITK  # its types are incomplete
Header = Any


def open_itk(path: Path, *, channels: int | None = None) -> StoredVolume:
    """Read an NRRD or MetaImage file.

    Args:
        path: The file, or the header of a detached one.
        channels: Values a voxel that the file may hold; None: one.
    """
    header = read_header(path)
    grid = grid_of(header, path)
    values = header.GetNumberOfComponents()
    extent = header.GetSize()[3:]
    if extent.count(1) < len(extent) or values not in (1, channels):
        raise DataError(
            f"{path} holds more than one volume",
            found=f"size {header.GetSize()} with {values} values a voxel",
            expected="three axes" if channels is None else f"three axes with {channels} values a voxel",
            hint="save one volume a file; several values a voxel need a network for it",
        )
    try:
        image = header.Execute()
    except RuntimeError as error:
        raise _damaged(path, error) from None
    raw = ITK.GetArrayFromImage(image)
    raw = raw.reshape((*reversed(grid.shape), values)).transpose(2, 1, 0, 3)
    remarks = shape_remarks(grid)
    if path.suffix.lower() in (".nrrd", ".nhdr") and not _says_space(header):
        remarks = (NO_ORIENTATION, *remarks)
    volume = StoredVolume(raw, grid, np.ones(1), np.zeros(1), remarks=remarks)
    check_values(volume, str(path))
    return volume


def read_header(path: Path) -> Header:
    """SimpleITK's reader with the header's content."""
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    reader = ITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _damaged(path, error) from None
    return reader


def grid_of(header: Header, path: Path) -> VolumeGeometry:
    """The grid a header describes."""
    n = header.GetDimension()
    axes = np.array(header.GetDirection()).reshape(n, n) * np.array(header.GetSpacing())
    lps = np.eye(4)
    kept = min(n, 3)
    lps[:kept, :kept] = axes[:kept, :kept]
    lps[:kept, 3] = header.GetOrigin()[:kept]
    affine = LPS_TO_RAS @ lps
    check_affine(affine, str(path))
    return VolumeGeometry.of((*header.GetSize(), 1)[:3], affine)


def write_itk(path: Path, values: Stored, grid: VolumeGeometry, *, like: Header | None = None) -> None:
    """Write voxels (I, J, K), compressed; the ending chooses NRRD or MetaImage.

    Args:
        path: Where to, ending in ``.nrrd`` or ``.mha``.
        values: Integers.
        grid: Where the voxels lie.
        like: A header whose origin, spacing and direction are taken in the same bits.
    """
    image = ITK.GetImageFromArray(slices_first(values))
    if like is not None and like.GetDimension() == 3:
        origin, spacing, direction = like.GetOrigin(), like.GetSpacing(), like.GetDirection()
    else:
        origin, spacing, direction = _placement(LPS_TO_RAS @ grid.matrix, str(path))
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    with replacing(path) as temporary:
        named = temporary.with_name(temporary.name + path.suffix)  # ITK chooses the format by the ending
        try:
            ITK.WriteImage(image, str(named), useCompression=True)
            named.replace(temporary)
        except RuntimeError as error:
            raise OSError(f"cannot write {path}: {error}") from None
        finally:
            named.unlink(missing_ok=True)


def _placement(lps: Matrix, name: str) -> tuple[list[float], list[float], list[float]]:
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > ORTHONORMAL:
        raise DataError(
            f"{name} cannot hold this volume",
            found="axes that are not at right angles",
            expected="axes at right angles, as NRRD and MHA need them here",
            hint="write NIfTI",
        )
    return lps[:3, 3].tolist(), spacing.tolist(), direction.ravel().tolist()


def _says_space(header: Header) -> bool:
    return "NRRD_space" in header.GetMetaDataKeys()


def _damaged(path: Path, error: Exception) -> DataError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return DataError(
        f"cannot read {path}",
        found=lines[-1].removeprefix("sitk::ERROR:").strip() if lines else type(error).__name__,
        expected="a complete NRRD or MetaImage file",
        hint="copy the file again, and the data file that its header names",
    )
