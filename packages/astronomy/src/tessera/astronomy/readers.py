"""Finds images and the rows of catalogues, and opens them as arrays (C, H, W) with their place on the sky.

A row of a catalogue is tied to pixels by its path column; else by a file in ``images`` that is named as its
id; else by its position on one of the mosaics in ``images``. Each row is a case. What is wrong with one row
is said when it is opened, so that the others go on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tessera.astronomy.catalogues import is_catalogue, read_catalogue
from tessera.astronomy.cutouts import (
    Band,
    FitsPlanes,
    PicturePlanes,
    Planes,
    bands_of,
    box_around,
    coverage,
    read_box,
)
from tessera.astronomy.fits_files import FitsFile, OpenFiles, Values, is_finite
from tessera.astronomy.geometry import SkyGeometry
from tessera.astronomy.image_files import find_images, is_picture
from tessera.astronomy.input_config import SkyInput
from tessera.astronomy.pictures import read_picture
from tessera.astronomy.rows import IMAGE, PROBLEM, catalogue_cases, references
from tessera.core.data.case import Case
from tessera.core.data.geometry import Region
from tessera.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample
    from tessera.core.run_config import RunConfig

DIGITS = 6  # after the point, of a place in pixels
SIDE_PX = 512  # of a cut-out, where neither the options nor the run say
NON_PHOTOMETRIC = "non-photometric"
PARTLY_OUTSIDE = "partly outside the image"
UNUSABLE = "masked or blank pixels"
WORTH_SAYING = 0.01  # share of unusable pixels inside the image from which a person is told


class SkyReader:
    """Finds and opens images.

    Args:
        config: The run's; ``data.bands`` names the bands, in order, and ``data.size_px`` the side of a
            cut-out, where there are such fields.
        options: What a person chose of the input.
    """

    def __init__(self, config: RunConfig | None = None, *, options: SkyInput | None = None) -> None:
        data = None if config is None else config.data
        own = tuple(getattr(data, "bands", ()))
        self.options = options or SkyInput()
        if own and self.options.bands and len(own) != len(self.options.bands):
            raise ConfigError(
                "bands: the bundle reads another number of bands",
                found=", ".join(self.options.bands),
                expected=f"{len(own)}, in the order {', '.join(own)}",
            )
        self.bands = self.options.bands or own
        self.n_bands = len(self.bands) or None
        self.side_px = int(getattr(data, "size_px", None) or SIDE_PX)
        self.target = "label" if data is None else data.target
        self._files = OpenFiles()

    def find(self, path: Path) -> list[Case]:
        """Each row of a catalogue, or each image below a folder (or the one file), sorted by id."""
        path = Path(path)
        options = self.options
        if path.is_file() and is_catalogue(path):
            catalogue = read_catalogue(path, options, label=self.target)
            found = catalogue_cases(
                catalogue, options, side_px=self.side_px, target=self.target, chosen=self._chosen()
            )
            return sorted(found, key=lambda case: case.id)
        images = find_images(path, bands=self.bands if options.one_file_a_band else ())
        return [
            Case(
                id=image.name,
                files={IMAGE: references(image.files)},
                select=self._chosen(),
                group=image.stem,
            )
            for image in images
        ]

    def open(self, case: Case) -> SkySource:
        """Open a case; raises ``DataError`` saying what is wrong with its row or file."""
        if problem := case.meta.get(PROBLEM):
            raise DataError(f"case {case.id}: {problem}")
        references = case.files.get(IMAGE, ())
        references = references if isinstance(references, tuple) else (references,)
        paths = [reference.path for reference in references if reference.path is not None]
        if not paths or len(paths) < len(references):
            raise DataError(f"case {case.id} has no local image", hint="run tessera fetch, or give --images")
        if any(map(is_picture, paths)):
            return self._open_pictures(case, paths)
        return self._open_fits(case, paths)

    def _open_pictures(self, case: Case, paths: Sequence[Path]) -> SkySource:
        values = np.concatenate([read_picture(path) for path in paths])
        if "ra_deg" in case.select:
            raise DataError(
                f"case {case.id}: no cut-out can be made from a picture",
                found=paths[0].name,
                expected="a FITS image with a WCS",
            )
        planes = PicturePlanes(values)
        self._check_bands(case, planes)
        grid = SkyGeometry(planes.size)
        least = self._option(case, "min_coverage")
        return SkySource(case, planes, grid, min_coverage=least, remarks=(NON_PHOTOMETRIC,))

    def _open_fits(self, case: Case, paths: Sequence[Path]) -> SkySource:
        files: list[FitsFile] = []
        try:
            for path in paths:
                files.append(self._files.take(path))
            planes = self._planes(case, files)
            self._check_bands(case, planes)
            grid = planes.first.image.grid
            least = self._option(case, "min_coverage")
            if "ra_deg" in case.select:
                grid = grid.crop(self._box(case, planes, least))
            return SkySource(case, planes, grid, min_coverage=least, files=(self._files, files))
        except BaseException:
            for file in files:
                self._files.give_back(file)
            raise

    def _planes(self, case: Case, files: Sequence[FitsFile]) -> FitsPlanes:
        hdu, masked = self._option(case, "hdu"), self._option(case, "masks")
        bands: list[Band] = []
        for file in files:
            names = tuple(case.select.get("bands", self.bands)) if len(files) == 1 else ()
            found = bands_of(file, names=names, hdu=hdu, masked=masked)
            if len(files) > 1 and len(found) != 1:
                raise DataError(
                    f"{file.path} holds several images, beside other files of the same case",
                    found=len(found),
                    expected="one image a file",
                    hint="say which with --hdu",
                )
            bands += found
        return FitsPlanes(bands, mask_bits=self._option(case, "mask_bits"))

    def _box(self, case: Case, planes: FitsPlanes, least: float) -> Region:
        """The cut-out's place on the image."""
        select = case.select
        ra, dec = float(select["ra_deg"]), float(select["dec_deg"])
        side = int(select.get("size_px", self.side_px))
        if "size_arcsec" in select:
            scale = planes.first.file.pixel_scale_arcsec(planes.first.image)
            side = max(1, round(float(select["size_arcsec"]) / scale))
        centre = planes.centre(ra, dec)
        path = planes.first.file.path
        where = f"case {case.id}: the position {ra:.6f}, {dec:+.6f}"
        if not all(map(math.isfinite, centre)):
            raise DataError(f"{where} is not on {path}")
        # the last digits of a position must not decide about a row of pixels
        box = box_around((round(centre[0], DIGITS), round(centre[1], DIGITS)), (side, side))
        share = coverage(box, planes.size)
        if share == 0.0:
            raise DataError(
                f"{where} is outside {path}",
                found=f"row {centre[0]:.1f}, column {centre[1]:.1f}",
                expected=f"0 to {planes.size[0]}, 0 to {planes.size[1]}",
            )
        if share < least:
            raise DataError(
                f"{where} is too near to the edge of {path}",
                found=f"{100 * share:.1f} % of the cut-out lie on the image",
                expected=f"at least {100 * least:g} %",
                hint="lower --min-coverage to have it padded, or leave the row out",
            )
        return box

    def _check_bands(self, case: Case, planes: Planes) -> None:
        if self.n_bands not in (None, planes.bands):
            raise DataError(
                f"case {case.id} has another number of bands",
                found=planes.bands,
                expected=f"{self.n_bands}: {', '.join(self.bands)}",
                hint="name the extensions with --bands, in the order the network was trained with",
            )

    def _option(self, case: Case, name: str) -> Any:
        return case.select.get(name, getattr(self.options, name))

    def _chosen(self) -> dict[str, Any]:
        """The options that decide about pixels, where they are not the usual ones, for the case's hash."""
        names = ("bands", "hdu", "masks", "mask_bits", "min_coverage")
        usual = SkyInput()
        return {n: getattr(self.options, n) for n in names if getattr(self.options, n) != getattr(usual, n)}


class SkySource:
    """One open image or cut-out; ``grid`` is its place on the image, ``read`` gives (C, H, W) as stored.

    Args:
        case: The case.
        planes: Its bands.
        grid: The whole image's, or the cut-out's.
        min_coverage: Least share of usable pixels of the whole.
        remarks: Flags of what a person should know.
        files: The files open, and who they go back to.
    """

    def __init__(
        self,
        case: Case,
        planes: Planes,
        grid: SkyGeometry,
        *,
        min_coverage: float,
        remarks: tuple[str, ...] = (),
        files: tuple[OpenFiles, Sequence[FitsFile]] | None = None,
    ) -> None:
        self.case = case
        self.channels = planes.bands
        self._planes, self._grid = planes, grid
        self._least = min_coverage
        self._files = files
        start = tuple(round(first) for first in grid.origin)
        self._box = Region(start, tuple(a + n for a, n in zip(start, grid.size, strict=True)))
        if coverage(self._box, planes.size) < 1.0:
            remarks = (*remarks, PARTLY_OUTSIDE)
        self._fixed = remarks
        self._values: Values | None = None
        self._flags: tuple[str, ...] | None = None  # of the whole, once it was read

    @property
    def grid(self) -> SkyGeometry:
        """Its own grid."""
        return self._grid

    @property
    def remarks(self) -> tuple[str, ...]:
        """Flags of the whole; reads it, and keeps it for the next ``read``."""
        if self._flags is None:
            self._values, self._flags = self._whole()
        return self._flags

    def read(self, region: Region | None = None) -> Sample:
        """The region's (or the whole) values (C, H, W), float32; unusable pixels are NaN.

        Raises ``DataError`` where the whole has fewer usable pixels than ``min_coverage``.
        """
        import torch

        whole = Region((0, 0), self._grid.size)
        region = whole if region is None else region
        if region == whole:
            if self._values is None:
                self._values, self._flags = self._whole()
            values, flags = self._values, self.remarks
            self._values = None
        else:
            if min(region.start) < 0 or any(b > n for b, n in zip(region.stop, self._grid.size, strict=True)):
                raise ValueError(f"{region} of an image of {self._grid.size} pixels")
            box = self._moved(region)
            values = read_box(self._planes, box)
            flags = self._flags_of(_share_unusable(values), box)
        return {
            "input": torch.from_numpy(values),
            "geometry": self._grid.crop(region),
            "case_id": self.case.id,
            "region": region,
            "flags": flags,
        }

    def close(self) -> None:
        """Give the files back."""
        self._values = None
        if self._files is not None:
            keeper, files = self._files
            self._files = None
            for file in files:
                keeper.give_back(file)

    def _whole(self) -> tuple[Values, tuple[str, ...]]:
        values = read_box(self._planes, self._box)
        unusable = _share_unusable(values)
        usable = 1.0 - unusable
        if usable == 0.0 or usable < self._least:
            raise DataError(
                f"case {self.case.id} has too few usable pixels",
                found="none"
                if usable == 0.0
                else f"{100 * usable:.1f} %; the others are masked, blank or outside",
                expected=f"at least {100 * self._least:g} %",
                hint="leave it out, or lower --min-coverage" if usable else "leave it out",
            )
        return values, self._flags_of(unusable, self._box)

    def _moved(self, region: Region) -> Region:
        """A region of the grid as a box on the image."""
        first = self._box.start
        start, stop = (
            tuple(a + f for a, f in zip(x, first, strict=True)) for x in (region.start, region.stop)
        )
        return Region(start, stop)

    def _flags_of(self, unusable: float, box: Region) -> tuple[str, ...]:
        inside = coverage(box, self._planes.size) if unusable else 1.0
        worth = unusable - (1.0 - inside) >= WORTH_SAYING
        return (*self._fixed, UNUSABLE) if worth else self._fixed


def _share_unusable(values: Values) -> float:
    if not values.size:
        return 1.0
    return 0.0 if is_finite(values) else float(np.isnan(values).mean())
