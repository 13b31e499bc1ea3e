"""Grow an asymmetric airway tree in the lungs: named airways first, then bifurcations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tessera.medical.simulate.bronchi import (
    LOBAR,
    MAIN,
    MAIN_ANGLES,
    RING_MM,
    RING_PART,
    SEGMENTS,
    TRACHEA_DIAMETER_MM,
    TRACHEA_LENGTH_MM,
    TRACHEA_OVAL,
    Named,
)
from tessera.medical.simulate.thorax import Thorax
from tessera.medical.simulate.tree import ROOT, Branch, Points, Tree, bent, perpendicular

TRIES = 8
MAJOR_RATIO = (0.80, 0.92)
"""Diameter of the wider child over its parent's; the other follows from the sum of cubes."""
MAJOR_ANGLE, MINOR_ANGLE = (25.0, 5.0), (45.0, 7.0)
"""Degrees to the parent's continuation: mean and spread."""
PLANE_TURN = (90.0, 20.0)
"""Degrees between the planes of successive bifurcations: mean and spread."""
LENGTH_PER_DIAMETER = (2.4, 4.0)
JITTER, JITTER_GROWS = 0.10, 0.03
"""Spread of a named airway's direction, and what every further try adds."""
BOW = 0.05
"""Largest sideways deviation of an axis from its chord, over its length."""
PIECES = 5
SPACE = 1.5
"""Axes of two branches, neither above the other, stay this many times their radii apart."""
WALLS_MM = 2.0
"""Two such branches have at least this between their lumens."""
PLEURA_MM = 4.0


class Growth:
    """A tree while it grows.

    Args:
        rng: Of every number of this tree.
        thorax: Where the lungs are.
        min_diameter_mm: Narrower branches do not grow.
    """

    def __init__(self, rng: np.random.Generator, *, thorax: Thorax, min_diameter_mm: float) -> None:
        self.rng = rng
        self.thorax = thorax
        self.min_diameter_mm = min_diameter_mm
        self.branches: list[Branch] = []
        self.planes: list[Points] = []
        self._points = np.empty((0, 3))
        self._radius = np.empty(0)
        self._owner = np.empty(0, dtype=np.int64)

    def add_trachea(self) -> None:
        """From the top down to the carina at the origin, leaning backwards on its way."""
        length = self.rng.uniform(*TRACHEA_LENGTH_MM)
        radius = self.rng.uniform(*TRACHEA_DIAMETER_MM) / 2
        tilt, bow = self.rng.uniform(0.08, 0.2), self.rng.uniform(-2.0, 2.0)
        oval = self.rng.uniform(*TRACHEA_OVAL)
        height = np.linspace(length, 0.0, math.ceil(length) + 1)
        points = np.stack([bow * np.sin(math.pi * height / length), tilt * height, height], axis=1)
        rings = 1 + RING_PART * np.sin(2 * math.pi * height / RING_MM)
        self._append(
            Branch(
                id=0,
                parent=ROOT,
                generation=0,
                name="trachea",
                points_mm=points,
                radius_mm=radius * rings,
                oval=oval,
            ),
            plane=np.array([1.0, 0.0, 0.0]),
        )

    def add_named(self, item: Named, *, in_lung: bool) -> None:
        """A named airway in its direction; of some tries the first with room, else that with most."""
        parent = next(branch for branch in self.branches if branch.name == item.parent)
        length, diameter = self.rng.uniform(*item.length_mm), self.rng.uniform(*item.diameter_mm)
        best: tuple[float, Branch] | None = None
        for attempt in range(TRIES):
            if item.name in MAIN_ANGLES:
                side = np.array(item.direction) / np.linalg.norm(item.direction)
                angle = self.rng.uniform(*MAIN_ANGLES[item.name])
                direction = bent(np.array([0.0, 0.0, -1.0]), side, degrees=angle)
            else:
                direction = np.array(item.direction) / np.linalg.norm(item.direction)
                direction = direction + (JITTER + attempt * JITTER_GROWS) * self.rng.standard_normal(3)
                direction /= np.linalg.norm(direction)
            branch = self._curved(parent, direction, length, diameter, name=item.name)
            room = self._room(branch)
            if in_lung:
                room = min(room, self._depth(branch, from_point=PIECES))
            if best is None or room > best[0]:
                best = room, branch
            if room > 0:
                break
        assert best is not None
        self._append(best[1], plane=_normal(parent.direction, best[1].direction))

    def bifurcate(self, parent: Branch) -> list[Branch]:
        """Two children in the lung and clear of other branches, or none."""
        ratio = self.rng.uniform(*MAJOR_RATIO)
        ratios = (ratio, (1 - ratio**3) ** (1 / 3))
        if parent.diameter_mm * min(ratios) < self.min_diameter_mm:
            return []
        for attempt in range(TRIES):
            turn = self.rng.normal(*PLANE_TURN) if attempt == 0 else self.rng.uniform(0.0, 360.0)
            plane = _turned(self.planes[parent.id], parent.direction, degrees=turn)
            shorter = 1.0 - 0.1 * attempt
            pair = [
                self._curved(
                    parent,
                    bent(parent.direction, side * plane, degrees=self.rng.normal(*angle)),
                    shorter * self.rng.uniform(*LENGTH_PER_DIAMETER) * share * parent.diameter_mm,
                    share * parent.diameter_mm,
                )
                for side, angle, share in zip((1, -1), (MAJOR_ANGLE, MINOR_ANGLE), ratios, strict=True)
            ]
            if all(self._fits(branch) for branch in pair):
                return [self._append(branch, plane=plane) for branch in pair]
        return []

    def _curved(
        self, parent: Branch, direction: Points, length: float, diameter: float, *, name: str = ""
    ) -> Branch:
        """A slightly bowed branch whose chord has that direction."""
        part = np.linspace(0.0, 1.0, PIECES + 1)
        side = perpendicular(direction, angle=self.rng.uniform(0.0, 2 * math.pi))
        bow = self.rng.uniform(0.0, BOW) * length
        way = part[:, None] * length * direction + bow * np.sin(math.pi * part)[:, None] * side
        radius = np.linspace(1.03, 0.97, PIECES + 1) * diameter / 2
        return Branch(
            id=len(self.branches),
            parent=parent.id,
            generation=parent.generation + 1,
            name=name,
            points_mm=parent.points_mm[-1] + way,
            radius_mm=radius,
        )

    def _append(self, branch: Branch, *, plane: Points) -> Branch:
        placed = replace(branch, id=len(self.branches))
        count = len(placed.points_mm)
        self.branches.append(placed)
        self.planes.append(plane)
        self._points = np.concatenate([self._points, placed.points_mm])
        self._radius = np.concatenate([self._radius, np.full(count, placed.radius_mm.max())])
        self._owner = np.concatenate([self._owner, np.full(count, placed.id)])
        return placed

    def _fits(self, branch: Branch) -> bool:
        return self._depth(branch, from_point=2) > 0 and self._room(branch) > 0

    def _depth(self, branch: Branch, *, from_point: int) -> float:
        """Depth in the lung beyond what is needed, from that point of the axis on, mm."""
        distance = self.thorax.in_lungs(branch.points_mm[from_point:])
        return float(-distance.max() - branch.radius_mm[-1] - PLEURA_MM)

    def _room(self, branch: Branch) -> float:
        """Smallest gap to a branch that is neither above it nor its sibling, beyond what is needed, mm."""
        related = {other.id for other in self.branches if other.parent == branch.parent}
        above = branch.parent
        while above != ROOT:
            related.add(above)
            above = self.branches[above].parent
        others = ~np.isin(self._owner, list(related))
        if not others.any():
            return math.inf
        radii = float(branch.radius_mm.max()) + self._radius[others]
        apart = np.linalg.norm(branch.points_mm[1:, None] - self._points[None, others], axis=2).min(axis=0)
        return float((apart - np.maximum(SPACE * radii, radii + WALLS_MM)).min())


def grow_tree(
    rng: np.random.Generator, *, thorax: Thorax, beyond_segments: int, min_diameter_mm: float
) -> Tree:
    """An anatomical tree of 33 named airways and ``beyond_segments`` generations after the segments.

    Args:
        rng: The same state gives the same tree.
        thorax: Where the lungs are.
        beyond_segments: 2 gives up to 141 branches, about what is labelled in a clinical scan.
        min_diameter_mm: Narrower branches do not grow.
    """
    growth = Growth(rng, thorax=thorax, min_diameter_mm=min_diameter_mm)
    growth.add_trachea()
    for item in (*MAIN, *LOBAR):
        growth.add_named(item, in_lung=False)
    for item in SEGMENTS:
        growth.add_named(item, in_lung=True)
    front = growth.branches[-len(SEGMENTS) :]
    for _ in range(beyond_segments):
        front = [child for parent in front for child in growth.bifurcate(parent)]
    return Tree(tuple(growth.branches))


def _normal(one: Points, other: Points) -> Points:
    """Unit direction in which ``other`` leaves ``one``, normal to ``other``."""
    away = one - (one @ other) * other
    size = float(np.linalg.norm(away))
    return away / size if size > 1e-6 else perpendicular(other, angle=0.0)


def _turned(plane: Points, axis: Points, *, degrees: float) -> Points:
    """Unit ``plane`` made normal to ``axis`` and turned about it."""
    first = _normal(plane, axis)
    angle = math.radians(degrees)
    return math.cos(angle) * first + math.sin(angle) * np.cross(axis, first)
