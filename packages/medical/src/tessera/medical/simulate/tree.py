"""An airway tree as data: branches with axis points and radii, in RAS mm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]

ROOT = -1
"""Parent of the trachea."""


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A tube of round cones along its axis.

    Args:
        id: Place in the tree, from 0.
        parent: Id of the branch it leaves, ``ROOT`` for none; it starts at that branch's last point.
        generation: Number of bifurcations above it.
        name: Anatomical name, empty when it has none.
        points_mm: Axis (P, 3) with P >= 2.
        radius_mm: Lumen radius at the points (P,).
        oval: Front-to-back diameter over the lateral one.
    """

    id: int
    parent: int
    generation: int
    name: str
    points_mm: Points
    radius_mm: Points
    oval: float = 1.0

    @cached_property
    def steps_mm(self) -> Points:
        """Lengths of the pieces between the points (P - 1,)."""
        return np.linalg.norm(np.diff(self.points_mm, axis=0), axis=1)

    @property
    def length_mm(self) -> float:
        """Along the axis."""
        return float(self.steps_mm.sum())

    @property
    def diameter_mm(self) -> float:
        """Mean along the axis of the diameter of a circle of the same area."""
        middle = self.radius_mm[:-1] + self.radius_mm[1:]
        return float((middle * self.steps_mm).sum() / self.length_mm) * math.sqrt(self.oval)

    @property
    def volume_mm3(self) -> float:
        """Of the pieces, as truncated cones with flat ends."""
        a, b = self.radius_mm[:-1], self.radius_mm[1:]
        return float((self.steps_mm * (a * a + a * b + b * b)).sum() * math.pi / 3) * self.oval

    @property
    def direction(self) -> Points:
        """Unit vector from the first to the last point (3,)."""
        way = self.points_mm[-1] - self.points_mm[0]
        return way / np.linalg.norm(way)

    def at(self, part: float) -> tuple[Points, Points, float]:
        """Axis point (3,), direction (3,) and radius at a part (0 to 1) of the length."""
        along = np.concatenate([[0.0], np.cumsum(self.steps_mm)])
        where = part * along[-1]
        piece = min(int(np.searchsorted(along, where, side="right")) - 1, self.steps_mm.size - 1)
        way = self.points_mm[piece + 1] - self.points_mm[piece]
        share = (where - along[piece]) / self.steps_mm[piece]
        radius = self.radius_mm[piece] + share * (self.radius_mm[piece + 1] - self.radius_mm[piece])
        return self.points_mm[piece] + share * way, way / self.steps_mm[piece], float(radius)


@dataclass(frozen=True)
class Tree:
    """Branches, each after its parent; ``branches[i].id == i``."""

    branches: tuple[Branch, ...]

    def __post_init__(self) -> None:
        for place, branch in enumerate(self.branches):
            if branch.id != place or not ROOT <= branch.parent < place:
                raise ValueError(f"branch {branch.id} at place {place} with parent {branch.parent}")

    def __len__(self) -> int:
        return len(self.branches)

    def __iter__(self) -> Iterator[Branch]:
        return iter(self.branches)

    @property
    def length_mm(self) -> float:
        """Of all branches."""
        return math.fsum(branch.length_mm for branch in self)

    @property
    def volume_mm3(self) -> float:
        """Of all branches; what two share at a bifurcation counts twice."""
        return math.fsum(branch.volume_mm3 for branch in self)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """For each branch the ids of those that leave its end."""
        found: list[list[int]] = [[] for _ in self.branches]
        for branch in self:
            if branch.parent != ROOT:
                found[branch.parent].append(branch.id)
        return tuple(tuple(ids) for ids in found)

    def named(self, name: str) -> Branch:
        """The branch of that anatomical name."""
        for branch in self:
            if branch.name == name:
                return branch
        known = ", ".join(branch.name for branch in self if branch.name)
        raise KeyError(f"no branch '{name}'; this tree has {known}")

    def subtree(self, root: int) -> tuple[int, ...]:
        """Ids of a branch and everything beyond it, ascending."""
        inside = {root}
        for branch in self.branches[root + 1 :]:
            if branch.parent in inside:
                inside.add(branch.id)
        return tuple(sorted(inside))

    def as_json(self) -> list[dict[str, Any]]:
        """Plain values, mm to 0.1 um; the graph a truth file holds."""
        return [
            {
                "id": branch.id,
                "parent": None if branch.parent == ROOT else branch.parent,
                "generation": branch.generation,
                "name": branch.name,
                "length_mm": round(branch.length_mm, 4),
                "diameter_mm": round(branch.diameter_mm, 4),
                "oval": round(branch.oval, 4),
                "nodes_mm": np.round(branch.points_mm, 4).tolist(),
                "radius_mm": np.round(branch.radius_mm, 4).tolist(),
            }
            for branch in self
        ]


def perpendicular(direction: Points, *, angle: float) -> Points:
    """Unit vector normal to ``direction`` (3,), turned about it by ``angle`` in radians."""
    seed = np.eye(3)[int(np.argmin(np.abs(direction)))]
    first = np.cross(direction, seed)
    first /= np.linalg.norm(first)
    second = np.cross(direction, first)
    return np.cos(angle) * first + np.sin(angle) * second


def bent(direction: Points, towards: Points, *, degrees: float) -> Points:
    """Unit ``direction`` (3,) turned by an angle towards a unit vector normal to it."""
    return math.cos(math.radians(degrees)) * direction + math.sin(math.radians(degrees)) * towards
