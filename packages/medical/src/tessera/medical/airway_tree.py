"""An airway mask divided into branches, as the ATM'22 challenge divides its references.

Thinning; junction voxels removed; what is left labelled, pieces below five voxels dropped; every voxel of the
mask given to the nearest piece (in voxels: the spacing plays no part); the largest region is the trachea;
generations by breadth-first search over regions that share a face; then branches that have several parents or
are an only child are merged until nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tessera.core.errors import DataError
from tessera.medical.airway_skeleton import Voxels, neighbour_pairs, thin, without_spurs
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.mask_components import Box, Labels, Mask, bounding_box, filled, largest_component

Ids = npt.NDArray[np.int64]

MOST_NEIGHBOURS = 2  # of 26; a skeleton voxel with more lies at a junction (ATM'22)
FEWEST_VOXELS = 5  # of a piece of skeleton that counts as a branch (ATM'22)


@dataclass(frozen=True, eq=False)
class AirwayTree:
    """A mask's skeleton, its branches 1 .. B and who descends from whom.

    Args:
        geometry: The grid of the mask.
        box: Where on that grid ``mask`` and ``regions`` lie.
        mask: The airway in the box.
        regions: Branch of each voxel in the box, 0 outside the mask, and in it when there is no branch.
        skeleton: (N, 3) indices of the centreline's voxels on the grid, in scan order.
        skeleton_ids: (N,) branch of each.
        parents: (B,) id of each branch's parent; 0 for the trachea and for what the search cannot reach.
        generations: (B,) 0 for the trachea; -1 for what the search cannot reach.
    """

    geometry: VolumeGeometry
    box: Box
    mask: Mask
    regions: npt.NDArray[np.int32]
    skeleton: Voxels
    skeleton_ids: Ids
    parents: Ids
    generations: Ids

    @property
    def n_branches(self) -> int:
        """Number of branches, the trachea among them."""
        return len(self.parents)

    @property
    def trachea(self) -> int:
        """Id of the trachea; 0 in a tree without branches."""
        return int(np.argmin(np.abs(self.generations))) + 1 if self.n_branches else 0

    @property
    def points_mm(self) -> npt.NDArray[np.float64]:
        """Places (N, 3) of the skeleton's voxels, RAS mm."""
        return self.geometry.to_world(self.skeleton)


def reference_airway(labels: Labels) -> Mask:
    """What ATM'22 scores against: labels above 0, their largest part by faces, its holes filled."""
    return filled(largest_component(labels > 0, connectivity=6))


def parse_airway(
    mask: Mask,
    geometry: VolumeGeometry,
    *,
    refine: bool = True,
    as_published: bool = True,
    prune_mm: float = 0.0,
    skeleton: Voxels | None = None,
) -> AirwayTree:
    """Divide a mask (I, J, K) into branches.

    The mask is taken as it is: give a label map through ``reference_airway`` first.

    Args:
        mask: The airway.
        geometry: Its grid.
        refine: Merge branches that are an only child or have several parents. Without it (as the scorer of
            YangLab does) a short spur splits a branch in two.
        as_published: Number merged branches as the challenge's code does, in which a branch merged into one
            that is already merged falls to whichever branch gets that number. It changes the counts of
            crowded trees. Switch it off to measure branches: then it follows the branch it was merged into.
        prune_mm: Take side branches of the skeleton off that are shorter; 0 for ATM'22's numbers.
        skeleton: What ``thin`` makes of the mask, where it is known.
    """
    if mask.shape != geometry.shape:
        raise DataError(
            "the airway mask and its geometry do not match",
            found=f"mask {mask.shape}",
            expected=f"{geometry.shape}",
            hint="give the geometry of the file that the mask was read from",
        )
    skeleton = thin(mask) if skeleton is None else skeleton
    if prune_mm > 0:
        skeleton = without_spurs(skeleton, geometry.to_world(skeleton), shorter_than_mm=prune_mm)
    box = bounding_box(mask)
    origin = np.array([side.start for side in box])
    regions = _spread(mask[box], skeleton - origin, _pieces(skeleton))
    volumes = np.bincount(regions[regions > 0], minlength=1)[1:]
    now, parents, generations = _hierarchy(
        volumes, _touching(regions), refine=refine, as_published=as_published
    )
    regions = now[regions].astype(np.int32)
    return AirwayTree(
        geometry=geometry,
        box=box,
        mask=mask[box].copy(),
        regions=regions,
        skeleton=skeleton,
        skeleton_ids=regions[tuple((skeleton - origin).T)].astype(np.int64),
        parents=parents,
        generations=generations,
    )


def _pieces(skeleton: Voxels) -> Ids:
    """Piece 1 .. n of each skeleton voxel (N,), numbered in scan order; 0 for junctions and tiny pieces."""
    pairs = neighbour_pairs(skeleton)
    n = len(skeleton)
    straight = np.bincount(pairs.ravel(), minlength=n) <= MOST_NEIGHBOURS
    a, b = pairs[straight[pairs].all(axis=1)].T
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(n, n))
    labels = connected_components(graph, directed=False)[1] if n else np.empty(0, dtype=np.int32)
    kept = straight & (np.bincount(labels[straight], minlength=n)[labels] >= FEWEST_VOXELS)
    ids = np.zeros(n, dtype=np.int64)
    _, first, inverse = np.unique(labels[kept], return_index=True, return_inverse=True)
    ids[kept] = np.argsort(np.argsort(first))[inverse] + 1
    return ids


def _spread(mask: Mask, skeleton: Voxels, ids: Ids) -> npt.NDArray[np.int32]:
    """The id of the nearest skeleton voxel that has one, for each voxel of a mask; 0 elsewhere."""
    regions = np.zeros(mask.shape, dtype=np.int32)
    named = skeleton[ids > 0]
    if not len(named):
        return regions
    far = np.ones(mask.shape, dtype=np.bool_)
    far[tuple(named.T)] = False
    regions[tuple(named.T)] = ids[ids > 0]
    # of pieces at the same distance this transform picks the one that the challenge's own code picks
    nearest = distance_transform_edt(far, return_distances=False, return_indices=True)
    regions[mask] = regions[tuple(axis[mask] for axis in nearest)]
    return regions


def _touching(regions: npt.NDArray[np.int32]) -> Ids:
    """Pairs (E, 2) of branches that share a face of a voxel."""
    found = [np.empty((0, 2), dtype=np.int64)]
    for axis in range(3):
        turned = np.moveaxis(regions, axis, 0)
        a, b = turned[:-1], turned[1:]
        meet = (a != b) & (a > 0) & (b > 0)
        found.append(np.unique(np.stack([a[meet], b[meet]], axis=1), axis=0).astype(np.int64))
    return np.concatenate(found)


def _hierarchy(volumes: Ids, pairs: Ids, *, refine: bool, as_published: bool) -> tuple[Ids, Ids, Ids]:
    """New id of each old one (n + 1,), parents (B,) and generations (B,) by breadth-first search.

    Merging regions merges their neighbours and volumes, so the voxels are not looked at again.
    """
    now = np.arange(len(volumes) + 1)
    while True:
        n = int(now.max())
        adjacent = np.zeros((n, n), dtype=np.bool_)
        adjacent[tuple(now[pairs].T - 1)] = True
        adjacent = (adjacent | adjacent.T) & ~np.eye(n, dtype=np.bool_)
        sizes = np.bincount(now[1:], weights=volumes, minlength=n + 1)[1:]
        generations = _generations(adjacent, sizes)
        older = (generations[None, :] == generations[:, None] - 1) & (generations[None, :] >= 0)
        descends = adjacent & older  # [i, j]: j is a parent of i
        merged = _merged(descends, as_published=as_published)
        if not refine or merged.max(initial=-1) == n - 1:
            parents = np.where(descends.any(axis=1), descends.argmax(axis=1) + 1, 0) if n else now[1:]
            return now, parents, generations
        now[1:] = merged[now[1:] - 1] + 1


def _generations(adjacent: Mask, sizes: npt.NDArray[np.generic]) -> Ids:
    """Steps (n,) from the largest region; -1 for what cannot be reached."""
    n = len(sizes)
    steps = np.full(n, -1, dtype=np.int64)
    if not n:
        return steps
    front = np.zeros(n, dtype=np.bool_)
    front[n - 1 - int(np.argmax(sizes[::-1]))] = True
    step = 0
    while front.any():
        steps[front] = step
        front = adjacent[front].any(axis=0) & (steps < 0)
        step += 1
    return steps


def _merged(descends: Mask, *, as_published: bool) -> Ids:
    """New number (n,) from 0 of each branch: further parents join the first one, an only child its parent.

    A branch that has been merged takes no part in the second rule.
    """
    n = len(descends)
    now, root = np.arange(n), np.arange(n)
    gone: set[int] = set()
    for child in np.flatnonzero(descends.sum(axis=1) > 1).tolist():
        first, *others = np.flatnonzero(descends[child]).tolist()
        for other in others:
            now[now == other] = first
            root[root == other] = root[first]
            gone.add(other)
    for parent in np.flatnonzero(descends.sum(axis=0) == 1).tolist():
        child = int(np.argmax(descends[:, parent]))
        if parent not in gone and child not in gone:
            now[now == child] = parent
            root[root == child] = parent
            gone.add(child)
    rank = np.cumsum([row not in gone for row in range(n)]) - 1
    stale = np.isin(now, list(gone))  # merged into a branch that was merged itself
    keeps_its_number = stale & as_published & (now < n - len(gone))
    return np.where(keeps_its_number, now, rank[root])
