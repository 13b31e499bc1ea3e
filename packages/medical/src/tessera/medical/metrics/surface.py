"""How far the surfaces of two masks lie apart, in millimetres.

The surface of a mask is its voxels that have a face neighbour outside the mask; beyond the volume is outside.
A distance runs from the centre of a surface voxel to the centre of the nearest one of the other surface. Each
surface voxel counts once, whatever area of surface it stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from tessera.medical.mask_components import Mask, bounding_box
from tessera.medical.metrics.overlap import check_same_shape

Distances = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances in mm from every surface voxel to the other surface; infinite when there is no other.

    Args:
        predicted: (P,) of the prediction's surface voxels.
        reference: (R,) of the reference's.
    """

    predicted: Distances
    reference: Distances

    def dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces within the tolerance of the other; NaN if both are empty, 0 if one is."""
        pooled = np.concatenate([self.predicted, self.reference])
        return float(np.mean(pooled <= tolerance_mm)) if len(pooled) else float("nan")

    def hausdorff_mm(self, percentile: float = 95.0) -> float:
        """The larger of the two directions' percentiles (linear between ranks); NaN if a mask is empty."""
        if not len(self.predicted) or not len(self.reference):
            return float("nan")
        return float(max(np.percentile(found, percentile) for found in (self.predicted, self.reference)))

    def mean_mm(self) -> float:
        """Average symmetric distance: the mean over the voxels of both surfaces; NaN if a mask is empty."""
        if not len(self.predicted) or not len(self.reference):
            return float("nan")
        return float(np.mean(np.concatenate([self.predicted, self.reference])))


def surface_distances(predicted: Mask, reference: Mask, *, spacing: Sequence[float]) -> SurfaceDistances:
    """Distances between the surfaces of two masks (I, J, K).

    Args:
        predicted: What was found.
        reference: What is there.
        spacing: Distance of neighbouring voxels along each axis, mm.
    """
    check_same_shape(predicted, reference)
    steps = np.asarray(spacing, dtype=np.float64)
    found, truth = surface_voxels(predicted) * steps, surface_voxels(reference) * steps
    return SurfaceDistances(_to_nearest(found, truth), _to_nearest(truth, found))


def surface_voxels(mask: Mask) -> npt.NDArray[np.int64]:
    """Indices (N, 3) of the voxels with a face neighbour outside the mask."""
    box = bounding_box(mask)
    part = np.pad(mask[box], 1)
    core = (slice(1, -1),) * 3
    inside = part[core].copy()
    for axis in range(3):
        for step in (slice(None, -2), slice(2, None)):
            inside &= part[(*core[:axis], step, *core[axis + 1 :])]
    return np.argwhere(part[core] & ~inside) + np.array([side.start for side in box])


def _to_nearest(points: Distances, others: Distances) -> Distances:
    """Distance (N,) from each point to the nearest other: a search tree touches the surfaces only."""
    if not len(points) or not len(others):
        return np.full(len(points), np.inf)
    return KDTree(others, leafsize=32).query(points)[0]
