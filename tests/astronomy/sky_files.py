"""Tiny images of the sky with positions that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

SCALE_DEG = 0.186 / 3600
RA, DEC = 150.1, 2.2


def sky_header(shape: Sequence[int], *, ra: float = RA, dec: float = DEC, kind: str = "tan") -> fits.Header:
    """A rotated WCS of an image of that shape around a position; kinds: tan, cdelt, sip, galactic."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = ra, dec
    header["CRPIX1"] = (shape[-1] + 1) / 2 + 0.25, "kept to the last bit"
    header["CRPIX2"] = (shape[-2] + 1) / 2 - 3.125
    header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
    header["RADESYS"] = "ICRS"
    if kind == "cdelt":
        header["CDELT1"], header["CDELT2"], header["CROTA2"] = -SCALE_DEG, 1.5 * SCALE_DEG, 25.0
        return header
    if kind == "pc":
        header["CDELT1"], header["CDELT2"], header["PC1_2"] = -SCALE_DEG, SCALE_DEG, 0.1
        return header
    header["CD1_1"], header["CD1_2"] = -SCALE_DEG, 0.1 * SCALE_DEG
    header["CD2_1"], header["CD2_2"] = 0.05 * SCALE_DEG, 1.1 * SCALE_DEG
    if kind == "galactic":
        header["CTYPE1"], header["CTYPE2"] = "GLON-TAN", "GLAT-TAN"
    if kind == "sip":
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
        header["A_ORDER"], header["B_ORDER"] = 2, 2
        header["A_2_0"], header["A_1_1"], header["B_0_2"], header["B_2_0"] = 3e-5, -2e-5, 1e-5, 4e-5
    return header


def pattern(shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Values that tell each pixel from the others."""
    return (np.arange(int(np.prod(shape)), dtype=np.float32) + 0.5).reshape(tuple(shape))


def write_image(
    path: Path,
    values: npt.NDArray[Any] | None = None,
    *,
    header: fits.Header | None = None,
    planes: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Path:
    """A FITS file: an image in the primary unit, or extensions by name."""
    units: list[Any] = [fits.PrimaryHDU(values, header if planes is None else None)]
    units += [fits.ImageHDU(plane, header, name=name) for name, plane in (planes or {}).items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(units).writeto(path, overwrite=True)
    return path


def position_of(header: fits.Header, row: float, column: float) -> tuple[float, float]:
    """Right ascension and declination of an index, by astropy alone."""
    ra, dec = WCS(header).all_pix2world([[column, row]], 0)[0].tolist()
    return ra, dec
