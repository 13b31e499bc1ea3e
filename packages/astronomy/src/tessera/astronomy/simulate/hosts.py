"""The galaxies: smooth light, and the spiral arms and rings that are no tidal features."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tessera.astronomy.simulate.frame import Frame, turned
from tessera.astronomy.simulate.photometry import Colour, counts_per_px, flux, px_per_kpc
from tessera.astronomy.simulate.sersic import Array, Box, Sersic
from tessera.astronomy.simulate.tidal_config import TidalConfig

RADIUS_KPC = (3.0, 10.0)
AXIS_RATIO = (0.4, 1.0)
OLD = Colour(0.70, 0.35)
YOUNG = Colour(0.45, 0.20)
BLUE = Colour(0.25, 0.10)
"""Old stars, discs, and arms."""
SCATTER_MAG = 0.05
"""Of a galaxy's colours."""
HIDING_MAG = 1.0
"""A galaxy hides what is fainter than itself by more."""


@dataclass(frozen=True, kw_only=True)
class Arms:
    """Logarithmic spiral arms in a disc, inside two effective radii.

    Args:
        number: Of arms.
        pitch_rad: Angle between an arm and a circle.
        phase_rad: Of the first arm at R_e.
        mu: Surface brightness of their ridge at half of R_e, r.
    """

    number: int
    pitch_rad: float
    phase_rad: float
    mu: float


@dataclass(frozen=True, kw_only=True)
class Ring:
    """A ring: radius and Gaussian sigma over R_e, and surface brightness of its ridge in r."""

    radius: float
    width: float
    mu: float


@dataclass(frozen=True, kw_only=True)
class Host:
    """A galaxy.

    Args:
        r_mag: Magnitude of the smooth light in r.
        redshift: Of it.
        early: One profile, else disc and bulge.
        radius_kpc: Effective radius of the profile, or of the disc.
        bulge_to_total: Share of the bulge; 0 for one profile.
        parts: Profiles in counts of r, the main one first, with their colours.
        arms: Spiral arms, if any.
        ring: A ring, if any.
    """

    r_mag: float
    redshift: float
    early: bool
    radius_kpc: float
    bulge_to_total: float
    parts: tuple[tuple[Sersic, Colour], ...]
    arms: Arms | None
    ring: Ring | None

    @property
    def main(self) -> Sersic:
        """The one profile, or the disc."""
        return self.parts[0][0]

    @property
    def colour(self) -> Colour:
        """Of the outskirts."""
        return self.parts[0][1]

    @property
    def counts_g(self) -> float:
        """Smooth light in g."""
        return sum(profile.counts * colour.weights[0] for profile, colour in self.parts)

    def edge_px(self, mu: float) -> float:
        """Radius along the major axis beyond which the galaxy no longer hides ``mu`` (g), pixels."""
        return self.main.radius_at(counts_per_px(mu - HIDING_MAG) / self.colour.weights[0])


def draw_host(rng: np.random.Generator, config: TidalConfig) -> Host:
    """A luminous galaxy as the tidal survey chose them."""
    redshift, r_mag = rng.uniform(*config.redshift), rng.uniform(*config.r_mag)
    early = bool(rng.random() < config.early)
    radius_kpc, axis_ratio = rng.uniform(*RADIUS_KPC), rng.uniform(*AXIS_RATIO)
    angle = rng.uniform(0.0, math.pi)
    radius_px, counts = radius_kpc * px_per_kpc(redshift), flux(r_mag)
    shift = rng.normal(0.0, SCATTER_MAG)
    bulge = 0.0 if early else rng.uniform(0.0, 0.6)
    main = Sersic(
        counts=counts * (1 - bulge),
        radius_px=radius_px,
        n=rng.uniform(2.5, 6.0) if early else 1.0,
        axis_ratio=axis_ratio,
        angle_rad=angle,
    )
    parts = [(main, _redder(OLD if early else YOUNG, shift))]
    if bulge > 0:
        inner = Sersic(
            counts=counts * bulge,
            radius_px=radius_px * rng.uniform(0.15, 0.3),
            n=rng.uniform(2.0, 4.0),
            axis_ratio=max(axis_ratio, 0.7),
            angle_rad=angle,
        )
        parts.append((inner, _redder(OLD, shift)))
    return Host(
        r_mag=r_mag,
        redshift=redshift,
        early=early,
        radius_kpc=radius_kpc,
        bulge_to_total=bulge,
        parts=tuple(parts),
        arms=_draw_arms(rng) if not early and rng.random() < config.arms else None,
        ring=_draw_ring(rng) if rng.random() < config.rings else None,
    )


def structure(frame: Frame, host: Host) -> tuple[Box, Array] | None:
    """Arms and ring in counts of r, in the box around the galaxy that holds them; None without any."""
    if host.arms is None and host.ring is None:
        return None
    main = host.main
    box, r, angle = frame.polar(2.5 * main.radius_px)
    away = turned(angle, by_rad=main.angle_rad)
    along, across = r * np.cos(away), r * np.sin(away) * np.float32(1 / main.axis_ratio)
    radius = np.maximum(np.hypot(along, across) * np.float32(1 / main.radius_px), np.float32(1e-3))
    light = np.zeros_like(r)
    if host.arms is not None:
        light += arms_light(radius, np.arctan2(across, along), arms=host.arms)
    if host.ring is not None:
        away_from = (radius - np.float32(host.ring.radius)) * np.float32(1 / host.ring.width)
        light += np.float32(counts_per_px(host.ring.mu)) * np.exp(np.float32(-0.5) * away_from * away_from)
    return box, light


def arms_light(radius: Array, angle: Array, *, arms: Arms) -> Array:
    """Counts of r at places in the disc's plane: radius over R_e and angle from the major axis (H, W)."""
    wound: Array = np.log(radius)
    wound *= np.float32(1 / math.tan(arms.pitch_rad))
    spiral: Array = angle - wound - np.float32(arms.phase_rad)
    nearest = turned(spiral * np.float32(arms.number), by_rad=0.0)
    light = np.exp(np.float32(-0.5 / 0.7**2) * nearest * nearest)
    light *= np.exp(np.float32(0.5) - radius)
    light *= np.clip(radius * np.float32(1 / 0.3), 0.0, 1.0)
    light *= np.clip((np.float32(2.0) - radius) * np.float32(1 / 0.3), 0.0, 1.0)
    return light * np.float32(counts_per_px(arms.mu))


def _draw_arms(rng: np.random.Generator) -> Arms:
    return Arms(
        number=int(rng.choice([2, 2, 2, 3, 4])),
        pitch_rad=math.radians(rng.uniform(8.0, 30.0)) * rng.choice([-1.0, 1.0]),
        phase_rad=rng.uniform(0.0, 2 * math.pi),
        mu=rng.uniform(21.0, 24.0),
    )


def _draw_ring(rng: np.random.Generator) -> Ring:
    return Ring(radius=rng.uniform(0.8, 1.8), width=rng.uniform(0.08, 0.2), mu=rng.uniform(22.0, 24.5))


def _redder(colour: Colour, shift: float) -> Colour:
    return Colour(colour.g_r + shift, colour.r_i + 0.5 * shift)
