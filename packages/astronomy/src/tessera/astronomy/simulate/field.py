"""What lies in front of and behind a galaxy: neighbours that only seem near, and stars."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tessera.astronomy.simulate.frame import Frame
from tessera.astronomy.simulate.photometry import PIXEL_SCALE_ARCSEC, Colour, flux
from tessera.astronomy.simulate.sersic import Array, Point, Sersic, sersic_light
from tessera.astronomy.simulate.tidal_config import TidalConfig

FAINT = (18.0, 23.5)
BRIGHT = (16.5, 18.5)
STARS = (15.0, 22.0)
"""Magnitudes in r."""
GALAXY_SLOPE, STAR_SLOPE = 0.35, 0.15
"""Numbers brighter than m grow like 10 ** (slope m)."""
NEAREST_ARCSEC = 2.0
"""Nothing projected lies nearer to the galaxy's centre, which the cut-out is about."""
SMALL_CORE = ((12, 10),)


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A galaxy that is projected near another: profile in counts of r, centre (x, y) and colour."""

    profile: Sersic
    at_px: Point
    colour: Colour


@dataclass(frozen=True, kw_only=True)
class Star:
    """A point of light: counts in r, place (x, y) and colour."""

    counts: float
    at_px: Point
    colour: Colour


@dataclass(frozen=True, kw_only=True)
class Field:
    """All that is projected near a galaxy; a bright neighbour comes first."""

    neighbours: tuple[Neighbour, ...]
    stars: tuple[Star, ...]
    bright: bool


def draw_field(rng: np.random.Generator, frame: Frame, config: TidalConfig) -> Field:
    """Neighbours and stars on a canvas, in the numbers of a field at high galactic latitude."""
    arcmin2 = frame.shape[0] * frame.shape[1] * (PIXEL_SCALE_ARCSEC / 60.0) ** 2
    bright = bool(rng.random() < config.bright_neighbour)
    neighbours = [_bright_neighbour(rng, frame)] if bright else []
    for _ in range(rng.poisson(config.neighbours_per_arcmin2 * arcmin2)):
        r_mag = drawn_magnitude(rng, FAINT, slope=GALAXY_SLOPE)
        neighbours.append(_neighbour(rng, _place(rng, frame), r_mag=r_mag))
    stars = [
        Star(
            counts=flux(drawn_magnitude(rng, STARS, slope=STAR_SLOPE)),
            at_px=_place(rng, frame),
            colour=Colour(rng.uniform(0.2, 1.4), rng.uniform(0.1, 0.8)),
        )
        for _ in range(rng.poisson(config.stars_per_arcmin2 * arcmin2))
    ]
    return Field(neighbours=tuple(neighbours), stars=tuple(stars), bright=bright)


def drawn_magnitude(rng: np.random.Generator, bounds: tuple[float, float], *, slope: float) -> float:
    """A magnitude between bounds, whose numbers grow like 10 ** (slope m)."""
    low, high = (10.0 ** (slope * bound) for bound in bounds)
    return math.log10(rng.uniform(low, high)) / slope


def add_field(bands: Array, field: Field) -> None:
    """Add in place to an image (3, H, W) in counts of g, r and i."""
    for neighbour in field.neighbours:
        box, light = sersic_light(bands.shape[1:], neighbour.profile, neighbour.at_px, core=SMALL_CORE)
        add_light(bands, box, light, neighbour.colour)
    for star in field.stars:
        add_star(bands, star)


def add_light(bands: Array, box: tuple[slice, slice], light: Array, colour: Colour) -> None:
    """Add in place light in counts of r (h, w) to a box of an image (3, H, W) in g, r and i."""
    for band, weight in zip(bands, colour.weights, strict=True):
        band[box] += light * np.float32(weight)


def add_star(bands: Array, star: Star) -> None:
    """Add in place a point, shared by the four pixels around it so that their centroid is its place."""
    x, y = (math.floor(place) for place in star.at_px)
    dx, dy = star.at_px[0] - x, star.at_px[1] - y
    shares = (((1 - dy), 0), (dy, 1)), (((1 - dx), 0), (dx, 1))
    for row_share, row in shares[0]:
        for column_share, column in shares[1]:
            if 0 <= y + row < bands.shape[1] and 0 <= x + column < bands.shape[2]:
                counts = star.counts * row_share * column_share
                bands[:, y + row, x + column] += np.asarray(
                    star.colour.weights, dtype=np.float32
                ) * np.float32(counts)


def _place(rng: np.random.Generator, frame: Frame) -> Point:
    """Anywhere on the canvas but at the galaxy's centre."""
    x, y = (float(rng.uniform(-0.5, size - 0.5)) for size in frame.shape[::-1])
    away = math.hypot(x - frame.at_px[0], y - frame.at_px[1])
    least = NEAREST_ARCSEC / PIXEL_SCALE_ARCSEC
    if away >= least:
        return x, y
    turn = rng.uniform(0.0, 2 * math.pi)
    return frame.at_px[0] + least * math.cos(turn), frame.at_px[1] + least * math.sin(turn)


def _bright_neighbour(rng: np.random.Generator, frame: Frame) -> Neighbour:
    away, turn = rng.uniform(10.0, 45.0) / PIXEL_SCALE_ARCSEC, rng.uniform(0.0, 2 * math.pi)
    at_px = frame.at_px[0] + away * math.cos(turn), frame.at_px[1] + away * math.sin(turn)
    return _neighbour(rng, at_px, r_mag=rng.uniform(*BRIGHT))


def _neighbour(rng: np.random.Generator, at_px: Point, *, r_mag: float) -> Neighbour:
    """A galaxy whose size shrinks with its brightness: about 2 arcsec at 17 mag, 0.5 at 22."""
    radius = rng.uniform(0.7, 1.4) * 10.0 ** (-0.12 * (r_mag - 19.5))
    profile = Sersic(
        counts=flux(r_mag),
        radius_px=radius / PIXEL_SCALE_ARCSEC,
        n=rng.choice([1.0, 1.0, 2.0, 3.0]),
        axis_ratio=rng.uniform(0.3, 1.0),
        angle_rad=rng.uniform(0.0, math.pi),
    )
    colour = Colour(rng.uniform(0.3, 1.3), rng.uniform(0.1, 0.6))
    return Neighbour(profile=profile, at_px=at_px, colour=colour)
