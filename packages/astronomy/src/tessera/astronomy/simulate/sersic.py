"""Galaxies' light after Sersic (1963), rendered with an oversampled core.

I(r) = I_e exp(-b ((r / R_e)^(1/n) - 1)), r measured along the major axis of concentric ellipses; b puts half
of the light within R_e (Graham and Driver, PASA 22, 118, 2005). At pixel centres alone a de Vaucouleurs
profile would hold up to a quarter too much light.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincinv

Array = npt.NDArray[np.float32]
Point = tuple[float, float]
Box = tuple[slice, slice]

CORE = ((32, 10), (8, 40))
"""Edge of a square around the centre in pixels, and samples along a pixel's edge inside it."""
FAINTEST = 3e-4
"""Counts a pixel at which rendering ends: less than a thousandth of the noise of any depth."""


@dataclass(frozen=True, kw_only=True)
class Sersic:
    """A Sersic profile.

    Args:
        counts: Total light.
        radius_px: R_e along the major axis.
        n: 1 for a disc, 4 for a de Vaucouleurs profile.
        axis_ratio: Minor over major axis, 0 to 1.
        angle_rad: From the x axis to the major axis, counter-clockwise.
    """

    counts: float
    radius_px: float
    n: float
    axis_ratio: float = 1.0
    angle_rad: float = 0.0

    @cached_property
    def b(self) -> float:
        """The number that puts half of the light within R_e."""
        return float(gammaincinv(2 * self.n, 0.5))

    @cached_property
    def effective(self) -> float:
        """I_e, counts a pixel at R_e."""
        area = 2 * math.pi * self.radius_px**2 * self.axis_ratio * self.n
        shape = math.exp(self.b) * self.b ** (-2 * self.n) * math.gamma(2 * self.n)
        return self.counts / (area * shape)

    def radius_at(self, level: float) -> float:
        """Radius in pixels where the profile falls to ``level`` counts a pixel, 0 if it is never above."""
        inside = 1.0 + math.log(self.effective / level) / self.b
        return self.radius_px * inside**self.n if inside > 0 else 0.0

    def at(self, dx: Array, dy: Array) -> Array:
        """Counts a pixel at offsets from the centre that broadcast to (H, W), in pixels."""
        squared = elliptical_radius_squared(dx, dy, axis_ratio=self.axis_ratio, angle_rad=self.angle_rad)
        np.maximum(squared, np.float32(1e-12), out=squared)
        scaled = np.log(squared, out=squared)
        scaled -= np.float32(2 * math.log(self.radius_px))
        scaled *= np.float32(0.5 / self.n)
        grown = np.exp(scaled, out=scaled)
        grown -= np.float32(1.0)
        grown *= np.float32(-self.b)
        light: Array = np.exp(grown, out=grown)
        light *= np.float32(self.effective)
        return light


def elliptical_radius_squared(dx: Array, dy: Array, *, axis_ratio: float, angle_rad: float) -> Array:
    """Square of the distance along the major axis of ellipses around the origin, pixels^2 (H, W)."""
    cosine, sine = np.float32(math.cos(angle_rad)), np.float32(math.sin(angle_rad))
    along = dx * cosine + dy * sine
    across = (dy * cosine - dx * sine) * np.float32(1.0 / axis_ratio)
    along *= along
    across *= across
    along += across
    return along


def sersic_image(shape: tuple[int, int], profile: Sersic, at_px: Point) -> Array:
    """Counts (H, W) of a profile whose centre lies at (x, y) = ``at_px``; nothing is renormalised."""
    image = np.zeros(shape, dtype=np.float32)
    box, light = sersic_light(shape, profile, at_px)
    image[box] = light
    return image


def sersic_light(
    shape: tuple[int, int], profile: Sersic, at_px: Point, *, core: tuple[tuple[int, int], ...] = CORE
) -> tuple[Box, Array]:
    """The part of an image (H, W) where a profile is above ``FAINTEST``, and its counts a pixel there.

    Args:
        shape: Rows and columns of the image.
        profile: What to render.
        at_px: Its centre, (x, y).
        core: Edge of squares around the centre in pixels, and samples along a pixel's edge, whose mean the
            pixel holds; all other pixels hold the value at their centre.
    """
    reach = max(math.ceil(profile.radius_at(FAINTEST)), 2)
    box = _box(shape, at_px, half=reach)
    light = _sampled(profile, box, at_px, samples=1)
    for edge, samples in core:
        part = _box(shape, at_px, half=min(edge // 2, reach))
        inner = tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))
        light[inner] = _sampled(profile, part, at_px, samples=samples)
    return box, light


def _box(shape: tuple[int, int], at_px: Point, *, half: int) -> Box:
    """Rows and columns within ``half`` pixels of a place."""
    x, y = (math.floor(place + 0.5) for place in at_px)
    rows, columns = (
        slice(min(max(middle - half, 0), size), min(max(middle + half, 0), size))
        for middle, size in ((y, shape[0]), (x, shape[1]))
    )
    return rows, columns


def _sampled(profile: Sersic, box: Box, at_px: Point, *, samples: int) -> Array:
    """Mean over ``samples`` x ``samples`` places of each pixel of a box."""
    rows, columns = (
        (part.start - 0.5 - centre + (np.arange((part.stop - part.start) * samples) + 0.5) / samples).astype(
            np.float32
        )
        for part, centre in zip(box, at_px[::-1], strict=True)
    )
    light = profile.at(columns[None, :], rows[:, None])
    if samples == 1:
        return light
    grouped = light.reshape(len(rows) // samples, samples, len(columns) // samples, samples)
    return grouped.mean(axis=(1, 3), dtype=np.float32)
