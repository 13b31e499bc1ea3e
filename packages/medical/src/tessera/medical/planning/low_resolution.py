"""Whether a first network at a coarser spacing is worth its while: nnU-Net's rule of the cascade."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tessera.medical.planning.topology import Preset, Shape, fit_patch

ENOUGH = 0.25  # share of the median image that a patch should show
COARSER = 1.03  # factor of each step
WORTH = 2.0  # times fewer voxels, else the coarse network is left out


@dataclass(frozen=True)
class LowResolution:
    """The coarse network's grid.

    Args:
        spacing_mm: Of its voxels.
        shape: Median image there.
        patch: Its input.
    """

    spacing_mm: tuple[float, ...]
    shape: Shape
    patch: Shape


def plan_low_resolution(
    spacing: Sequence[float],
    shape: Sequence[float],
    patch: Sequence[int],
    *,
    classes: int,
    preset: Preset,
    limit: float,
) -> LowResolution | None:
    """The least coarse grid on which a patch shows a quarter of the median image; None when not needed.

    Axes less than half as coarse as the coarsest are made coarser first, then all.
    """
    full = math.prod(shape)
    steps, voxels, seen = list(spacing), full, math.prod(patch)
    found = None
    while seen / voxels < ENOUGH:
        fine = [max(steps) / step > 2 for step in steps]
        steps = [
            step * COARSER if is_fine or not any(fine) else step
            for step, is_fine in zip(steps, fine, strict=True)
        ]
        exact = [n * old / new for n, old, new in zip(shape, spacing, steps, strict=True)]
        voxels = math.prod(exact)
        size = tuple(max(1, round(n)) for n in exact)
        net = fit_patch(steps, size, classes=classes, preset=preset, limit=limit)
        seen = math.prod(net.patch)
        found = LowResolution(tuple(steps), size, net.patch)
    return found if full / voxels >= WORTH else None
