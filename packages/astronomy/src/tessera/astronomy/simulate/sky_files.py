"""Simulated images and tables on disk: FITS, one extension a band; the same image gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from tessera.astronomy.simulate.photometry import BANDS, PIXEL_SCALE_ARCSEC, ZERO_POINT_MAG
from tessera.astronomy.simulate.sersic import Array, Point
from tessera.core.data.atomic import replacing

QUANTUM = 1 / 32
"""Step of compressed values, counts; rounding adds less than 0.03 % to the noise of the deepest band."""
TILE_ROWS = 64
"""Rows compressed together: few tiles are fast, and a cut-out need not read the whole."""
Cards = Mapping[str, tuple[Any, str]]


def wcs_cards(*, at_px: Point, ra_deg: float, dec_deg: float) -> dict[str, tuple[Any, str]]:
    """Header cards of a gnomonic (TAN) projection, north up and east left, around a place (x, y) from 0."""
    scale = PIXEL_SCALE_ARCSEC / 3600.0
    return {
        "RADESYS": ("ICRS", ""),
        "CTYPE1": ("RA---TAN", ""),
        "CTYPE2": ("DEC--TAN", ""),
        "CRPIX1": (at_px[0] + 1.0, "centre of the galaxy"),
        "CRPIX2": (at_px[1] + 1.0, ""),
        "CRVAL1": (ra_deg, "deg"),
        "CRVAL2": (dec_deg, "deg"),
        "CUNIT1": ("deg", ""),
        "CUNIT2": ("deg", ""),
        "CD1_1": (-scale, ""),
        "CD1_2": (0.0, ""),
        "CD2_1": (0.0, ""),
        "CD2_2": (scale, ""),
    }


def write_bands(
    path: Path,
    image: Array,
    *,
    name: str,
    cards: Cards,
    band_cards: Sequence[Cards],
    compression: Literal["rice", "none"],
) -> None:
    """Write counts (3, H, W) as the extensions G, R and I, float32, each with all cards.

    Args:
        path: Of the file.
        image: Counts in g, r and i.
        name: Of the object.
        cards: Of all extensions: key to value and comment.
        band_cards: Those that differ from band to band.
        compression: rice rounds to ``QUANTUM`` with dither and packs tiles of ``TILE_ROWS`` rows.
    """
    hdus = fits.HDUList([fits.PrimaryHDU()])
    hdus[0].header["OBJECT"] = name
    hdus[0].header["SIMULATE"] = (True, "made by tessera simulate tidal")
    for band, values, own in zip(BANDS, image, band_cards, strict=True):
        header = fits.Header()
        for key, (value, comment) in {**cards, **own}.items():
            header[key] = (value, comment)
        header["OBJECT"] = name
        header["FILTER"] = band
        header["BUNIT"] = ("count", "of a stack of 1 s, sky subtracted")
        header["PHOTZP"] = (ZERO_POINT_MAG, "AB mag of one count")
        hdus.append(_hdu(values, header, name=band.upper(), compression=compression))
    content = io.BytesIO()
    hdus.writeto(content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())


def _hdu(values: Array, header: fits.Header, *, name: str, compression: str) -> Any:
    if compression == "none":
        return fits.ImageHDU(values, header, name=name)
    return fits.CompImageHDU(
        values,
        header,
        name=name,
        compression_type="RICE_1",
        tile_shape=(min(TILE_ROWS, values.shape[0]), values.shape[1]),
        quantize_level=-QUANTUM,
        quantize_method=1,
        dither_seed=1,
    )


def write_map(path: Path, values: Array, *, cards: Cards) -> None:
    """Write one image (H, W) without compression, float32."""
    header = fits.Header()
    for key, (value, comment) in cards.items():
        header[key] = (value, comment)
    content = io.BytesIO()
    fits.PrimaryHDU(values, header).writeto(content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())


def write_tables(folder: Path, rows: Sequence[Mapping[str, Any]], *, units: Mapping[str, str]) -> None:
    """Write the same rows as ``truth.csv`` and ``truth.fits``; None becomes an empty cell.

    Args:
        folder: Of the tables.
        rows: Each with the same keys, the columns.
        units: Of the columns that have one, for the FITS table.
    """
    table = Table()
    for key in rows[0]:
        values = [row[key] for row in rows]
        unknown = [value is None for value in values]
        if any(unknown):
            filled = [np.nan if value is None else value for value in values]
            table[key] = MaskedColumn(filled, mask=unknown, dtype=float)
        else:
            table[key] = values
    for key, unit in units.items():
        table[key].unit = unit
    for name, form in (("truth.csv", "ascii.csv"), ("truth.fits", "fits")):
        with replacing(folder / name) as temporary:
            table.write(temporary, format=form)
