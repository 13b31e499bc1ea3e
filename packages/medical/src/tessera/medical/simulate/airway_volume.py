"""An airway tree on a grid: lumen, wall and label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.medical.mask_components import largest_component
from tessera.medical.simulate.tree import Branch, Tree
from tessera.medical.simulate.tubes import (
    FAR_MM,
    Array,
    Grid,
    Tube,
    coverage,
    ramp_radius,
    smooth_minimum,
    tube_distance,
)

CARINA = 0.3
"""Rounding of the edge between two branches, over the radius of the narrower."""
THINNEST_VOXELS = 0.6
"""Radius of the thinnest label; thinner ones break up."""


def wall_mm(diameter_mm: float, *, scale: float = 1.0) -> float:
    """Thickness of the wall around a lumen of that diameter."""
    return scale * (0.25 + 0.10 * diameter_mm)


@dataclass(frozen=True)
class AirwayParts:
    """What part of each voxel (I, J, K) lies inside the wall's outer surface, and in the lumen."""

    outer: Array
    lumen: Array


def airway_parts(grid: Grid, tree: Tree, *, walls_mm: Sequence[float], carina: float = CARINA) -> AirwayParts:
    """Rasterise lumen and wall by signed distances.

    Args:
        grid: Where.
        tree: The airways.
        walls_mm: Wall thickness of each branch.
        carina: Rounding at bifurcations over the narrower radius, 0 for sharp edges.
    """
    h = grid.voxel_mm
    lumen = np.full(grid.shape, FAR_MM, dtype=np.float32)
    outer = np.full(grid.shape, FAR_MM, dtype=np.float32)
    for branch in tree:
        radius, wall = branch.diameter_mm / 2, walls_mm[branch.id]
        near = tube_distance(grid, tube_of(branch), reach_mm=wall + h)
        if near is None:
            continue
        box, distance = near
        inside = distance + np.float32(radius - ramp_radius(radius, voxel_mm=h))
        around = distance + np.float32(radius - ramp_radius(radius + wall, voxel_mm=h))
        lumen[box] = smooth_minimum(lumen[box], inside, width_mm=carina * radius)
        outer[box] = smooth_minimum(outer[box], around, width_mm=carina * radius)
    return AirwayParts(coverage(outer, voxel_mm=h), coverage(lumen, voxel_mm=h))


@dataclass(frozen=True)
class AirwayLabel:
    """The truth a network learns.

    Args:
        lumen: 1 in the lumen, else 0 (I, J, K).
        branches: Id + 1 of the branch a lumen voxel belongs to, else 0 (I, J, K).
        widened: Ids of the branches that were drawn wider than they are.
        left_out: Ids of the branches too narrow for the label.
    """

    lumen: npt.NDArray[np.uint8]
    branches: npt.NDArray[np.uint16]
    widened: tuple[int, ...]
    left_out: tuple[int, ...]


def airway_label(
    grid: Grid, tree: Tree, *, min_diameter_mm: float = 0.0, carina: float = CARINA
) -> AirwayLabel:
    """Voxels whose centre lies in the lumen, as one component of 26-neighbours.

    A branch with a radius below ``THINNEST_VOXELS`` is drawn with that radius, and the voxels its axis passes
    belong to the label, so that thick slices do not break it. Where the tree leaves the grid and comes back
    only the largest component stays. A plug of mucus belongs to the lumen.

    Args:
        grid: Where.
        tree: The airways.
        min_diameter_mm: Narrower branches, and what they lead to, are not labelled.
        carina: Rounding at bifurcations over the narrower radius, 0 for sharp edges.
    """
    thinnest = THINNEST_VOXELS * float(np.mean(grid.spacing_mm[:2]))
    field = np.full(grid.shape, FAR_MM, dtype=np.float32)
    owner = np.zeros(grid.shape, dtype=np.uint16)
    nearest = np.full(grid.shape, FAR_MM, dtype=np.float32)
    widened: list[int] = []
    left_out: list[int] = []
    for branch in tree:
        if branch.diameter_mm < min_diameter_mm or branch.parent in left_out:
            left_out.append(branch.id)
            continue
        raised = max(thinnest - branch.diameter_mm / 2, 0.0)
        if raised > 0:
            widened.append(branch.id)
        near = tube_distance(grid, tube_of(branch), reach_mm=raised + grid.voxel_mm)
        if near is None:
            continue
        box, distance = near
        distance -= np.float32(raised)
        _draw_axis(grid, branch, box, distance)
        closer = distance < nearest[box]
        owner[box][closer] = branch.id + 1
        np.minimum(nearest[box], distance, out=nearest[box])
        field[box] = smooth_minimum(field[box], distance, width_mm=carina * branch.diameter_mm / 2)
    lumen = largest_component(field <= 0)
    owner[~lumen] = 0
    return AirwayLabel(lumen.astype(np.uint8), owner, tuple(widened), tuple(left_out))


def _draw_axis(grid: Grid, branch: Branch, box: tuple[slice, ...], distance: Array) -> None:
    """Put the voxels that the axis passes inside."""
    step = 0.4 * min(grid.spacing_mm)
    parts = [
        np.linspace(a, b, int(np.ceil(size / step)) + 1)
        for a, b, size in zip(branch.points_mm[:-1], branch.points_mm[1:], branch.steps_mm, strict=True)
    ]
    points = np.concatenate(parts)
    place = grid.index(points[grid.holds(points)]) - np.array([part.start for part in box])
    inside = np.all((place >= 0) & (place < np.array(distance.shape)), axis=1)
    i, j, k = place[inside].T
    distance[i, j, k] = np.minimum(distance[i, j, k], 0)


def tube_of(branch: Branch) -> Tube:
    """The lumen of a branch."""
    return Tube(branch.points_mm, branch.radius_mm, branch.oval)


def in_view(grid: Grid, tree: Tree) -> tuple[int, ...]:
    """Ids of the branches whose whole axis lies in the grid."""
    return tuple(branch.id for branch in tree if grid.holds(branch.points_mm).all())
