"""The chest around the airways on a grid, in HU before the blur."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from tessera.medical.simulate.airway_config import Densities
from tessera.medical.simulate.scanner import blend
from tessera.medical.simulate.thorax import Thorax
from tessera.medical.simulate.tubes import Array, Grid, Tube, coverage, union_distance

COARSE_MM = 4.0
"""Organs are evaluated on this step and interpolated: their surfaces are smooth."""
TEXTURE_MM = 4.0
"""Sigma of the lung's texture; its wave is about 10 mm."""
SOFT_SPREAD_HU = 4.0
CORTEX_MM = 1.8
EDGE_PART = 0.35
"""Width of the edge of an emphysema patch over its radius."""


class Chest:
    """Organs of one person on one grid.

    Args:
        grid: Where.
        thorax: Whose.
    """

    def __init__(self, grid: Grid, thorax: Thorax) -> None:
        self.grid = grid
        self.thorax = thorax
        self._coarse = _coarse(grid)
        x, y, z = self._coarse.axes
        self._at = (x[:, None, None], y[None, :, None], z[None, None, :])

    def lungs(self) -> Array:
        """Signed distance to the lungs (I, J, K)."""
        return self._fine(self.thorax.lungs(self._at))

    def density(
        self, rng: np.random.Generator, densities: Densities, *, lungs: Array, emphysema: Sequence[Tube]
    ) -> Array:
        """HU (I, J, K) of the body without bones, vessels and airways.

        Args:
            rng: Draws the lung's density, its gradient and texture.
            densities: Values of the tissues.
            lungs: From ``lungs``.
            emphysema: Balls of destroyed lung.
        """
        h = self.grid.voxel_mm
        x, y, _ = self.grid.axes
        mean, gravity = rng.uniform(*densities.parenchyma), rng.uniform(*densities.gravity)
        texture = self._texture(rng)
        skin = self.thorax.skin(x[:, None], y[None, :]).astype(np.float32)
        flat = densities.air + (densities.fat - densities.air) * coverage(skin, voxel_mm=h)
        image = np.repeat(flat.astype(np.float32)[:, :, None], self.grid.shape[2], axis=2)
        soft = self._fine(self.thorax.soft_tissue(self._at))
        blend(image, coverage(soft, voxel_mm=h), densities.soft_tissue)
        lung = (
            mean + densities.parenchyma_spread * texture - gravity * self._at[1] / (200.0 * self.thorax.scale)
        )
        lung = self._with_emphysema(lung, emphysema, value=densities.emphysema)
        blend(image, coverage(lungs, voxel_mm=h), self._fine(lung))
        return image

    def add_bones(self, image: Array, densities: Densities) -> None:
        """Draw ribs, sternum and spine in place."""
        h = self.grid.voxel_mm
        bones = union_distance(self.grid, self.thorax.rib_cage(), reach_mm=h)
        blend(image, coverage(bones, voxel_mm=h), densities.bone)
        blend(image, coverage(bones + np.float32(CORTEX_MM), voxel_mm=h), densities.marrow)

    def add_tubes(self, image: Array, tubes: Sequence[Tube], *, value: float) -> Array:
        """Draw tubes of one density in place; returns the signed distance to them (I, J, K)."""
        h = self.grid.voxel_mm
        distance = union_distance(self.grid, tubes, reach_mm=h)
        blend(image, coverage(distance, voxel_mm=h), value)
        return distance

    def _texture(self, rng: np.random.Generator) -> Array:
        """Smooth field of mean 0 and sd 1 on the coarse grid."""
        white = rng.standard_normal(self._coarse.shape, dtype=np.float32)
        steps = [TEXTURE_MM / step for step in self._coarse.spacing_mm]
        smooth = gaussian_filter(white, steps, mode="wrap")
        return (smooth - smooth.mean()) / max(float(smooth.std()), 1e-6)

    def _with_emphysema(self, lung: Array, patches: Sequence[Tube], *, value: float) -> Array:
        x, y, z = self._at
        for patch in patches:
            a, b, c = patch.points_mm[0]
            radius = patch.radius_mm[0]
            distance = np.sqrt((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) - radius
            part = np.clip(0.5 - distance / (EDGE_PART * radius), 0.0, 1.0)
            lung = lung + part * (value - lung)
        return lung

    def _fine(self, field: np.ndarray) -> Array:
        """Linear interpolation from the coarse grid, axis by axis."""
        fine = np.broadcast_to(field, self._coarse.shape).astype(np.float32)
        for axis in range(3):
            fine = _stretched(fine, self._coarse.axes[axis], self.grid.axes[axis], axis)
        return fine


def _coarse(grid: Grid) -> Grid:
    """A grid of about ``COARSE_MM`` that covers another one."""
    steps = [max(COARSE_MM, step) for step in grid.spacing_mm]
    extent = [(n - 1) * step for n, step in zip(grid.shape, grid.spacing_mm, strict=True)]
    i, j, k = (int(np.ceil(length / step)) + 2 for length, step in zip(extent, steps, strict=True))
    return Grid((i, j, k), (steps[0], steps[1], steps[2]), grid.origin_mm)


def _stretched(field: Array, known: Array, wanted: Array, axis: int) -> Array:
    place = (wanted - known[0]) / (known[1] - known[0])
    low = np.clip(np.floor(place).astype(int), 0, len(known) - 2)
    share = (place - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    first = np.take(field, low, axis=axis)
    change = np.take(field, low + 1, axis=axis)
    change -= first
    change *= share
    change += first
    return change
