"""Tidal features around a galaxy, at a given mean surface brightness."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tessera.astronomy.simulate.frame import Frame
from tessera.astronomy.simulate.hosts import Host
from tessera.astronomy.simulate.photometry import Colour, counts_per_px, surface_brightness
from tessera.astronomy.simulate.ribbons import ribbon_image, stream, tail
from tessera.astronomy.simulate.sersic import Array, Sersic, sersic_light
from tessera.astronomy.simulate.tidal_config import MU_RANGES, FeatureKind, TidalConfig
from tessera.astronomy.simulate.wedges import draw_shells, fan_image, shell_image

PROGENITORS = 0.3
"""Share of streams that still hold what they were torn from."""
LEVEL = 0.5
"""A feature's area is where it is above this share of its peak."""
INNERMOST = 0.7
"""Most that a galaxy's edge may be of the reach, so that its features still fit."""
TRIES = 6
"""Shapes drawn until the light of a feature is in the wanted range; the nearest one is kept."""
CONFIDENCE = ((26.5, 4), (27.2, 3), (27.35, 2), (math.inf, 1))
"""Faintest surface brightness, and how sure an expert would be: 4 certain, 3 probable, 2 and 1 doubtful."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A tidal feature.

    Args:
        kind: Of it.
        light: Counts a pixel in r (H, W), before the point-spread function.
        mu: Mean surface brightness over its area in g, mag/arcsec^2; infinite without light.
        flux_fraction: Its light over the galaxy's in g.
        colour: Of it.
        progenitor: Whether it holds a dwarf galaxy.
    """

    kind: FeatureKind
    light: Array
    mu: float
    flux_fraction: float
    colour: Colour
    progenitor: bool


def mean_level(light: Array) -> float:
    """Mean over the area of a feature: pixels above half of the peak."""
    bright = light[light > LEVEL * light.max()]
    return float(bright.mean(dtype=np.float64)) if bright.size else 0.0


def confidence(mu: float) -> int:
    """How sure an expert would be of a feature of that surface brightness, 0 (nothing seen) to 4."""
    if mu == math.inf:
        return 0
    return next(level for faintest, level in CONFIDENCE if mu <= faintest)


def draw_feature(
    rng: np.random.Generator, frame: Frame, host: Host, *, kind: FeatureKind, config: TidalConfig
) -> Feature:
    """A feature of that kind around a galaxy.

    Surface brightness is drawn first, then shapes until the light is in ``config.flux_fraction``.
    """
    mu = rng.uniform(*(config.mu_range or MU_RANGES[kind]))
    bluer = rng.uniform(0.0, 0.15)
    colour = Colour(host.colour.g_r - bluer, host.colour.r_i - 0.5 * bluer)
    low, high = config.flux_fraction
    best: tuple[float, Array, bool] | None = None
    for _ in range(TRIES):
        shape, progenitor = _draw_shape(rng, frame, host, kind, mu=mu)
        fraction = counts_per_px(mu) * float(shape.sum(dtype=np.float64)) / host.counts_g
        miss = max(math.log(fraction / high) if high > 0 else 0.0, math.log(max(low, 1e-9) / fraction), 0.0)
        if best is None or miss < best[0]:
            best = miss, shape, progenitor
        if miss == 0:
            break
    assert best is not None
    _, shape, progenitor = best
    level = counts_per_px(mu) * config.feature_flux
    return Feature(
        kind=kind,
        light=shape * np.float32(level / colour.weights[0]),
        mu=surface_brightness(level),
        flux_fraction=level * float(shape.sum(dtype=np.float64)) / host.counts_g,
        colour=colour,
        progenitor=progenitor,
    )


def _draw_shape(
    rng: np.random.Generator, frame: Frame, host: Host, kind: FeatureKind, *, mu: float
) -> tuple[Array, bool]:
    """Light (H, W) with the mean 1 over its area, and whether there is a progenitor on top of it."""
    edge = min(max(host.main.radius_px, host.edge_px(mu)), INNERMOST * frame.reach_px)
    if kind == "stream":
        ribbon = stream(rng, frame, nearest_px=edge)
        light = _levelled(ribbon_image(frame, ribbon))
        if rng.random() >= PROGENITORS:
            return light, False
        place = int(rng.integers(40, 160))
        at_px = frame.at_px[0] + ribbon.x_px[place], frame.at_px[1] + ribbon.y_px[place]
        _add_dwarf(rng, light, frame, at_px=at_px)
        return light, True
    if kind == "tail":
        return _levelled(ribbon_image(frame, tail(rng, frame, nearest_px=edge))), False
    if kind == "fan":
        return _levelled(fan_image(rng, frame, nearest_px=edge)), False
    shells = draw_shells(
        rng,
        frame,
        nearest_px=edge,
        angle_rad=host.main.angle_rad,
        axis_ratio=host.main.axis_ratio,
    )
    return _levelled(shell_image(frame, shells)), False


def _levelled(light: Array) -> Array:
    return light * np.float32(1 / mean_level(light))


def _add_dwarf(rng: np.random.Generator, light: Array, frame: Frame, *, at_px: tuple[float, float]) -> None:
    """Add in place a faint progenitor with 5 to 20 % of a stream's light."""
    dwarf = Sersic(
        counts=rng.uniform(0.05, 0.2) * float(light.sum(dtype=np.float64)),
        radius_px=rng.uniform(0.5, 1.5) * frame.px_per_kpc,
        n=1.0,
        axis_ratio=rng.uniform(0.6, 1.0),
        angle_rad=rng.uniform(0.0, math.pi),
    )
    box, part = sersic_light(frame.shape, dwarf, at_px, core=((12, 10),))
    light[box] += part
