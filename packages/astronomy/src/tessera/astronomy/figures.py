"""What the report shows of an image of the sky or of a map of density."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from tessera.astronomy.colour_maps import VIRIDIS, coloured, overlay_png
from tessera.astronomy.config import DensityConfig
from tessera.astronomy.density_files import NPZ_SUFFIX, ROLE, DensityReader
from tessera.astronomy.geometry import SkyGeometry
from tessera.astronomy.heat_maps import HeatMap, heat_map_among
from tessera.astronomy.readers import NON_PHOTOMETRIC, SkyReader
from tessera.astronomy.rows import CATALOGUE, DEC, ID_COLUMN, NAME, PROBLEM, RA, ROW
from tessera.astronomy.sky_pictures import asinh_picture, enlarged, fitted, mark_sky, plain_picture
from tessera.core.data.case import Case
from tessera.core.errors import DataError
from tessera.core.report.media import CaseMedia, ColourScale, Thumbnail

if TYPE_CHECKING:
    from tessera.astronomy.config import SkyConfig

SIDE = 320  # dots of a picture's longer side
OVERLAY_SIDE = 160  # of a heat map, which is smooth
QUALITY = 85  # of JPEG
PERCENTILES = (1.0, 99.8)  # of a map of density, shown as the first and the last colour
_NOT_SHOWN = (CATALOGUE, ROW, ID_COLUMN, NAME, PROBLEM, RA, DEC, "ra", "dec")  # of meta: shown already

Values = npt.NDArray[np.float32]
Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class _Panel:
    """A case drawn: its picture, upright, and what is known of it."""

    picture: Image.Image
    title: str
    size: tuple[int, ...]
    upside_down: bool = True  # row 0 of the case is the bottom of the picture
    facts: Facts = ()
    scales: tuple[ColourScale, ...] = ()


class SkyFigures:
    """Draws images of the sky, or maps of density, for the report.

    Args:
        config: Of the run; its kind says which of the two.
    """

    def __init__(self, config: SkyConfig | DensityConfig) -> None:
        self.config = config
        self._sky = None if isinstance(config, DensityConfig) else SkyReader(config)
        self._density = DensityReader(config)

    def draw(self, case: Case) -> CaseMedia:
        """The case as one picture."""
        panel = self._panel(case)
        return CaseMedia(images=((panel.title, _encoded(panel.picture, "PNG")),))

    def thumbnail(self, case: Case, *, files: tuple[Path, ...] = ()) -> Thumbnail:
        """The case with the heat map that a prediction wrote, its position, and what else is known of it."""
        panel = self._panel(case)
        overlay, scales, facts = _heat(files, panel)
        return Thumbnail(
            image=_encoded(panel.picture, "JPEG"),
            overlay=overlay,
            facts=(*panel.facts, *facts, *self._known(case)),
            scales=(*panel.scales, *scales),
        )

    def _panel(self, case: Case) -> _Panel:
        return self._density_panel(case) if self._sky is None else self._sky_panel(case, self._sky)

    def _sky_panel(self, case: Case, reader: SkyReader) -> _Panel:
        source = reader.open(case)
        try:
            sample, grid = source.read(), source.grid
        finally:
            source.close()
        image, remarks = sample["input"].numpy(), tuple(sample.get("flags", ()))
        small = fitted(image, SIDE)
        if NON_PHOTOMETRIC in remarks:
            picture, title = plain_picture(small), "Picture as stored"
        else:
            picture, title = asinh_picture(small, reader.bands)[::-1], "Asinh stretch, its sky almost black"
        drawn = enlarged(picture, SIDE)
        facts = _place(case, grid, drawn)
        remarked = (("remarks on the image", ", ".join(remarks)),) if remarks else ()
        return _Panel(
            drawn, title, grid.size, upside_down=NON_PHOTOMETRIC not in remarks, facts=(*facts, *remarked)
        )

    def _density_panel(self, case: Case) -> _Panel:
        (values,) = self._density.open(case).read()["input"].numpy()
        packed = case.path(ROLE).name.lower().endswith(NPZ_SUFFIX)
        title = "log10(density / mean)" if packed else "density"
        if isinstance(self.config, DensityConfig) and self.config.data.log:
            values = np.log10(np.maximum(values, np.float32(self.config.data.floor)))
            title = "log10(density / mean)"
        low, high = np.nanpercentile(values, PERCENTILES).tolist()
        shares = (fitted(values[None], SIDE)[0] - low) / (high - low or 1.0)
        drawn = enlarged(coloured(np.nan_to_num(shares))[::-1], SIDE)
        scale = ColourScale(title=title, low=f"{low:.3g}", high=f"{high:.3g}", colours=VIRIDIS)
        words = f"{title} from {low:.3g} (dark) to {high:.3g} (bright)"
        return _Panel(drawn, words, values.shape, facts=(_pixels(values.shape),), scales=(scale,))

    def _known(self, case: Case) -> Facts:
        meta = [(name, value) for name, value in case.meta.items() if name not in _NOT_SHOWN and value != ""]
        targets = [
            (name, str(value))
            for name, value in case.targets.items()
            if name != self.config.data.target and isinstance(value, str | int | float)
        ]
        return tuple((name.replace("_", " "), value) for name, value in (*targets, *meta))


def _place(case: Case, grid: SkyGeometry, drawn: Image.Image) -> Facts:
    """Where the image lies and how large it is; draws compass and scale bar where that is known."""
    from astropy.coordinates import Angle

    try:
        ra, dec = grid.centre_deg
        scale = grid.pixel_scale_arcsec
    except DataError:
        known = (("position", f"{case.meta[RA]}, {case.meta[DEC]} deg"),) if RA in case.meta else ()
        return (*known, _pixels(grid.size), ("on the sky", "not known: no usable WCS"))
    north, east = _directions(grid, ra, dec)
    mark_sky(drawn, north=north, east=east, arcsec_per_dot=scale * max(grid.size) / max(drawn.size))
    if RA in case.meta and DEC in case.meta:
        ra, dec = float(case.meta[RA]), float(case.meta[DEC])
    hours = Angle(ra, "deg").to_string(unit="hourangle", sep=":", precision=2, pad=True)
    degrees = Angle(dec, "deg").to_string(unit="deg", sep=":", precision=1, pad=True, alwayssign=True)
    rows, columns = (f"{length * scale:.1f}" for length in grid.size)
    return (
        ("position (RA, Dec)", f"{ra:.6f}°, {dec:+.6f}°"),
        ("the same, sexagesimal", f"{hours} {degrees}"),
        _pixels(grid.size),
        ("on the sky", f"{columns} × {rows} arcsec, {scale:.3f} arcsec a pixel"),
    )


def _directions(grid: SkyGeometry, ra: float, dec: float) -> tuple[complex, complex]:
    """North and east at a position, as right + i up on the picture, of length 1."""
    step = 0.01 * grid.pixel_scale_arcsec / 3600  # so short that a parallel near the pole is straight
    beside = [[ra, dec], [ra, dec + step], [ra + step / np.cos(np.radians(dec)), dec]]
    middle, *ends = (complex(column, row) for row, column in grid.pixels(beside).tolist())
    north, east = ((end - middle) / abs(end - middle) for end in ends)
    return north, east


def _pixels(size: tuple[int, ...]) -> tuple[str, str]:
    return ("pixels", f"{size[1]} × {size[0]}")


def _heat(files: tuple[Path, ...], panel: _Panel) -> tuple[bytes | None, tuple[ColourScale, ...], Facts]:
    """The heat map's overlay, its colours, and what is to say of it."""
    try:
        found = heat_map_among(files)
    except DataError as error:
        return None, (), (("heat map", error.one_line()),)
    if found is None:
        return None, (), ()
    if found.values.shape != tuple(panel.size):
        return None, (), (("heat map", f"of other pixels than the image: {found.values.shape}"),)
    largest = float(np.nanmax(found.values))
    if not largest > 0:
        return None, (), (("heat map", f"nothing in the image speaks for {found.class_name}"),)
    small = fitted(found.values[None], OVERLAY_SIDE)[0]
    overlay = overlay_png((small[::-1] if panel.upside_down else small) / largest)
    return overlay, (_heat_scale(found, largest),), ()


def _heat_scale(found: HeatMap, largest: float) -> ColourScale:
    title = f"what speaks for {found.class_name} ({found.method})"
    return ColourScale(title=title, low="0", high=f"{largest:.3g}, the most in this image", colours=VIRIDIS)


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **({"quality": QUALITY} if kind == "JPEG" else {}))
    return buffer.getvalue()
