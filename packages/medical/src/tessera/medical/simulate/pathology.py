"""Findings that mislead networks: plugs, stenoses, wide bronchi, emphysema, nodules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tessera.medical.simulate.airway_config import PathologyConfig
from tessera.medical.simulate.airway_volume import wall_mm
from tessera.medical.simulate.tree import Branch, Points, Tree, perpendicular
from tessera.medical.simulate.tubes import Tube

PLUG_MM = (5.0, 10.0)
STENOSIS_PART, STENOSIS_MM = 0.4, 10.0
WIDER = (1.5, 2.5)
EMPHYSEMA_RADIUS_MM = (10.0, 25.0)
NODULE_RADIUS_MM = (2.5, 10.0)
FIRST_GENERATION = 3
"""Findings lie beyond the main and the first lobar bronchi, in the lungs."""
STEP_MM = 1.0


@dataclass(frozen=True)
class Finding:
    """One finding, for the truth file.

    Args:
        kind: What it is.
        branch: Id of the airway it belongs to.
        centre_mm: RAS place.
        size_mm: Length along the airway, or diameter of a ball; how much wider for bronchiectasis.
    """

    kind: str
    branch: int
    centre_mm: Points
    size_mm: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "kind": self.kind,
            "branch": self.branch,
            "centre_mm": np.round(self.centre_mm, 4).tolist(),
            "size_mm": round(self.size_mm, 4),
        }


@dataclass(frozen=True)
class Disease:
    """A tree with findings, and what else they put into the lungs."""

    tree: Tree
    findings: tuple[Finding, ...] = ()
    plugs: tuple[Tube, ...] = ()
    emphysema: tuple[Tube, ...] = ()
    nodules: tuple[Tube, ...] = ()


def with_findings(
    rng: np.random.Generator, tree: Tree, config: PathologyConfig, *, wall_scale: float
) -> Disease:
    """Draw the findings; each branch has at most one, and fewer are drawn when branches run out."""
    free = [b.id for b in tree if b.generation >= FIRST_GENERATION and b.length_mm >= PLUG_MM[0] + 1.0]
    free = [free[place] for place in rng.permutation(len(free))]
    findings: list[Finding] = []

    def take(count: int) -> list[Branch]:
        taken, free[:] = free[:count], free[count:]
        return [tree.branches[id] for id in taken]

    for branch in take(config.bronchiectases):
        factor = rng.uniform(*WIDER)
        tree = _widened(tree, branch.id, factor)
        findings.append(Finding("bronchiectasis", branch.id, branch.points_mm[0], factor))
    for branch in take(config.stenoses):
        where = rng.uniform(0.35, 0.65)
        tree = _narrowed(tree, branch.id, where)
        findings.append(Finding("stenosis", branch.id, branch.at(where)[0], STENOSIS_MM))
    plugs = [_plug(rng, branch, findings) for branch in take(config.mucus_plugs)]
    emphysema = [_patch(rng, branch, findings) for branch in take(config.emphysema)]
    nodules = [_nodule(rng, branch, findings, wall_scale) for branch in take(config.nodules)]
    return Disease(tree, tuple(findings), tuple(plugs), tuple(emphysema), tuple(nodules))


def _widened(tree: Tree, root: int, factor: float) -> Tree:
    beyond = set(tree.subtree(root))
    return Tree(tuple(replace(b, radius_mm=b.radius_mm * factor) if b.id in beyond else b for b in tree))


def _narrowed(tree: Tree, id: int, where: float) -> Tree:
    """A branch in steps of a millimetre with a smooth waist."""
    branch = tree.branches[id]
    parts = np.linspace(0.0, 1.0, int(np.ceil(branch.length_mm / STEP_MM)) + 1)
    found = [branch.at(part) for part in parts]
    away = np.abs(parts - where) * branch.length_mm / (STENOSIS_MM / 2)
    waist = np.where(away < 1, (1 + np.cos(np.pi * np.minimum(away, 1))) / 2, 0.0)
    narrow = replace(
        branch,
        points_mm=np.stack([point for point, _, _ in found]),
        radius_mm=np.array([radius for _, _, radius in found]) * (1 - (1 - STENOSIS_PART) * waist),
    )
    return Tree(tuple(narrow if b.id == id else b for b in tree))


def _plug(rng: np.random.Generator, branch: Branch, findings: list[Finding]) -> Tube:
    length = min(rng.uniform(*PLUG_MM), branch.length_mm)
    middle = 0.5 + rng.uniform(-0.5, 0.5) * (1 - length / branch.length_mm)
    half = length / 2 / branch.length_mm
    found = [branch.at(part) for part in np.linspace(middle - half, middle + half, 6)]
    findings.append(Finding("mucus plug", branch.id, branch.at(middle)[0], length))
    # wider than the lumen: only what lies in the lumen is filled
    return Tube(np.stack([f[0] for f in found]), np.array([1.1 * f[2] for f in found]))


def _patch(rng: np.random.Generator, branch: Branch, findings: list[Finding]) -> Tube:
    radius = rng.uniform(*EMPHYSEMA_RADIUS_MM)
    point, direction, wide = branch.at(rng.uniform(0.3, 1.0))
    side = perpendicular(direction, angle=rng.uniform(0.0, 2 * np.pi))
    centre = point + (wide + 0.8 * radius) * side
    findings.append(Finding("emphysema", branch.id, centre, 2 * radius))
    return Tube(centre[None], np.array([radius]))


def _nodule(rng: np.random.Generator, branch: Branch, findings: list[Finding], wall_scale: float) -> Tube:
    radius = rng.uniform(*NODULE_RADIUS_MM)
    point, direction, wide = branch.at(rng.uniform(0.3, 0.9))
    side = perpendicular(direction, angle=rng.uniform(0.0, 2 * np.pi))
    centre = point + (wide + wall_mm(2 * wide, scale=wall_scale) + radius) * side
    findings.append(Finding("nodule", branch.id, centre, 2 * radius))
    return Tube(centre[None], np.array([radius]))
