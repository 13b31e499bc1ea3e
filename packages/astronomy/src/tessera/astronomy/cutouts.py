"""Boxes around positions, and the bands of a case as one array from which they are cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tessera.astronomy.fits_files import FitsFile, StoredImage, Values
from tessera.core.data.geometry import Region
from tessera.core.errors import DataError

SAME_PLACE_PX = 0.5  # bands whose grids are further apart do not show the same sky in the same pixel
SCIENCE = "SCI"
MASKS = ("MASK", "DQ")
WEIGHTS = ("ERR", "VAR", "VARIANCE", "WHT", "WEIGHT", "IVAR", "INVVAR", "RMS", "SIGMA", "PSF", "EXP", "CTX")


class Planes(Protocol):
    """The bands of one case on one grid."""

    @property
    def bands(self) -> int:
        """How many."""
        ...

    @property
    def size(self) -> tuple[int, ...]:
        """Rows and columns."""
        ...

    def read(self, rows: slice, columns: slice) -> Values:
        """A box (C, h, w) inside the image; unusable pixels are NaN."""
        ...


class PicturePlanes:
    """A picture that is in memory.

    Args:
        values: (C, H, W).
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self.bands, self.size = len(values), values.shape[1:]

    def read(self, rows: slice, columns: slice) -> Values:
        """A box (C, h, w)."""
        return self._values[:, rows, columns].copy()


@dataclass(frozen=True)
class Band:
    """One band: an image, or a plane of a cube, and the mask that goes with it.

    Args:
        file: Where it lies.
        image: The image.
        plane: Its plane; None where the image is no cube.
        mask: Pixels that are not 0 there are unusable.
    """

    file: FitsFile
    image: StoredImage
    plane: int | None = None
    mask: StoredImage | None = None


class FitsPlanes:
    """Bands from FITS files.

    Args:
        bands: In order, all of one size.
        mask_bits: The bits of a mask that make a pixel unusable; None: any.
    """

    def __init__(self, bands: Sequence[Band], *, mask_bits: int | None = None) -> None:
        self._bands = tuple(bands)
        self._mask_bits = -1 if mask_bits is None else mask_bits
        self.bands = len(bands)
        self.first = bands[0]
        self.size = bands[0].image.size
        for band in bands:
            if band.image.size != self.size:
                raise DataError(
                    f"{band.file.path}: the bands have different sizes",
                    found=f"{band.image.size} rows and columns beside {self.size}",
                    hint="resample them to one grid, for instance with SWarp",
                )

    def read(self, rows: slice, columns: slice) -> Values:
        """A box (C, h, w); masked pixels are NaN."""
        found: Values = np.empty(
            (self.bands, rows.stop - rows.start, columns.stop - columns.start), np.float32
        )
        for values, band in zip(found, self._bands, strict=True):
            values[...] = band.file.read(band.image, rows, columns, plane=band.plane)
            if band.mask is not None:
                bits = band.file.stored(band.mask, rows, columns)
                bits = bits if bits.ndim == 2 else bits[band.plane or 0]
                values[(bits & self._mask_bits) != 0] = np.nan
        return found

    def centre(self, ra_deg: float, dec_deg: float) -> tuple[float, float]:
        """Index (row, column) of a position, which all bands must agree on; NaN where there is none."""
        first = self.first
        row, column = first.file.pixels(first.image, ra_deg, dec_deg).tolist()
        for band in self._bands[1:]:
            if band.image.cards == first.image.cards:
                continue
            other = band.file.pixels(band.image, ra_deg, dec_deg).tolist()
            apart = math.dist((row, column), other)
            if not apart <= SAME_PLACE_PX:
                raise DataError(
                    f"{band.file.path}: the bands lie on different grids",
                    found=f"the position is {apart:.2f} pixels away from where {first.file.path.name} has it",
                    expected=f"at most {SAME_PLACE_PX:g}",
                    hint="resample them to one grid, for instance with SWarp",
                )
        return row, column


def bands_of(
    file: FitsFile, *, names: Sequence[str] = (), hdu: int | str | None = None, masked: bool = True
) -> tuple[Band, ...]:
    """The bands of a file, in the order of ``names`` where it knows these.

    An extension or plane is known by EXTNAME or FILTER, whatever the case of letters. Without known names:
    the image ``hdu``, else the extensions called SCI, else all images of the first one's size that hold
    neither masks nor weights; a cube's planes are bands.

    Args:
        file: The file.
        names: Bands wanted.
        hdu: Number or name of the only image to use.
        masked: Use the planes called MASK or DQ.
    """
    masks = [image for image in file.images if _is_one_of(image, MASKS)]
    images = choose_images(file.path, file.images, names=names, hdu=hdu)
    bands = []
    for image in images:
        mask = _mask_of(file, image, masks) if masked else None
        if len(image.shape) > 3:
            raise DataError(
                f"{file.path} has too many axes",
                found=f"{image.shape}, the slowest first",
                expected="rows and columns, or also bands",
                hint="save the planes wanted as a file of their own",
            )
        planes = [None] if len(image.shape) == 2 else list(range(image.shape[0]))
        bands += [Band(file, image, plane, mask) for plane in planes]
    return tuple(bands)


def box_around(centre: tuple[float, float], size: tuple[int, int]) -> Region:
    """The box of that size (rows, columns) around an index, as ``astropy.nddata.Cutout2D`` cuts it."""
    start = tuple(math.ceil(middle - n / 2) for middle, n in zip(centre, size, strict=True))
    return Region(start, tuple(first + n for first, n in zip(start, size, strict=True)))


def coverage(box: Region, size: Sequence[int]) -> float:
    """Share of a box that lies on an image of that size."""
    inside = 1.0
    for first, last, n, length in zip(box.start, box.stop, size, box.shape, strict=True):
        inside *= max(0, min(last, n) - max(first, 0)) / length if length else 0.0
    return inside


def read_box(planes: Planes, box: Region) -> Values:
    """A box (C, h, w) that may reach outside the image; there it is NaN."""
    inner = [
        slice(min(max(first, 0), n), max(min(last, n), 0))
        for first, last, n in zip(box.start, box.stop, planes.size, strict=True)
    ]
    if coverage(box, planes.size) == 1.0:
        return planes.read(*inner)
    values: Values = np.full((planes.bands, *box.shape), np.nan, dtype=np.float32)
    if all(part.stop > part.start for part in inner):
        place = tuple(slice(p.start - a, p.stop - a) for p, a in zip(inner, box.start, strict=True))
        values[(slice(None), *place)] = planes.read(*inner)
    return values


def choose_images(
    path: Path, images: Sequence[StoredImage], *, names: Sequence[str] = (), hdu: int | str | None = None
) -> list[StoredImage]:
    """Which of a file's images hold its bands; see ``bands_of``."""
    chosen = _chosen(path, images, names, hdu)
    if len(chosen[0].shape) < 2 or 0 in chosen[0].shape:
        raise DataError(
            f"{path} holds no pixels",
            found=f"an image of {' x '.join(map(str, chosen[0].shape)) or 'no size'}",
            hint="leave the file out",
        )
    return chosen


def _chosen(
    path: Path, stored: Sequence[StoredImage], names: Sequence[str], hdu: int | str | None
) -> list[StoredImage]:
    if hdu is not None:
        named = [image for image in stored if _is_called(image, hdu)]
        if named:
            return named[:1]
        raise DataError(
            f"{path} has no image {hdu}", expected=_listed(stored), hint="correct the name or number"
        )
    images = [image for image in stored if not _is_one_of(image, MASKS + WEIGHTS) and len(image.shape) > 1]
    if not images:
        raise DataError(
            f"{path} holds no image",
            found=_listed(stored) or "tables alone",
            expected="an image",
            hint="a catalogue is given by itself, not in a folder of images",
        )
    known = {name: next((image for image in images if _is_band(image, name)), None) for name in names}
    found = [image for image in known.values() if image is not None]
    if found and len(found) < len(known):
        missing = ", ".join(name for name, image in known.items() if image is None)
        raise DataError(f"{path} lacks bands", found=_listed(images), expected=f"also {missing}")
    if found:
        return found
    science = [image for image in images if image.name.upper() == SCIENCE] or images
    return [image for image in science if image.shape == science[0].shape]


def _mask_of(file: FitsFile, image: StoredImage, masks: Sequence[StoredImage]) -> StoredImage | None:
    """The mask named after the image, or the only one."""
    own = [mask for mask in masks if mask.name.upper().endswith(f"_{image.name.upper()}")]
    plain = [mask for mask in masks if mask.name.upper() in MASKS]
    mask = next(iter((own if image.name else []) + plain), None)
    if mask is None:
        return None
    if mask.shape not in (image.size, image.shape):
        empty = not mask.shape or 0 in mask.shape
        raise DataError(
            f"{file.path}: the mask does not fit the image",
            found=f"{mask.name}, which is empty" if empty else f"{mask.name} of {mask.shape}",
            expected=f"{image.size} rows and columns",
            hint="correct the file, or leave masks out with --no-masks",
        )
    return mask


def _is_one_of(image: StoredImage, kinds: Sequence[str]) -> bool:
    """MASK, or MASK_G of band G."""
    return image.name.upper().split("_")[0] in kinds


def _is_band(image: StoredImage, name: str) -> bool:
    """By EXTNAME, or by FILTER up to a dot (``g.MP9401`` of MegaCam)."""
    wanted = name.casefold()
    return wanted in (image.name.casefold(), image.band.casefold(), image.band.casefold().split(".")[0])


def _is_called(image: StoredImage, hdu: int | str) -> bool:
    return image.hdu == hdu if isinstance(hdu, int) else image.name.casefold() == hdu.casefold()


def _listed(images: Sequence[StoredImage]) -> str:
    return ", ".join(f"{image.hdu} {image.name or image.band}".strip() for image in images)
