"""Blood vessels of the lungs: an artery beside every bronchus, and trees to random places in the lung.

Arteries and veins look like airway walls without a lumen: what a network must not follow.
"""

from __future__ import annotations

import math

import numpy as np

from tessera.medical.simulate.thorax import Thorax
from tessera.medical.simulate.tree import ROOT, Branch, Points, Tree
from tessera.medical.simulate.tubes import Tube

LEAF_RADIUS_MM = 0.7
WIDEST_RADIUS_MM = 6.0
MURRAY = 3.0
"""Cubes of the radii of the children sum to the parent's cube."""
NEAR_COST = 0.35
"""How much the way back to the root counts when a place looks for a vessel to join."""
VEIN_ROOTS = ((14.0, 2.0, -52.0), (18.0, 0.0, -74.0), (-24.0, 0.0, -56.0), (-24.0, 0.0, -76.0))
"""Where the pulmonary veins leave the left atrium, RAS mm from the carina."""


def accompanying_arteries(
    rng: np.random.Generator, tree: Tree, *, walls_mm: tuple[float, ...], ratio: tuple[float, float]
) -> list[Tube]:
    """One artery a branch beyond the main bronchi, along it and joined to its parent's.

    Args:
        rng: Draws sides, gaps and widths.
        tree: The airways.
        walls_mm: Wall thickness of each branch.
        ratio: Range of bronchus diameter over artery diameter.
    """
    arteries: dict[int, Tube] = {}
    sides: dict[int, Points] = {}
    for branch in tree:
        if branch.generation < 2:
            continue
        width = branch.diameter_mm / rng.uniform(*ratio)
        gap = branch.diameter_mm / 2 + walls_mm[branch.id] + width / 2 + rng.uniform(0.0, 1.0)
        side = _side(rng, branch, sides.get(branch.parent))
        sides[branch.id] = side
        points = branch.points_mm[1:] + gap * side
        before = arteries.get(branch.parent)
        if before is not None:
            points = np.concatenate([before.points_mm[-1:], points])
        arteries[branch.id] = Tube(points, np.full(len(points), width / 2))
    return list(arteries.values())


def _side(rng: np.random.Generator, branch: Branch, before: Points | None) -> Points:
    """Unit vector normal to the branch, the parent's side when that can be."""
    wanted = rng.standard_normal(3) if before is None else before + 0.3 * rng.standard_normal(3)
    away = wanted - (wanted @ branch.direction) * branch.direction
    return away / max(float(np.linalg.norm(away)), 1e-6)


def places_in_lungs(rng: np.random.Generator, thorax: Thorax, *, count: int) -> Points:
    """Random points (N, 3) in the lungs, at least 6 mm from their surface."""
    low, high = np.array([-145.0, -95.0, -165.0]), np.array([145.0, 110.0, 85.0])
    found = np.empty((0, 3))
    while len(found) < count:
        points = rng.uniform(low, high, (4 * count, 3)) * thorax.scale
        found = np.concatenate([found, points[thorax.in_lungs(points) < -6.0]])
    return found[:count]


def vessel_tree(roots: Points, places: Points) -> list[Tube]:
    """Join every place (N, 3) to a root or to a place nearer to the roots, with radii by Murray's law."""
    nearest = np.linalg.norm(places[:, None] - roots[None], axis=2).min(axis=1)
    nodes = np.concatenate([roots, places[np.argsort(nearest, kind="stable")]])
    parent = np.full(len(nodes), ROOT)
    way = np.zeros(len(nodes))
    for node in range(len(roots), len(nodes)):
        step = np.linalg.norm(nodes[:node] - nodes[node], axis=1)
        parent[node] = int(np.argmin(step + NEAR_COST * way[:node]))
        way[node] = step[parent[node]] + way[parent[node]]
    cubes = np.zeros(len(nodes))
    for node in range(len(nodes) - 1, len(roots) - 1, -1):
        cubes[node] = cubes[node] or LEAF_RADIUS_MM**MURRAY
        cubes[parent[node]] += cubes[node]
    radius = np.minimum(cubes ** (1 / MURRAY), WIDEST_RADIUS_MM)
    return [_curved(nodes, parent, radius, node) for node in range(len(roots), len(nodes))]


def _curved(nodes: Points, parent: np.ndarray, radius: Points, node: int) -> Tube:
    """A vessel from a node's parent to the node that starts in the direction its parent came from."""
    start, end = nodes[parent[node]], nodes[node]
    before = nodes[parent[parent[node]]] if parent[parent[node]] != ROOT else start
    length = float(np.linalg.norm(end - start))
    came = start - before
    came = came / max(float(np.linalg.norm(came)), 1e-6)
    handle = start + 0.4 * length * came if came.any() else (start + end) / 2
    pieces = max(2, min(5, math.ceil(length / 6.0)))
    t = np.linspace(0.0, 1.0, pieces + 1)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * handle + t * t * end
    return Tube(points, np.linspace(radius[node] * 1.05, radius[node] * 0.9, pieces + 1))
