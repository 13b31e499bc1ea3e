"""The centreline of an airway mask as a graph of voxels: thinning, edges, lengths, spurs."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import minimum_spanning_tree
from skimage.morphology import skeletonize

from tessera.medical.mask_components import Mask, bounding_box

Voxels = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

HALF_OF_26 = tuple(step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0))


def thin(mask: Mask) -> Voxels:
    """Centreline voxels (N, 3) of a mask (I, J, K), in scan order, by the thinning of Lee et al. 1994."""
    box = bounding_box(mask)
    if not mask[box].size:
        return np.empty((0, 3), dtype=np.int64)
    padded = np.pad(mask[box], 1)
    kept: Mask = skeletonize(padded, method="lee").astype(np.bool_)  # type: ignore[no-untyped-call]
    return np.argwhere(kept) - 1 + np.array([side.start for side in box])


def neighbour_pairs(voxels: Voxels) -> Voxels:
    """Pairs (E, 2) of rows of ``voxels`` that touch by a face, an edge or a corner, the lower row first.

    Args:
        voxels: (N, 3) in scan order, each once.
    """
    if not len(voxels):
        return np.empty((0, 2), dtype=np.int64)
    size = voxels.max(axis=0) - voxels.min(axis=0) + 3
    weights = np.array([size[1] * size[2], size[2], 1])
    flat = (voxels - voxels.min(axis=0) + 1) @ weights
    found = []
    for step in HALF_OF_26:
        wanted = flat + np.array(step) @ weights
        rows = np.minimum(np.searchsorted(flat, wanted), len(flat) - 1)
        hits = np.flatnonzero(flat[rows] == wanted)
        found.append(np.stack([hits, rows[hits]], axis=1))
    return np.concatenate(found)


@dataclass(frozen=True, eq=False)
class Centreline:
    """The shortest set of edges that joins the voxels of a skeleton as they touch: no triangles, no loops.

    Args:
        edges: (E, 2) rows of the skeleton's voxels.
        lengths_mm: (E,) between centres of voxels.
    """

    edges: Voxels
    lengths_mm: Reals

    @classmethod
    def of(cls, points_mm: Reals, pairs: Voxels) -> Centreline:
        """Join points (N, 3) along pairs (E, 2) of neighbours."""
        weights = np.linalg.norm(points_mm[pairs[:, 0]] - points_mm[pairs[:, 1]], axis=1)
        graph = coo_array((weights, (pairs[:, 0], pairs[:, 1])), shape=(len(points_mm),) * 2)
        joined = minimum_spanning_tree(graph.tocsr()).tocoo()
        return cls(np.stack([joined.row, joined.col], axis=1).astype(np.int64), joined.data)

    def matrix(self, n_voxels: int) -> csr_array:
        """The edges as a sparse upper matrix (N, N) of lengths in mm."""
        return csr_array((self.lengths_mm, (self.edges[:, 0], self.edges[:, 1])), shape=(n_voxels,) * 2)


def without_spurs(voxels: Voxels, points_mm: Reals, *, shorter_than_mm: float) -> Voxels:
    """The skeleton (M, 3) after its short side branches are taken off, the shortest first.

    A spur runs from an end of the centreline to the first junction. After each one the ends are looked up
    anew, so that of two twigs at the tip of a branch the longer stays and continues it. A loop has no end.

    Args:
        voxels: (N, 3) in scan order.
        points_mm: (N, 3) their places in space.
        shorter_than_mm: Length from the end to the junction below which a spur goes.
    """
    pairs = neighbour_pairs(voxels)
    line = Centreline.of(points_mm, pairs)
    touching: list[set[int]] = [{row} for row in range(len(voxels))]
    for a, b in pairs.tolist():
        touching[a].add(b)
        touching[b].add(a)
    around: list[dict[int, float]] = [{} for _ in voxels]
    for (a, b), length in zip(line.edges.tolist(), line.lengths_mm.tolist(), strict=True):
        around[a][b] = around[b][a] = length
    kept = np.ones(len(voxels), dtype=np.bool_)
    waiting = {row for row, beside in enumerate(around) if len(beside) == 1}  # no other voxel becomes an end
    spurs: list[tuple[float, list[int]]] = []

    def look_at(ends: Iterable[int]) -> None:
        # where the edges open a loop, an end touches voxels that its only neighbour does not
        for end in [end for end in ends if touching[end] <= touching[next(iter(around[end]))]]:
            waiting.discard(end)
            heapq.heappush(spurs, _spur(end, around))

    look_at(list(waiting))
    while spurs and spurs[0][0] < shorter_than_mm:
        known = heapq.heappop(spurs)
        now = _spur(known[1][0], around)
        if now != known:  # longer, as the junction it led to has gone
            heapq.heappush(spurs, now)
            continue
        path = now[1]
        kept[path] = False
        beside = set().union(*(touching[row] for row in path)) - set(path)
        for row in path:
            for other in touching[row] - {row}:
                touching[other].discard(row)
                around[other].pop(row, None)
            around[row] = {}
        look_at(beside & waiting)
    return voxels[kept]


def _spur(end: int, around: list[dict[int, float]]) -> tuple[float, list[int]]:
    """Length of the way from an end to a junction, and its voxels before that; endless without a junction."""
    path, length, row = [end], 0.0, end
    while ahead := [other for other in around[row] if len(path) < 2 or other != path[-2]]:
        length += around[row][ahead[0]]
        row = ahead[0]
        if len(around[row]) > 2:
            return length, path
        path.append(row)
    return math.inf, path
