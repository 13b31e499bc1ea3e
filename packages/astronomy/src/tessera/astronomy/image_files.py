"""Images of a folder: which files are one case, and where mosaics lie on the sky, by headers alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tessera.astronomy.cutouts import choose_images
from tessera.astronomy.fits_files import SUFFIXES as FITS
from tessera.astronomy.fits_files import is_fits_table, scan
from tessera.astronomy.geometry import SkyGeometry, sky_to_pixels
from tessera.astronomy.pictures import SUFFIXES as PICTURES
from tessera.core.data.walk import walk_files
from tessera.core.errors import DataError, TesseraError

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from tessera.astronomy.input_config import SkyInput

Floats = npt.NDArray[np.float64]

SUFFIXES = (*FITS, *PICTURES)
WHOLE_SKY_DEG = 180.0
EDGE_POINTS = 5  # along each side of a footprint, for its radius
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageFiles:
    """One image: a file, or one a band.

    Args:
        name: Path below the folder; without band and ending where there is one file a band.
        files: In the order of the bands.
        bands: Those there are files of, where there is one file a band.
    """

    name: str
    files: tuple[Path, ...]
    bands: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The name without folders and ending."""
        return stem(Path(self.name))


def is_picture(path: Path) -> bool:
    """Whether a file is named like a JPEG or PNG picture."""
    return path.name.lower().endswith(PICTURES)


def stem(path: Path) -> str:
    """A file's name without its ending, also without ``.fits.gz``."""
    ending = max((s for s in SUFFIXES if path.name.lower().endswith(s)), key=len, default="")
    return path.name[: len(path.name) - len(ending)]


def find_images(path: Path, *, bands: Sequence[str] = ()) -> list[ImageFiles]:
    """Every image below a folder, or the one file, sorted by name; tables among FITS files are left out.

    Args:
        path: The folder or file.
        bands: One file a band: files whose names differ in the ending ``_<band>`` (or - or .) alone are one
            image.
    """
    if path.is_file():
        return [ImageFiles(path.name, (path,))]
    if not path.is_dir():
        raise DataError(f"there is no file or folder {path}", hint="check the spelling of the path")
    files = list(_image_files(path))
    found = [ImageFiles(file.relative_to(path).as_posix(), (file,)) for file in files]
    if bands:
        found = _one_for_all_bands(found, bands)
    if not found:
        raise DataError(f"no images in {path}", expected=f"files ending in {', '.join(SUFFIXES)}")
    return sorted(found, key=lambda image: image.name)


def _image_files(folder: Path) -> Iterator[Path]:
    for file in walk_files(folder):
        name = file.name.lower()
        if not name.endswith(SUFFIXES) or name.startswith("."):
            continue
        if name.endswith(FITS) and not name.endswith(".fz") and is_fits_table(file):
            _log.info("%s is a table, not an image; it is left out", file)
            continue
        yield file


def _one_for_all_bands(images: Sequence[ImageFiles], bands: Sequence[str]) -> list[ImageFiles]:
    places = {band.casefold(): place for place, band in enumerate(bands)}
    groups: dict[str, dict[int, Path]] = {}
    alone = []
    for image in images:
        base, own = _split_band(image.stem, places)
        if own is None:
            alone.append(image)
            continue
        name = (Path(image.name).parent / base).as_posix()
        if own in groups.setdefault(name, {}):
            raise DataError(
                f"two files for band {bands[own]} of {name}",
                found=f"{groups[name][own].name} and {image.files[0].name}",
                expected="one",
            )
        groups[name][own] = image.files[0]
    joined = [
        ImageFiles(name, tuple(files[k] for k in sorted(files)), tuple(bands[k] for k in sorted(files)))
        for name, files in groups.items()
    ]
    return [*joined, *alone]


def _split_band(name: str, places: dict[str, int]) -> tuple[str, int | None]:
    """``m31_g`` as ``m31`` and the place of band g."""
    for separator in "_-.":
        base, _, last = name.rpartition(separator)
        if base and last.casefold() in places:
            return base, places[last.casefold()]
    return name, None


@dataclass(frozen=True)
class Footprint:
    """A mosaic's place on the sky.

    Args:
        image: Its files.
        grid: Of the first band.
        wcs: Of that grid.
        pixel_scale_arcsec: At the reference point.
        centre: Unit vector of the middle.
        radius_deg: A circle of this radius holds all of it.
    """

    image: ImageFiles
    grid: SkyGeometry
    wcs: WCS
    pixel_scale_arcsec: float
    centre: Floats
    radius_deg: float

    @classmethod
    def of(cls, image: ImageFiles, options: SkyInput) -> Footprint:
        """By the headers of the first file; raises ``DataError`` where they do not say."""
        path = image.files[0]
        if is_picture(path):
            raise DataError(f"{path} is a picture, which has no WCS")
        names = () if image.bands else options.bands
        (first, *_) = choose_images(path, scan(path), names=names, hdu=options.hdu)
        grid = first.grid
        wcs = grid.equatorial_wcs()
        steps = np.linspace(-0.5, np.array(grid.size) - 0.5, EDGE_POINTS)
        edge = [(row, column) for row in steps[:, 0] for column in steps[:, 1]]
        middle = [[(n - 1) / 2 for n in grid.size]]
        vectors = unit_vectors(grid.sky([*middle, *edge]))
        cosines = vectors[1:] @ vectors[0]
        radius = (
            np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))) if np.isfinite(vectors).all() else np.inf
        )
        # between the points of the edge it may reach a little further
        radius = min(WHOLE_SKY_DEG, 1.05 * float(radius))
        return cls(image, grid, wcs, grid.pixel_scale_arcsec, vectors[0], radius)

    def side_px(self, options: SkyInput, default: int) -> int:
        """Side of a cut-out, pixels."""
        if options.size_arcsec is not None:
            return max(1, round(options.size_arcsec / self.pixel_scale_arcsec))
        return options.size_px or default


class Mosaics:
    """The mosaics that positions may lie on.

    Args:
        images: Their files.
        options: How to read them.
    """

    def __init__(self, images: Sequence[ImageFiles], options: SkyInput) -> None:
        self.footprints: list[Footprint] = []
        self.unusable: list[str] = []
        for image in images:
            try:
                self.footprints.append(Footprint.of(image, options))
            except TesseraError as error:
                self.unusable.append(error.one_line())
                _log.warning("%s is left out: %s", image.files[0], error.one_line())
        self._options = options

    def place(self, positions: Floats, *, side_px: int) -> tuple[npt.NDArray[np.int64], Floats]:
        """For each position (N, 2) the mosaic that holds most of its cut-out, and which share of it.

        Args:
            positions: Right ascension and declination, degrees, finite.
            side_px: Of a cut-out, where the options do not say.

        Returns:
            Places in ``footprints``, -1 where the cut-out lies on none, and shares.
        """
        best = np.full(len(positions), -1, dtype=np.int64)
        share = np.zeros(len(positions))
        vectors = unit_vectors(positions)
        for number, footprint in enumerate(self.footprints):
            side = footprint.side_px(self._options, side_px)
            reach = footprint.radius_deg + side * footprint.pixel_scale_arcsec / 3600.0
            near = np.flatnonzero(vectors @ footprint.centre >= np.cos(np.radians(min(reach, WHOLE_SKY_DEG))))
            if not len(near):
                continue
            inside = _coverage(sky_to_pixels(footprint.wcs, positions[near]), side, footprint.grid.size)
            better = inside > share[near]
            best[near[better]], share[near[better]] = number, inside[better]
        return best, share


def unit_vectors(positions: npt.ArrayLike) -> Floats:
    """Points (N, 3) on the sphere of positions (N, 2) in degrees."""
    ra, dec = np.radians(np.asarray(positions, dtype=np.float64).reshape(-1, 2)).T
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _coverage(centres: Floats, side: int, size: Sequence[int]) -> Floats:
    """Share of the square cut-outs around indices (N, 2) that lies on an image; 0 where they are NaN."""
    with np.errstate(invalid="ignore"):
        start = np.ceil(centres - side / 2)
        inside = np.minimum(start + side, size) - np.maximum(start, 0)
        return np.nan_to_num(np.clip(inside, 0, side) / side).prod(axis=1)
