"""Light in sectors around a galaxy: shells with sharp outer edges, and diffuse fans."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tessera.astronomy.simulate.frame import Frame, turned
from tessera.astronomy.simulate.sersic import Array, elliptical_radius_squared

EDGE_PX = 1.5
"""Over which a shell's light ends."""
SOFT_RAD = math.radians(8.0)
"""Over which a sector's light ends to its sides."""
FADED = 6.0
"""Scale lengths after which a fan has ended."""


@dataclass(frozen=True, kw_only=True)
class Shell:
    """One shell: light that rises outwards to an edge.

    Args:
        radius_px: Of the edge, along the major axis.
        depth_px: Scale of the exponential rise.
        towards_rad: Direction of the middle of the arc.
        opening_rad: Of the arc; 2 pi for all around.
        axis_ratio: Of the edge's ellipse.
        angle_rad: Of its major axis.
        peak: Counts a pixel at the edge.
    """

    radius_px: float
    depth_px: float
    towards_rad: float
    opening_rad: float
    axis_ratio: float
    angle_rad: float
    peak: float


def shell_image(frame: Frame, shells: tuple[Shell, ...]) -> Array:
    """Counts (H, W) of shells, sharp at their edges to ``EDGE_PX``."""
    canvas = frame.blank()
    for shell in shells:
        box, _, angle = frame.polar(shell.radius_px + EDGE_PX)
        dx, dy = frame.offsets(box)
        r = np.sqrt(elliptical_radius_squared(dx, dy, axis_ratio=shell.axis_ratio, angle_rad=shell.angle_rad))
        behind = np.float32(shell.radius_px) - r
        light = np.exp(np.float32(-1.0 / shell.depth_px) * np.maximum(behind, 0))
        light *= np.clip(behind * np.float32(1 / EDGE_PX) + np.float32(0.5), 0.0, 1.0)
        light *= _sector(angle, towards_rad=shell.towards_rad, opening_rad=shell.opening_rad)
        light *= np.float32(shell.peak)
        canvas[box] += light
    return canvas


def draw_shells(
    rng: np.random.Generator, frame: Frame, *, nearest_px: float, angle_rad: float, axis_ratio: float
) -> tuple[Shell, ...]:
    """Two to five shells of type I (arcs along the major axis, in turn on both sides) or II (all around).

    Args:
        rng: Draws them; radii follow one another by a factor of 1.3 to 1.8.
        frame: Scale and reach.
        nearest_px: About the radius of the innermost.
        angle_rad: Major axis of the galaxy.
        axis_ratio: Of the galaxy; shells are rounder.
    """
    aligned = rng.random() < 0.6
    opening = math.radians(rng.uniform(40.0, 120.0)) if aligned else 2 * math.pi
    flat = rng.uniform(max(axis_ratio, 0.7), 1.0)
    radius = min(nearest_px * rng.uniform(0.8, 1.2), 0.7 * frame.reach_px)
    side = int(rng.integers(2))
    shells: list[Shell] = []
    for number in range(int(rng.integers(2, 6))):
        if radius > frame.reach_px:
            break
        shells.append(
            Shell(
                radius_px=radius,
                depth_px=max(rng.uniform(0.15, 0.3) * radius, 2.0),
                towards_rad=angle_rad + math.pi * ((side + number) % 2),
                opening_rad=opening,
                axis_ratio=flat,
                angle_rad=angle_rad if aligned else rng.uniform(0.0, math.pi),
                peak=rng.uniform(0.7, 1.0),
            )
        )
        radius *= rng.uniform(1.3, 1.8)
    return tuple(shells)


def fan_image(rng: np.random.Generator, frame: Frame, *, nearest_px: float) -> Array:
    """A wedge of 40 to 90 degrees whose light falls off exponentially from the galaxy's edge, peak about 1.

    Args:
        rng: Draws it.
        frame: Scale and reach.
        nearest_px: Radius where it begins.
    """
    start = min(nearest_px, 0.7 * frame.reach_px)
    length = rng.uniform(0.4, 0.7) * (frame.reach_px - start)
    towards, opening = rng.uniform(0.0, 2 * math.pi), math.radians(rng.uniform(40.0, 90.0))
    canvas = frame.blank()
    box, r, angle = frame.polar(start + FADED * length)
    light = np.exp(np.float32(-1.0 / length) * np.maximum(r - np.float32(start), 0))
    light *= np.clip((r - np.float32(0.7 * start)) * np.float32(1 / (0.3 * start)), 0.0, 1.0)
    light *= _sector(angle, towards_rad=towards, opening_rad=opening)
    canvas[box] = light
    return canvas


def _sector(angle: Array, *, towards_rad: float, opening_rad: float) -> Array:
    """1 inside a sector, falling to 0 over ``SOFT_RAD`` around its sides."""
    if opening_rad >= 2 * math.pi:
        return np.ones_like(angle)
    inside = np.float32(opening_rad / 2) - np.abs(turned(angle, by_rad=towards_rad))
    return np.clip(inside * np.float32(1 / SOFT_RAD) + np.float32(0.5), 0.0, 1.0)
