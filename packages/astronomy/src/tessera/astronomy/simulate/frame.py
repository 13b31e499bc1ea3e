"""The pixels around a galaxy: where it lies on a canvas, and at which scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tessera.astronomy.simulate.sersic import Array, Box, Point


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A canvas with a galaxy on it.

    Args:
        shape: Rows and columns.
        at_px: Centre of the galaxy, (x, y); the centre of the first pixel is (0, 0).
        px_per_kpc: Pixels that a kpc spans at the galaxy.
        reach_px: Half of the square around the galaxy in which its features have to lie.
    """

    shape: tuple[int, int]
    at_px: Point
    px_per_kpc: float
    reach_px: float

    def box(self, x: tuple[float, float], y: tuple[float, float]) -> Box:
        """Pixels whose centres lie between two offsets from the galaxy on each axis, cut at the canvas."""
        rows, columns = (
            slice(
                min(max(math.ceil(centre + low), 0), size),
                min(max(math.floor(centre + high) + 1, 0), size),
            )
            for centre, (low, high), size in zip(self.at_px[::-1], (y, x), self.shape, strict=True)
        )
        return rows, columns

    def offsets(self, box: Box) -> tuple[Array, Array]:
        """Offsets of a box's pixels from the galaxy, dx (1, W) and dy (H, 1)."""
        dy, dx = (
            (np.arange(part.start, part.stop) - centre).astype(np.float32)
            for part, centre in zip(box, self.at_px[::-1], strict=True)
        )
        return dx[None, :], dy[:, None]

    def polar(self, radius_px: float) -> tuple[Box, Array, Array]:
        """The square of that half width around the galaxy: box, r in pixels and angle in radians (H, W)."""
        box = self.box((-radius_px, radius_px), (-radius_px, radius_px))
        dx, dy = self.offsets(box)
        return box, np.hypot(dx, dy), np.arctan2(dy, dx)

    def blank(self) -> Array:
        """A canvas without light."""
        return np.zeros(self.shape, dtype=np.float32)


def turned(angle: Array, *, by_rad: float) -> Array:
    """Angles measured from a direction, -pi to pi."""
    shifted = angle - np.float32(by_rad)
    turns = np.rint(shifted * np.float32(0.5 / math.pi))
    shifted -= turns * np.float32(2 * math.pi)
    return shifted
