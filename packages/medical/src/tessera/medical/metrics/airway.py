"""The measures of the ATM'22 challenge for a predicted airway, and what leaks out of the reference."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.medical.airway_branches import centreline
from tessera.medical.airway_tree import AirwayTree
from tessera.medical.mask_components import Connectivity, Mask, bounding_box, joined, touching_components
from tessera.medical.metrics.overlap import check_same_shape

EPS = 1e-5  # ATM'22 adds it to both sides of every ratio
DETECTED = 0.8  # share of a branch's centreline inside the prediction that counts as detected (ATM'22)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AirwayCounts:
    """What the measures are made of, in voxels and branches.

    Args:
        predicted: Voxels of the prediction.
        reference: Voxels of the reference.
        both: Voxels of both.
        total: Voxels of the volume.
        skeleton: Voxels of the reference's skeleton.
        skeleton_found: Those inside the prediction.
        branches: The largest id of a branch.
        branches_found: Branches of which the share ``DETECTED`` of the skeleton lies in the prediction.
    """

    predicted: int
    reference: int
    both: int
    total: int
    skeleton: int
    skeleton_found: int
    branches: int
    branches_found: int

    def atm22(self) -> dict[str, float]:
        """The challenge's own numbers in per cent, with its summand and its rounding.

        An empty prediction has a precision of 100 here. ``td`` counts voxels, not millimetres.
        """
        false = self.predicted - self.both
        fpr = round((false + EPS) * 100 / (self.total - self.reference + EPS), 3)
        fnr = round((self.reference - self.both + EPS) * 100 / (self.reference + EPS), 3)
        return {
            "td": round((self.skeleton_found + EPS) / (self.skeleton + EPS) * 100, 2),
            "bd": round(self.branches_found * 100 / self.branches, 2) if self.branches else float("nan"),
            "dsc": round((2.0 * self.both + EPS) / (self.predicted + self.reference + EPS) * 100, 2),
            "precision": round((self.both + EPS) * 100 / (self.predicted + EPS), 3),
            "fpr": fpr,
            "fnr": fnr,
            "sensitivity": round(100 - fnr, 3),
            "specificity": round(100 - fpr, 3),
        }

    def fractions(self) -> dict[str, float]:
        """The same measures from 0 to 1, neither rounded nor padded; all NaN for an empty prediction.

        An empty prediction is a failed case, not one of precision 1. A ratio of nothing is NaN too.
        """
        ratios = {
            "td": (self.skeleton_found, self.skeleton),
            "bd": (self.branches_found, self.branches),
            "dsc": (2 * self.both, self.predicted + self.reference),
            "precision": (self.both, self.predicted),
            "fpr": (self.predicted - self.both, self.total - self.reference),
            "fnr": (self.reference - self.both, self.reference),
        }
        return {
            name: part / whole if whole and self.predicted else float("nan")
            for name, (part, whole) in ratios.items()
        }


@dataclass(frozen=True)
class Leakage:
    """Predicted voxels outside the reference; the measures are not those of EXACT'09.

    Args:
        leak_count: Connected parts of them that touch the correctly predicted airway. A wall that lies one
            voxel too far out makes many small ones.
        leak_mm3: Volume of all these voxels.
        leak_largest_mm3: Volume of the largest of those parts.
        leak_ratio: All these voxels over the reference's; it can exceed 1, and is NaN without a reference.
    """

    leak_count: int
    leak_mm3: float
    leak_largest_mm3: float
    leak_ratio: float


def branches_detected(ids: npt.NDArray[np.integer], found: Mask) -> tuple[int, int]:
    """The largest id and the number of branches detected.

    An id that no voxel has counts as a branch that was not detected, as in ATM'22.

    Args:
        ids: (N,) branch of each voxel of the reference's skeleton, from 1 on.
        found: (N,) whether the prediction holds it.
    """
    voxels = np.bincount(ids)[1:]
    hits = np.bincount(ids[found], minlength=len(voxels) + 1)[1:]
    return len(voxels), int(np.count_nonzero((voxels > 0) & (hits / np.maximum(voxels, 1) >= DETECTED)))


def count_airway(predicted: Mask, tree: AirwayTree) -> AirwayCounts:
    """Compare a prediction (I, J, K) with the tree of a reference.

    The prediction is counted as it is; the challenge scores its ``largest_component``.
    """
    check_same_shape(predicted, np.broadcast_to(False, tree.geometry.shape))
    found = predicted[tuple(tree.skeleton.T)]
    branches, detected = branches_detected(tree.skeleton_ids, found)
    counts = AirwayCounts(
        predicted=int(np.count_nonzero(predicted)),
        reference=int(np.count_nonzero(tree.mask)),
        both=int(np.count_nonzero(predicted[tree.box] & tree.mask)),
        total=predicted.size,
        skeleton=len(found),
        skeleton_found=int(np.count_nonzero(found)),
        branches=branches,
        branches_found=detected,
    )
    if not counts.predicted:
        log.warning("the predicted airway is empty: its TD, BD, DSC, precision, FPR and FNR are NaN")
    return counts


def leakage(predicted: Mask, tree: AirwayTree, *, connectivity: Connectivity = 26) -> Leakage:
    """What a prediction (I, J, K) holds outside the reference."""
    box = joined(bounding_box(predicted), tree.box)
    reference = np.zeros(tree.geometry.shape, dtype=np.bool_)
    reference[tree.box] = tree.mask
    wrong, right = predicted[box] & ~reference[box], predicted[box] & reference[box]
    leaks = touching_components(wrong, right, connectivity=connectivity)
    n_wrong, n_reference = int(np.count_nonzero(wrong)), int(np.count_nonzero(tree.mask))
    return Leakage(
        leak_count=len(leaks),
        leak_mm3=n_wrong * tree.geometry.voxel_mm3,
        leak_largest_mm3=int(leaks.max(initial=0)) * tree.geometry.voxel_mm3,
        leak_ratio=n_wrong / n_reference if n_reference else float("nan"),
    )


def length_found_mm(predicted: Mask, tree: AirwayTree) -> tuple[float, float]:
    """Length of the reference's centreline inside a prediction (I, J, K), and its whole length, mm.

    An edge of the centreline is inside when both its voxels are.
    """
    line = centreline(tree)
    found = predicted[tuple(tree.skeleton.T)]
    return float(line.lengths_mm[found[line.edges].all(axis=1)].sum()), float(line.lengths_mm.sum())
