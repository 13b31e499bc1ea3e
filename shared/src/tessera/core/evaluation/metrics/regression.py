"""Metrics of predicted numbers and of the standard deviations predicted with them."""

from __future__ import annotations

import statistics

import numpy as np

from tessera.core.evaluation.metrics._score import Score, all_once, mean_of_cases, ratio, scored
from tessera.core.evaluation.predictions import FloatArray, ValuePredictions

_NO_STD = "the model predicts no standard deviation"
# A spread below rounding of the squares it is computed from is a constant target.
_CONSTANT = 1e-10


def mean_absolute_error(predictions: ValuePredictions, counts: FloatArray | None = None, /) -> Score:
    """Mean absolute error, in the target's unit."""
    return mean_of_cases(np.abs(predictions.error), all_once(predictions, counts))


def root_mean_squared_error(predictions: ValuePredictions, counts: FloatArray | None = None, /) -> Score:
    """Root of the mean squared error, in the target's unit."""
    mean = mean_of_cases(predictions.error**2, all_once(predictions, counts))
    return Score(np.sqrt(mean.values), mean.skipped, mean.reason)


def r_squared(predictions: ValuePredictions, counts: FloatArray | None = None, /) -> Score:
    """Share of the target's variance explained; below 0 when the target's mean would be the better guess."""
    drawn = all_once(predictions, counts)
    target = predictions.target
    centred = target - target.mean() if len(predictions) else target
    squares = drawn @ centred**2
    spread = squares - np.nan_to_num(ratio((drawn @ centred) ** 2, drawn.sum(axis=1)))
    spread[spread <= _CONSTANT * squares] = 0.0
    return scored(1 - ratio(drawn @ predictions.error**2, spread), "the target takes one value only")


def gaussian_nll(predictions: ValuePredictions, counts: FloatArray | None = None, /) -> Score:
    """Mean negative log-density in nats of the target under the predicted normal distribution."""
    drawn = all_once(predictions, counts)
    if predictions.std is None:
        return scored(np.full(len(drawn), np.nan), _NO_STD)
    std = predictions.std
    per_case = np.log(std) + 0.5 * np.log(2 * np.pi) + 0.5 * (predictions.error / std) ** 2
    return mean_of_cases(per_case, drawn)


def coverage_68(predictions: ValuePredictions, counts: FloatArray | None = None, /) -> Score:
    """Share of targets inside the central 68 % interval of the predicted normal distribution."""
    return _coverage(predictions, counts, 0.68)


def coverage_95(predictions: ValuePredictions, counts: FloatArray | None = None, /) -> Score:
    """Share of targets inside the central 95 % interval of the predicted normal distribution."""
    return _coverage(predictions, counts, 0.95)


def _coverage(predictions: ValuePredictions, counts: FloatArray | None, level: float) -> Score:
    drawn = all_once(predictions, counts)
    if predictions.std is None:
        return scored(np.full(len(drawn), np.nan), _NO_STD)
    reach = statistics.NormalDist().inv_cdf((1 + level) / 2) * predictions.std
    return mean_of_cases((np.abs(predictions.error) <= reach).astype(np.float64), drawn)
