"""The pixels of an image and their place on the sky: the header's own WCS cards, moved with every cut.

An index (row, column) means the centre of a pixel; row 0, column 0 is pixel (1, 1) of FITS. Positions are
ICRS degrees; a header in FK5 (J2000) is taken as ICRS, from which it differs by less than 0.1 arcsec.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tessera.core.data.geometry import Geometry, Placement, Region
from tessera.core.errors import DataError

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

Points = npt.NDArray[np.float64]

_AXES = (1, 2)
_CARDS = re.compile(
    r"WCSAXES|RADE(?:C)?SYS|EQUINOX|EPOCH|LONPOLE|LATPOLE"
    r"|C(?:TYPE|UNIT|RVAL|RPIX|DELT|ROTA|PDIS)[12]|D2IMDIS[12]"
    r"|(?:CD|PC)[12]_[12]|PC00[12]00[12]|P[VS][12]_\d+|WAT[12]_\d+"
    r"|[AB]P?_(?:ORDER|\d+_\d+)|[AB]_DMAX"
)
_SIP = re.compile(r"([AB])(P?)_(\d+)_(\d+)")
_TABLES = re.compile(r"(?:CPDIS|D2IMDIS)[12]")


@dataclass(frozen=True)
class SkyGeometry(Geometry):
    """A grid (rows, columns) of pixels, its place on its source image, and that image's place on the sky.

    Args:
        size: Rows (FITS axis 2) and columns (FITS axis 1).
        cards: The source image's WCS cards of its two axes, 80 characters each, as read; empty without WCS.
        origin: Place of this grid's first edges on the source, as in ``Pixels``; negative outside it.
        step: Source pixels per pixel of this grid, as in ``Pixels``.
        source_size: Rows and columns of the source image; this grid's own when not given.
    """

    size: tuple[int, ...]
    cards: tuple[str, ...] = ()
    origin: tuple[float, ...] = (0.0, 0.0)
    step: tuple[float, ...] = (1.0, 1.0)
    source_size: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "source_size", self.source_size or self.size)
        lengths = {len(self.size), len(self.origin), len(self.step), len(self.source_size)}
        if lengths != {2} or min(self.size) < 0 or min(self.step) <= 0:
            raise ValueError(
                f"not a grid of pixels: size {self.size}, origin {self.origin}, step {self.step}; "
                "expected rows and columns, and steps above 0"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.size

    def crop(self, region: Region) -> SkyGeometry:
        """The grid of that region, which may reach outside this one."""
        origin = tuple(o + a * s for o, a, s in zip(self.origin, region.start, self.step, strict=True))
        return SkyGeometry(region.shape, self.cards, origin, self.step, self.source_size)

    def resample(self, shape: tuple[int, ...]) -> SkyGeometry:
        """The grid of ``shape`` pixels over the same extent, outer edges on outer edges."""
        if min(shape, default=1) < 1:
            raise ValueError(f"cannot resample to {shape}: give at least one pixel an axis")
        step = tuple(s * old / new for s, old, new in zip(self.step, self.size, shape, strict=True))
        return SkyGeometry(tuple(shape), self.cards, self.origin, step, self.source_size)

    def invert(self, points: npt.ArrayLike) -> Points:
        """Map edge coordinates (N, 2) to the source image's; index i begins at edge i and ends at i + 1."""
        return np.asarray(self.origin) + np.asarray(points, dtype=np.float64) * np.asarray(self.step)

    def placement(self) -> Placement:
        """This grid along the axes of its source image."""
        offset = tuple(o + (s - 1) / 2 for o, s in zip(self.origin, self.step, strict=True))
        return Placement((0, 1), self.step, offset)

    @property
    def has_wcs(self) -> bool:
        """Whether the header says where the image is on some sky, equatorial or not."""
        return len(_celestial(self.cards)) == 2

    def header(self) -> Header:
        """The WCS cards of this very grid; those of the whole source image bit for bit as read.

        A cut changes CRPIX alone; another pixel size changes the scale and SIP's coefficients too.
        """
        header = _header(self.cards)
        if not self.cards or (set(self.origin) == {0.0} and set(self.step) == {1.0}):
            return header
        for axis, origin, step in zip(_AXES, self.origin[::-1], self.step[::-1], strict=True):
            reference = float(header.get(f"CRPIX{axis}", 0.0))
            header[f"CRPIX{axis}"] = (reference - 0.5 - origin) / step + 0.5
        if set(self.step) != {1.0}:
            _scale(header, self.step[::-1])
        return header

    def wcs(self) -> WCS:
        """The astropy WCS of this very grid; raises ``DataError`` where the header has none."""
        from astropy.wcs import WCS

        if not self.has_wcs:
            raise DataError(
                "the image does not say where on the sky it is",
                found="no CTYPE1 and CTYPE2 of a celestial system in its header",
                expected="a WCS, for instance RA---TAN and DEC--TAN",
                hint="give cut-outs, one file a row of the catalogue; or solve its astrometry",
            )
        tables = [card[:8].strip() for card in self.cards if _TABLES.fullmatch(card[:8].strip())]
        if tables:
            raise DataError(
                "the image's distortion is in tables, which are not read here",
                found=", ".join(tables),
                expected="no distortion, or SIP, TPV or TNX",
                hint="drizzle or reproject the image first",
            )
        try:
            wcs = WCS(_modern(self.header()), naxis=2)
        except Exception as error:  # wcslib has many; all mean that the header is unusable
            raise DataError(
                "the image's WCS cannot be used",
                found=" ".join(str(error).split()),
                hint="correct the header",
            ) from None
        wcs.array_shape = self.size
        return wcs

    def equatorial_wcs(self) -> WCS:
        """The same, where its positions are right ascension and declination of J2000 or ICRS."""
        axes = _celestial(self.cards)
        if len(axes) == 2 and set(axes) != {"RA--", "DEC-"}:
            raise DataError(
                "the image's WCS is not equatorial",
                found=" and ".join(axes),
                expected="RA and DEC",
                hint="reproject the image, or give cut-outs, one file a row of the catalogue",
            )
        wcs = self.wcs()
        if wcs.wcs.radesys.startswith("FK4") or (wcs.wcs.radesys == "FK5" and wcs.wcs.equinox != 2000.0):
            raise DataError(
                "the image's WCS is of another equinox",
                found=f"RADESYS {wcs.wcs.radesys}, EQUINOX {wcs.wcs.equinox:g}",
                expected="ICRS or FK5 of 2000",
                hint="reproject the image, or give cut-outs, one file a row of the catalogue",
            )
        return wcs

    @property
    def pixel_scale_arcsec(self) -> float:
        """Side of a square with a pixel's area at the reference point, arcsec."""
        from astropy.wcs.utils import proj_plane_pixel_area

        return float(np.sqrt(proj_plane_pixel_area(self.wcs())) * 3600.0)

    def sky(self, points: npt.ArrayLike) -> Points:
        """ICRS right ascension and declination in degrees (N, 2) of indices (row, column) (N, 2)."""
        return pixels_to_sky(self.equatorial_wcs(), points)

    def pixels(self, positions: npt.ArrayLike) -> Points:
        """Indices (row, column) (N, 2) of positions (N, 2) in degrees; NaN where there is no such pixel."""
        return sky_to_pixels(self.equatorial_wcs(), positions)

    @property
    def centre_deg(self) -> tuple[float, float]:
        """Right ascension and declination of the grid's middle, degrees."""
        ((ra, dec),) = self.sky([[(n - 1) / 2 for n in self.size]]).tolist()
        return ra, dec


def wcs_cards(header: Header) -> tuple[str, ...]:
    """A header's WCS cards of its first two axes as they stand in the file, 80 characters each.

    WCSAXES is left out where it counts further axes, of a cube.
    """
    found = []
    for card in header.cards:
        if not _CARDS.fullmatch(card.keyword) or (card.keyword == "WCSAXES" and card.value != 2):
            continue
        found.append(card.image[:80])
    return tuple(found)


def pixels_to_sky(wcs: WCS, points: npt.ArrayLike) -> Points:
    """Right ascension and declination in degrees (N, 2) of indices (row, column) (N, 2)."""
    rows, columns = np.asarray(points, dtype=np.float64).reshape(-1, 2).T
    return np.stack(wcs.all_pix2world(columns, rows, 0, ra_dec_order=True), axis=1)


def sky_to_pixels(wcs: WCS, positions: npt.ArrayLike) -> Points:
    """Indices (row, column) (N, 2) of positions (N, 2) in degrees; NaN where there is no such pixel."""
    from astropy.wcs import NoConvergence

    ra, dec = np.asarray(positions, dtype=np.float64).reshape(-1, 2).T
    try:
        columns, rows = wcs.all_world2pix(ra, dec, 0, ra_dec_order=True)
    except NoConvergence as error:  # SIP far outside its image
        columns, rows = np.array(error.best_solution, dtype=np.float64).T
        lost = [bad for bad in (error.divergent, error.slow_conv) if bad is not None]
        for bad in lost:
            columns[bad] = rows[bad] = np.nan
    return np.stack([rows, columns], axis=1)


def _celestial(cards: tuple[str, ...]) -> list[str]:
    """The celestial ones among CTYPE1 and CTYPE2, four characters each."""
    header = _header(tuple(card for card in cards if card.startswith("CTYPE")))
    kinds = [str(header.get(f"CTYPE{axis}", ""))[:4] for axis in _AXES]
    return [kind for kind in kinds if kind in ("RA--", "DEC-") or re.fullmatch(r"[GEHST]L(?:ON|AT)", kind)]


def _header(cards: tuple[str, ...]) -> Header:
    from astropy.io.fits import Header

    return Header.fromstring("".join(cards))


def _modern(header: Header) -> Header:
    """The same with today's names of the reference system, about which astropy would warn."""
    for old, new in (("RADECSYS", "RADESYS"), ("EPOCH", "EQUINOX")):
        if old in header:
            value = header.pop(old)
            header.setdefault(new, value)
    return header


def _scale(header: Header, steps: tuple[float, ...]) -> None:
    """Make pixels ``steps`` times as large along FITS axes 1 and 2, about CRPIX."""
    names = {(i, j): (f"CD{i}_{j}", f"PC{i}_{j}", f"PC00{i}00{j}") for i in _AXES for j in _AXES}
    kind = next((k for k in range(3) if any(names[place][k] in header for place in names)), None)
    for (i, j), found in names.items():
        if kind is None:
            continue
        unit = 1.0 if kind > 0 and i == j else 0.0  # of a card that is left out
        value = float(header.get(found[kind], unit))
        if value or found[kind] in header:
            header[found[kind]] = value * steps[j - 1]
    if kind is None:
        for axis, step in zip(_AXES, steps, strict=True):
            header[f"CDELT{axis}"] = float(header.get(f"CDELT{axis}", 1.0)) * step
    for name in list(header):
        if match := _SIP.fullmatch(name):
            own = steps[0] if match[1] == "A" else steps[1]
            header[name] = header[name] * steps[0] ** int(match[3]) * steps[1] ** int(match[4]) / own
