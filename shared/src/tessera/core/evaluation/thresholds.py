"""Which thresholds give which precision: the few points of a class's curve that answer every wish."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tessera.core.evaluation.calibration import OperatingPoint
from tessera.core.evaluation.predictions import ClassPredictions

STEPS = 100  # precisions are told apart to 1 %, so that a curve has at most this many points and one
_BELOW = 1e-6  # share of the lowest score that its threshold lies below it


def precision_curve(scores: ArrayLike, positive: ArrayLike) -> tuple[OperatingPoint, ...]:
    """Points of rising threshold, each with a higher precision (by 1 %) than all lower thresholds have.

    The first point with a precision is the one of highest recall; the last is the greatest precision there
    is. A threshold lies halfway to the next lower score: scores computed on another machine differ in their
    last digits.

    Args:
        scores: Probabilities (N,).
        positive: Whether the class is there (N,).
    """
    score, is_positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=np.bool_)
    n_positive = int(is_positive.sum())
    if not n_positive:
        return ()
    values, place = np.unique(score, return_inverse=True)
    of_value = np.bincount(place, weights=is_positive)
    n = np.cumsum(np.bincount(place)[::-1])[::-1]  # cases at or above each value
    found = np.cumsum(of_value[::-1])[::-1].astype(np.int64)
    step = found * STEPS // n  # whole numbers: 0.9 is reached by 9 of 10
    record = step > np.r_[-1, np.maximum.accumulate(step)[:-1]]
    record[np.argmax(found / n)] = True
    thresholds = np.r_[values[0] * (1 - _BELOW), (values[1:] + values[:-1]) / 2]
    return tuple(
        OperatingPoint(float(thresholds[i]), found[i] / n[i], found[i] / n_positive, n_positive)
        for i in np.flatnonzero(record & (found > 0)).tolist()
    )


def precision_curves(predictions: ClassPredictions) -> dict[str, tuple[OperatingPoint, ...]]:
    """The curve of each class; empty where no case is positive."""
    columns = zip(predictions.classes, predictions.probabilities.T, predictions.positive.T, strict=True)
    return {name: precision_curve(p, truth) for name, p, truth in columns}
