"""Measures of the branches of an airway tree in millimetres, as JSON and as CSV.

Lengths run through the centres of the centreline's voxels, along the shortest set of edges that joins them.
An edge between two branches counts for the one farther from the trachea's upper end, so that the branches'
lengths add up to the tree's. Such a line of steps is longer than a smooth one, by up to a tenth.
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import KDTree

from tessera.medical.airway_skeleton import Centreline, Reals, neighbour_pairs
from tessera.medical.airway_tree import AirwayTree

Point = tuple[float, float, float]

DEFINITIONS = {
    "generation": "steps from the trachea (0); null where the branch cannot be reached",
    "length_mm": "through centres of centreline voxels, the edge to the parent's centreline included",
    "diameter_mean_mm": "mean of twice the distance from centreline voxels to the nearest voxel outside",
    "diameter_min_mm": "least of twice that distance",
    "diameter_area_mm": "of the circle of area volume / length",
    "volume_mm3": "voxels nearer to this branch's centreline than to another's",
    "start_mm": "right, anterior, superior: where it leaves the centreline it comes from",
    "end_mm": "right, anterior, superior: the voxel of its centreline farthest from there",
    "angle_to_parent_deg": "between start to end and the parent's start to this start; 0 is straight on",
}


@dataclass(frozen=True)
class Branch:
    """One branch; what each field means is said in ``DEFINITIONS``, None where it is not defined."""

    id: int
    parent: int | None
    generation: int | None
    n_skeleton_voxels: int
    length_mm: float
    diameter_mean_mm: float
    diameter_min_mm: float
    diameter_area_mm: float | None
    volume_mm3: float
    start_mm: Point
    end_mm: Point
    angle_to_parent_deg: float | None


def centreline(tree: AirwayTree) -> Centreline:
    """The edges that join a tree's skeleton voxels, in mm."""
    return Centreline.of(tree.points_mm, neighbour_pairs(tree.skeleton))


def measure_branches(tree: AirwayTree) -> tuple[Branch, ...]:
    """Measure each branch of a tree, in the order of their ids."""
    if not tree.n_branches:
        return ()
    n, ids, points = tree.n_branches + 1, tree.skeleton_ids, tree.points_mm
    distance, before = _from_the_top(tree)
    steps = np.where(before >= 0, distance - distance[np.maximum(before, 0)], 0.0)
    counts = np.bincount(ids, minlength=n)
    lengths = np.bincount(ids, weights=steps, minlength=n)
    volumes = np.bincount(tree.regions.ravel(), minlength=n) * tree.geometry.voxel_mm3
    diameters = 2 * _to_the_wall_mm(tree)
    means = np.bincount(ids, weights=diameters, minlength=n) / np.maximum(counts, 1)
    least = np.full(n, np.inf)
    np.minimum.at(least, ids, diameters)
    order = np.lexsort((distance, ids))
    last = np.cumsum(counts) - 1
    entry, end = order[last - counts + 1], order[last]
    start = np.where(before[entry] >= 0, before[entry], entry)
    return tuple(
        Branch(
            id=i,
            parent=int(tree.parents[i - 1]) or None,
            generation=int(tree.generations[i - 1]) if tree.generations[i - 1] >= 0 else None,
            n_skeleton_voxels=int(counts[i]),
            length_mm=float(lengths[i]),
            diameter_mean_mm=float(means[i]),
            diameter_min_mm=float(least[i]),
            diameter_area_mm=2 * math.sqrt(volumes[i] / (math.pi * lengths[i])) if lengths[i] > 0 else None,
            volume_mm3=float(volumes[i]),
            start_mm=_point(points[start[i]]),
            end_mm=_point(points[end[i]]),
            angle_to_parent_deg=_angle_deg(
                points[start[i]] - points[start[tree.parents[i - 1]]], points[end[i]] - points[start[i]]
            )
            if tree.parents[i - 1]
            else None,
        )
        for i in range(1, n)
    )


def branches_json(tree: AirwayTree) -> str:
    """The tree with its branches and the meaning of each field, as JSON text."""
    branches = measure_branches(tree)
    record = {
        "definitions": DEFINITIONS,
        "trachea": tree.trachea or None,
        "n_branches": tree.n_branches,
        "n_skeleton_voxels": len(tree.skeleton),
        "length_mm": _rounded(float(centreline(tree).lengths_mm.sum())),
        "volume_mm3": _rounded(int(np.count_nonzero(tree.mask)) * tree.geometry.voxel_mm3),
        "branches": [{key: _rounded(value) for key, value in asdict(b).items()} for b in branches],
    }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def branches_csv(tree: AirwayTree) -> str:
    """One row a branch as CSV text; a point takes three columns, what is not defined is empty."""
    ends = {f"{name}_mm": [f"{name}_{axis}_mm" for axis in "ras"] for name in ("start", "end")}
    fields = list(Branch.__dataclass_fields__)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column for field in fields for column in ends.get(field, [field])])
    for branch in measure_branches(tree):
        values = [_rounded(getattr(branch, field)) for field in fields]
        writer.writerow([cell for v in values for cell in (v if isinstance(v, list) else [v])])
    return text.getvalue()


def _from_the_top(tree: AirwayTree) -> tuple[Reals, npt.NDArray[np.int32]]:
    """Length (N,) of the way along the centreline to each voxel in mm, and the voxel (N,) before it.

    The way begins at the trachea's upper end: its voxel farthest from all others on average, the higher one
    of two as far. A part of the skeleton that is not joined to it begins anywhere.
    """
    points = tree.points_mm
    graph = centreline(tree).matrix(len(points))
    _, parts = connected_components(graph, directed=False)
    starts = np.unique(parts, return_index=True)[1]
    own = np.flatnonzero(tree.skeleton_ids == tree.trachea)
    means = np.where(parts[own] == parts[own[0]], mean_distances(graph, starts, parts)[own], np.inf)
    top = own[np.lexsort((points[own, 2], means.round(6)))[-1]]
    starts[parts[top]] = top
    return _ways_from(graph, starts)


def _ways_from(graph: csr_array, starts: npt.NDArray[np.integer]) -> tuple[Reals, npt.NDArray[np.int32]]:
    """Distance (N,) of each voxel from its part's start along the edges, and the voxel (N,) before it."""
    distance, before, _ = dijkstra(
        graph, directed=False, indices=starts, min_only=True, return_predecessors=True
    )
    return distance, before


def mean_distances(graph: csr_array, starts: npt.NDArray[np.integer], parts: npt.NDArray[np.int32]) -> Reals:
    """Mean (N,) of the distances from each voxel to all of its part, itself included.

    The edges are a tree: across one of them, towards a side of n of the part's N voxels, the sum of distances
    changes by its length times N - 2 n. So one pass down and one up do for all voxels.

    Args:
        graph: Edges in mm.
        starts: A voxel of each part.
        parts: The part (N,) of each voxel.
    """
    distance, before = _ways_from(graph, starts)
    totals = np.bincount(parts)[parts]
    outwards = np.argsort(distance, kind="stable")
    outwards = outwards[before[outwards] >= 0].tolist()
    beyond = [1] * len(parts)
    previous = before.tolist()
    for row in reversed(outwards):
        beyond[previous[row]] += beyond[row]
    steps = (distance - distance[np.maximum(before, 0)]) * (totals - 2 * np.array(beyond))
    sums = np.bincount(parts, weights=distance)[parts]
    for row in outwards:
        sums[row] = sums[previous[row]] + steps[row]
    return np.asarray(sums / totals)


def _to_the_wall_mm(tree: AirwayTree) -> Reals:
    """Distance (N,) from each skeleton voxel to the nearest voxel outside the mask, mm.

    The nearest voxel outside has a face neighbour inside, so the search needs that shell only. Beyond the
    volume nothing is known: an airway cut by its border is not taken to end there.
    """
    inside = np.pad(tree.mask, 1)
    shell = np.zeros_like(inside)
    for axis in range(3):
        ahead, behind = np.moveaxis(inside, axis, 0), np.moveaxis(shell, axis, 0)
        behind[1:] |= ahead[:-1]
        behind[:-1] |= ahead[1:]
    places = np.argwhere(shell & ~inside) - 1 + np.array([side.start for side in tree.box])
    places = places[np.all((places >= 0) & (places < tree.geometry.shape), axis=1)]
    if not len(places):
        return np.full(len(tree.skeleton), np.nan)
    return KDTree(tree.geometry.to_world(places)).query(tree.points_mm)[0]


def _angle_deg(first: Reals, second: Reals) -> float | None:
    """Angle between two directions, 0 to 180; None if one has no length."""
    sizes = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not sizes:
        return None
    return math.degrees(math.acos(min(1.0, max(-1.0, float(first @ second) / sizes))))


def _point(values: Reals) -> Point:
    return float(values[0]), float(values[1]), float(values[2])


def _rounded(value: object) -> object:
    """Four decimals: a tenth of a micrometre, and the same text on every machine; None for NaN."""
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return [_rounded(part) for part in value] if isinstance(value, tuple) else value
