"""Curved ribbons of light with a Gaussian cross-section: streams and tails."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.astronomy.simulate.frame import Frame
from tessera.astronomy.simulate.psf import FWHM_PER_SIGMA
from tessera.astronomy.simulate.sersic import Array

Line = npt.NDArray[np.float64]

SPACING = 0.5
"""Distance of the blobs along a ribbon over the narrowest sigma; the sum ripples by less than 1e-6 of it."""
CUT = 4.5
"""Blobs end after this many sigmas, at 4e-5 of their peak."""
WOBBLE = 0.25
"""Depth of the clumps along a ribbon."""


@dataclass(frozen=True, kw_only=True)
class Ribbon:
    """A ribbon around a curve.

    Args:
        x_px: Curve, offsets from the galaxy (P,), densely sampled.
        y_px: The same across.
        fwhm_px: Full width at half maximum of the cross-section at each place (P,).
        ridge: Counts a pixel on the curve at each place (P,).
    """

    x_px: Line
    y_px: Line
    fwhm_px: Line
    ridge: Line

    @property
    def length_px(self) -> float:
        """Length of the curve."""
        return float(np.sum(np.hypot(np.diff(self.x_px), np.diff(self.y_px))))


def ribbon_image(frame: Frame, ribbon: Ribbon) -> Array:
    """Counts (H, W) of a ribbon: the sum of round Gaussians along its curve."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(ribbon.x_px), np.diff(ribbon.y_px)))])
    sigma_least = float(ribbon.fwhm_px.min()) / FWHM_PER_SIGMA
    count = max(2, math.ceil(along[-1] / (SPACING * sigma_least)) + 1)
    places = np.linspace(0.0, along[-1], count)
    x, y, fwhm, ridge = (
        np.interp(places, along, values)
        for values in (ribbon.x_px, ribbon.y_px, ribbon.fwhm_px, ribbon.ridge)
    )
    sigma = fwhm / FWHM_PER_SIGMA
    share = np.full(count, along[-1] / (count - 1))
    share[[0, -1]] *= 0.5
    peak = ridge * share / (math.sqrt(2 * math.pi) * sigma)
    canvas = frame.blank()
    for place in range(count):
        half = CUT * sigma[place]
        box = frame.box((x[place] - half, x[place] + half), (y[place] - half, y[place] + half))
        dx, dy = frame.offsets(box)
        scale = np.float32(-0.5 / sigma[place] ** 2)
        across = np.exp(scale * (dx - np.float32(x[place])) ** 2)
        up = np.exp(scale * (dy - np.float32(y[place])) ** 2)
        canvas[box] += np.float32(peak[place]) * up * across
    return canvas


def stream(rng: np.random.Generator, frame: Frame, *, nearest_px: float) -> Ribbon:
    """An arc around the galaxy, or a great circle seen at an angle, with a ridge of about 1.

    Radius 15 to 80 kpc, length 20 to 150 kpc, width 2 to 6 kpc, as far as they fit into the frame's reach.

    Args:
        rng: Draws the shape.
        frame: Scale and reach.
        nearest_px: Radius inside which the galaxy would hide it.
    """
    scale = frame.px_per_kpc
    fwhm = rng.uniform(2.0, 6.0) * scale
    farthest = max(min(80.0 * scale, frame.reach_px - fwhm), 0.3 * frame.reach_px)
    radius = rng.uniform(min(max(15.0 * scale, nearest_px), farthest), farthest)
    fwhm = min(fwhm, 0.5 * radius)
    if rng.random() < 0.3:
        flat, angle = rng.uniform(0.3, 1.0), rng.uniform(1.6, 2.0) * math.pi
    else:
        flat = rng.uniform(0.7, 1.0)
        angle = min(rng.uniform(20.0, 150.0) * scale / radius, 1.5 * math.pi)
    turn = rng.uniform(0.0, 2 * math.pi) + np.linspace(0.0, angle, 200)
    x, y = _rotated(radius * np.cos(turn), radius * flat * np.sin(turn), rng.uniform(0.0, 2 * math.pi))
    return Ribbon(x_px=x, y_px=y, fwhm_px=np.full(200, fwhm), ridge=_clumpy(rng, 200, ends=(0.15, 0.15)))


def tail(rng: np.random.Generator, frame: Frame, *, nearest_px: float) -> Ribbon:
    """A tail that leaves the galaxy's edge, bends, widens and fades outwards, with a ridge of about 1.

    Width 5 to 12 kpc at its middle and length 20 to 100 kpc, as far as they fit into the frame's reach.

    Args:
        rng: Draws the shape.
        frame: Scale and reach.
        nearest_px: Radius at which it leaves the galaxy.
    """
    scale, reach = frame.px_per_kpc, frame.reach_px
    fwhm = min(rng.uniform(5.0, 12.0) * scale, 0.3 * reach)
    start = min(nearest_px, 0.7 * reach)
    end = min(start + rng.uniform(20.0, 100.0) * scale, reach - 0.5 * fwhm)
    t = np.linspace(0.0, 1.0, 200)
    radius = start + (max(end, start + fwhm) - start) * t
    bend = rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 1.4) * t
    turn = rng.uniform(0.0, 2 * math.pi) + bend
    return Ribbon(
        x_px=radius * np.cos(turn),
        y_px=radius * np.sin(turn),
        fwhm_px=fwhm * (0.6 + 0.8 * t),
        ridge=_clumpy(rng, 200, ends=(0.0, 0.3)) * (1.0 - 0.5 * t),
    )


def _rotated(x: Line, y: Line, angle_rad: float) -> tuple[Line, Line]:
    cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
    return x * cosine - y * sine, x * sine + y * cosine


def _clumpy(rng: np.random.Generator, size: int, *, ends: tuple[float, float]) -> Line:
    """Brightness along a ribbon (size,): two slow waves, fading over these shares of its ends."""
    t = np.linspace(0.0, 1.0, size)
    wave = np.zeros(size)
    for cycles in rng.uniform(0.5, 4.0, 2):
        wave += 0.5 * WOBBLE * np.sin(2 * math.pi * (cycles * t + rng.random()))
    return (1.0 + wave) * _rise(t, ends[0]) * _rise(1.0 - t, ends[1])


def _rise(t: Line, share: float) -> Line:
    """From 0 to 1 over the first ``share`` of t, along half a cosine."""
    return 0.5 - 0.5 * np.cos(math.pi * np.clip(t / share, 0.0, 1.0)) if share > 0 else np.ones_like(t)
