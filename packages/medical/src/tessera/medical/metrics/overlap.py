"""How far two label masks agree, voxel by voxel: counts of each class in one pass, and their ratios."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.core.errors import DataError
from tessera.medical.mask_components import Labels

Counts = npt.NDArray[np.int64]
Ratios = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Overlap:
    """Counts of voxels for each of C classes; every ratio is (C,), NaN where it would be 0 / 0.

    So Dice follows nnU-Net: NaN for a class in neither mask, 0 for a class in one of them only.

    Args:
        both: Voxels of the class in both masks.
        predicted: Voxels of the class in the prediction.
        reference: Voxels of the class in the reference.
        total: Voxels of the volume.
    """

    both: Counts
    predicted: Counts
    reference: Counts
    total: int

    def dice(self) -> Ratios:
        """2 |both| / (|predicted| + |reference|)."""
        return _ratio(2 * self.both, self.predicted + self.reference)

    def precision(self) -> Ratios:
        """Share of the prediction that is right."""
        return _ratio(self.both, self.predicted)

    def sensitivity(self) -> Ratios:
        """Share of the reference that was found."""
        return _ratio(self.both, self.reference)

    def false_positive_rate(self) -> Ratios:
        """Share of the voxels outside the reference, over the whole volume, that were predicted."""
        return _ratio(self.predicted - self.both, self.total - self.reference)

    def false_negative_rate(self) -> Ratios:
        """Share of the reference that was missed."""
        return _ratio(self.reference - self.both, self.reference)


def count_overlap(predicted: Labels, reference: Labels, *, n_classes: int) -> Overlap:
    """Count the classes 0 .. C - 1 of two label masks of one shape (I, J, K)."""
    check_same_shape(predicted, reference)
    table = np.zeros(n_classes * n_classes, dtype=np.int64)
    for found, truth in _slabs(predicted, reference):
        for name, labels in (("predicted", found), ("reference", truth)):
            if labels.size and (labels.max() >= n_classes or labels.min() < 0):
                raise DataError(
                    f"the {name} mask holds labels that no class has",
                    found=f"labels {labels.min()} to {labels.max()}",
                    expected=f"0 to {n_classes - 1}",
                    hint="list the classes in the order of their labels",
                )
        codes = truth.astype(np.intp).ravel() * n_classes + found.ravel()
        table += np.bincount(codes, minlength=len(table))
    confusion = table.reshape(n_classes, n_classes)
    return Overlap(
        np.diag(confusion).copy(), confusion.sum(axis=0), confusion.sum(axis=1), int(confusion.sum())
    )


def check_same_shape(predicted: npt.NDArray[np.generic], reference: npt.NDArray[np.generic]) -> None:
    """Refuse masks that do not lie on one grid of three axes."""
    if predicted.shape != reference.shape or predicted.ndim != 3:
        raise DataError(
            "the two masks are not of one grid",
            found=f"predicted {predicted.shape}, reference {reference.shape}",
            expected="two masks (I, J, K) of one shape",
            hint="bring the prediction back to the grid of its source before scoring",
        )


def _slabs(predicted: Labels, reference: Labels) -> Iterator[tuple[Labels, Labels]]:
    """Pairs of slices along the axis of the longest stride: no whole volume is ever widened to 64 bits."""
    axis = int(np.argmax(reference.strides))
    return zip(np.moveaxis(predicted, axis, 0), np.moveaxis(reference, axis, 0), strict=True)


def _ratio(part: Counts, whole: Counts) -> Ratios:
    """Quotient, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
