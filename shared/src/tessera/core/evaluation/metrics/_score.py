"""A metric's values over resamples, and the sums they share.

Every metric takes predictions of N cases and ``counts`` (R, N), how often each of R resamples drew each case,
and returns R values at once: a bootstrap is then a few matrix products instead of R evaluations.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tessera.core.evaluation.predictions import FloatArray, Predictions

NO_CASES = "no cases"


@dataclasses.dataclass(frozen=True, eq=False)
class Score:
    """A metric for each of R resamples.

    Args:
        values: (R,), NaN where the metric is not defined.
        skipped: (R,) classes left out of a mean over classes because theirs is not defined.
        reason: Why a value is NaN; None when none is.
    """

    values: FloatArray
    skipped: NDArray[np.int64]
    reason: str | None = None

    @property
    def value(self) -> float:
        """The value of the first resample, the only one when no counts were given."""
        return float(self.values[0])

    @property
    def n_skipped(self) -> int:
        """Classes left out of the first resample."""
        return int(self.skipped[0])


P_contra = TypeVar("P_contra", bound=Predictions, contravariant=True)


class Metric(Protocol[P_contra]):
    """Predictions of N cases and counts (R, N), all ones if absent, to R values."""

    def __call__(self, predictions: P_contra, counts: FloatArray | None = None, /) -> Score: ...


def all_once(predictions: Predictions, counts: FloatArray | None) -> FloatArray:
    """The counts (R, N), by default one resample that holds every case once."""
    return np.ones((1, len(predictions))) if counts is None else counts


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Quotient, NaN where the denominator is 0."""
    undefined = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator != 0)


def scored(values: FloatArray, reason: str, skipped: NDArray[np.int64] | None = None) -> Score:
    """Values (R,) with the reason attached if one of them is NaN."""
    none = np.zeros(values.shape, dtype=np.int64)
    return Score(values, none if skipped is None else skipped, reason if np.isnan(values).any() else None)


def mean_of_cases(per_case: FloatArray, counts: FloatArray) -> Score:
    """Mean of (N,) values over the cases of each resample."""
    return scored(ratio(counts @ per_case, counts.sum(axis=1)), NO_CASES)


def mean_of_classes(per_class: FloatArray, reason: str) -> Score:
    """Mean of (R, K) values over the classes where they are defined."""
    undefined = np.isnan(per_class)
    total = np.where(undefined, 0.0, per_class).sum(axis=1)
    defined = (~undefined).sum(axis=1)
    return scored(ratio(total, defined.astype(np.float64)), reason, undefined.sum(axis=1))
