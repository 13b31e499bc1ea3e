"""NIfTI files: voxels (I, J, K) in nibabel's order, the affine verbatim."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from tessera.core.data.atomic import replacing
from tessera.core.errors import DataError
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.stored_volume import (
    AMBIGUOUS,
    NO_ORIENTATION,
    Stored,
    StoredVolume,
    check_affine,
    check_values,
    shape_remarks,
    slices_first,
)

SUFFIXES = (".nii", ".nii.gz")
BLOCK = 2**20  # bytes
COMPRESSION = 4  # of gzip: a mask shrinks by 100 and more at any level
LENGTH_UNITS = {0: "not given", 1: "metre", 2: "mm", 3: "micron"}  # NIfTI-1, xyzt_units & 7
ONE = np.ones(1)
NIFTI1: Any = nibabel.Nifti1Image  # nibabel's types are incomplete
NIFTI2: Any = nibabel.Nifti2Image

_QFORM = ("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_GEOMETRY = ("pixdim", "xyzt_units", *_QFORM, "sform_code", "srow_x", "srow_y", "srow_z")
_DAMAGED_FILE = (OSError, EOFError, zlib.error, OverflowError, ImageFileError)
_DAMAGED_HEADER = (ValueError, struct.error, HeaderDataError, WrapStructError)

Header = Any


class _Unpacked(gzip.GzipFile):
    """A compressed file that fills an array block by block; Python's own unpacks all of it elsewhere."""

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the file goes; the number of bytes."""
        view, filled = memoryview(buffer).cast("B"), 0
        while some := super().readinto(view[filled : filled + BLOCK]):
            filled += some
        return filled


def open_nifti(path: Path, *, channels: int | None = None) -> StoredVolume:
    """Open a file; an uncompressed one stays a memory map.

    Args:
        path: The file.
        channels: Values a voxel that a fourth axis may hold; None: a fourth axis is refused.
    """
    with _damage_named(path):
        if path.name.lower().endswith(".gz"):
            with _Unpacked(path) as stream:
                image = _kind(stream.peek(4), path).from_stream(stream)
                raw = np.asanyarray(image.dataobj.get_unscaled())
                while stream.read(BLOCK):  # to the end, where the checksum is compared
                    pass
        else:
            with path.open("rb") as stream:
                kind = _kind(stream.peek(4), path)
            image = kind.from_filename(path, mmap="r")
            raw = np.asanyarray(image.dataobj.get_unscaled())
    header = image.header
    raw = _with_channels(raw, path, channels)
    grid = grid_of(header, path)
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    remarks = (*_remarks(header), *shape_remarks(grid))
    volume = StoredVolume(raw, grid, slope * ONE, intercept * ONE, remarks=remarks)
    check_values(volume, str(path))
    return volume


def read_header(path: Path) -> Header:
    """The file's header, without its voxels."""
    with _damage_named(path):
        opener = gzip.open if path.name.lower().endswith(".gz") else Path.open
        with cast(BinaryIO, opener(path, "rb")) as stream:
            start = stream.read(540)  # NIfTI-2's header is the longer one
        kind = _kind(start, path).header_class
        return kind(start[: kind.template_dtype.itemsize])


def grid_of(header: Header, path: Path) -> VolumeGeometry:
    """The grid a header describes; refuses lengths that are not in mm and a singular affine."""
    unit = int(header["xyzt_units"]) & 7
    if unit not in (0, 2):
        raise DataError(
            f"{path} measures lengths in another unit",
            found=LENGTH_UNITS.get(unit, f"unit {unit}"),
            expected="mm",
            hint="save the volume with its affine in millimetres",
        )
    affine = header.get_best_affine()
    check_affine(affine, str(path))
    return VolumeGeometry.of((*header.get_data_shape(), 1, 1)[:3], affine)


def grid_header(header: Header) -> Header:
    """A header that says where the voxels lie, in the same bits, and nothing else of the source."""
    place = type(header)()
    for name in _GEOMETRY:
        place[name] = header[name]
    return place


def new_header(grid: VolumeGeometry) -> Header:
    """A header for a source that is no NIfTI: the affine as sform and as qform, both scanner coordinates."""
    header = NIFTI1.header_class()
    header.set_data_shape(grid.shape)
    header.set_xyzt_units("mm")
    header.set_qform(grid.matrix, code="scanner", strip_shears=True)
    header.set_sform(grid.matrix, code="scanner")
    return header


def write_nifti(path: Path, values: Stored, header: Header) -> None:
    """Write voxels (I, J, K) with a header's place in space; the same bytes each time.

    Args:
        path: Where to; ``.gz`` compresses.
        values: Integers or float32; a single slice may come as (I, J).
        header: Of ``grid_header`` or ``new_header``.
    """
    header = header.copy()
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    kind = NIFTI2 if isinstance(header, NIFTI2.header_class) else NIFTI1
    stored = slices_first(values).T if values.ndim == 3 else values
    image = kind(stored, header.get_best_affine(), header)
    image.header.set_slope_inter(1, 0)
    with replacing(path) as temporary, temporary.open("wb") as file:
        if not path.name.endswith(".gz"):
            image.to_stream(file)
            return
        with gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as packed:
            image.to_stream(packed)


def _kind(start: bytes, path: Path) -> Any:
    for order in ("<", ">"):
        size = struct.unpack(f"{order}i", start[:4])[0] if len(start) >= 4 else 0
        if size in (348, 540):
            return NIFTI1 if size == 348 else NIFTI2
    raise DataError(
        f"{path} is no NIfTI file",
        found=f"it begins with {start[:4]!r}",
        expected="a header of 348 or 540 bytes",
        hint="check that the file was copied completely and that its ending is right",
    )


def _with_channels(raw: Stored, path: Path, channels: int | None) -> Stored:
    """(I, J, K, C) of what a file holds: a slice, a volume, or several values a voxel."""
    shape = raw.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 5 and shape[3] == 1:  # NIfTI keeps the place of time free for vectors
        shape = (*shape[:3], shape[4])
    if len(shape) <= 3:
        return raw.reshape((*shape, *(1,) * (4 - len(shape))), order="F")
    if len(shape) == 4 and channels is not None and shape[3] == channels:
        return raw.reshape(shape, order="F")
    raise DataError(
        f"{path} holds more than one volume",
        found=f"shape {tuple(raw.shape)}",
        expected="three axes" if channels is None else f"{channels} values a voxel",
        hint="save one time point as a volume of its own; a fourth axis of channels needs a network for it",
    )


def _remarks(header: Header) -> tuple[str, ...]:
    qform, sform = int(header["qform_code"]), int(header["sform_code"])
    if qform == 0 and sform == 0:
        return (NO_ORIENTATION,)
    if qform == 0 or sform == 0:
        return ()
    try:
        other, used = header.get_qform(), header.get_sform()
    except (HeaderDataError, ValueError):  # the quaternion is no rotation
        return (AMBIGUOUS,)
    ends = np.array([[0, 0, 0, 1], [*header["dim"][1:4], 1]]).T
    apart = np.abs((other - used) @ ends).max()
    return (AMBIGUOUS,) if apart > 0.1 * np.linalg.norm(used[:3, :3], axis=0).min() else ()


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged file into one that names it."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (*_DAMAGED_FILE, *_DAMAGED_HEADER) as error:
        raise DataError(
            f"cannot read {path}",
            found=" ".join(str(error).split()) or type(error).__name__,
            expected="a complete NIfTI file",
            hint="copy the file again; if it stays so, convert the original scan again",
        ) from None
