"""Magnitudes, counts and sizes of the simulated survey: stacks of 1 s at the zero point 30 (AB)."""

from __future__ import annotations

import math
from typing import NamedTuple

from astropy.cosmology import Planck18

BANDS = ("g", "r", "i")
PIXEL_SCALE_ARCSEC = 0.186
ZERO_POINT_MAG = 30.0
"""MegaCam pixels and CFHTLS T0007 stacks."""


class Colour(NamedTuple):
    """Magnitudes g - r and r - i."""

    g_r: float
    r_i: float

    @property
    def weights(self) -> tuple[float, float, float]:
        """Counts in g, r and i of a source with one count in r."""
        return flux(ZERO_POINT_MAG + self.g_r), 1.0, flux(ZERO_POINT_MAG - self.r_i)


def flux(magnitude: float) -> float:
    """Counts of a source of that AB magnitude."""
    return float(10.0 ** (-0.4 * (magnitude - ZERO_POINT_MAG)))


def magnitude(counts: float) -> float:
    """AB magnitude of a source of that many counts, infinite for none."""
    return ZERO_POINT_MAG - 2.5 * math.log10(counts) if counts > 0 else math.inf


def counts_per_px(mu: float) -> float:
    """Counts a pixel at a surface brightness in mag/arcsec^2."""
    return flux(mu) * PIXEL_SCALE_ARCSEC**2


def surface_brightness(counts: float) -> float:
    """Surface brightness in mag/arcsec^2 of that many counts a pixel, infinite for none."""
    return magnitude(counts / PIXEL_SCALE_ARCSEC**2)


def noise_limit(sigma: float, *, n_sigma: float = 1.0, box_arcsec: float = PIXEL_SCALE_ARCSEC) -> float:
    """Surface brightness that stands ``n_sigma`` above white noise, averaged over a square.

    Args:
        sigma: Noise of a pixel, counts.
        n_sigma: How far above the noise of the average.
        box_arcsec: Edge of the square; a pixel's by default.
    """
    return surface_brightness(n_sigma * sigma * PIXEL_SCALE_ARCSEC / box_arcsec)


def kpc_per_arcsec(redshift: float) -> float:
    """Proper length across the sky that an arcsecond spans (Planck 2018 cosmology)."""
    return float(Planck18.kpc_proper_per_arcmin(redshift).value) / 60.0


def px_per_kpc(redshift: float) -> float:
    """Pixels that a kpc spans."""
    return 1.0 / (kpc_per_arcsec(redshift) * PIXEL_SCALE_ARCSEC)
