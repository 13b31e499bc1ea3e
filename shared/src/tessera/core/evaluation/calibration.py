"""Do probabilities mean what they say: calibration error, temperatures, thresholds."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tessera.core.errors import DataError
from tessera.core.evaluation.metrics._score import NO_CASES, Score, all_once, ratio, scored
from tessera.core.evaluation.predictions import ClassPredictions, FloatArray

N_BINS = 10
# Temperatures searched; outside, probabilities are one-hot or uniform to two digits whatever the logits.
_TEMPERATURES = (0.05, 20.0)


@dataclasses.dataclass(frozen=True)
class ReliabilityBin:
    """Predictions whose confidence lies in (low, high]; the first bin holds 0 as well.

    Args:
        low: Lower edge.
        high: Upper edge.
        n: Predictions in the bin.
        confidence: Their mean confidence, NaN when there are none.
        correct: Share of them that is right, NaN when there are none.
    """

    low: float
    high: float
    n: int
    confidence: float
    correct: float


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it does on the cases it was chosen from; NaN when no threshold will do.

    Args:
        threshold: Probabilities at or above it are positive.
        precision: Share of positives that is right.
        recall: Share of positive cases found.
        n_positive: Positive cases it was chosen from.
    """

    threshold: float
    precision: float
    recall: float
    n_positive: int


def confidence_and_correct(predictions: ClassPredictions) -> tuple[FloatArray, NDArray[np.bool_]]:
    """What calibration compares, (M,) each.

    With one label a case, the highest probability and whether its class is right; with several labels, the
    probability of every pair of case and class and whether the label is there.
    """
    if predictions.task == "multilabel":
        return predictions.probabilities.ravel(), predictions.positive.ravel()
    confidence = predictions.probabilities.max(axis=1)
    return confidence, predictions.probabilities.argmax(axis=1) == predictions.target


def expected_calibration_error(predictions: ClassPredictions, counts: FloatArray | None = None, /) -> Score:
    """Mean over predictions of the distance between their bin's mean confidence and its share correct."""
    drawn = all_once(predictions, counts)
    confidence, correct = confidence_and_correct(predictions)
    case = np.repeat(np.arange(len(predictions)), confidence.size // max(1, len(predictions)))
    # n |mean confidence - share correct| of a bin is the distance of its two sums.
    excess = np.zeros((len(predictions), N_BINS))
    np.add.at(excess, (case, _bin_of(confidence)), confidence - correct)
    pairs = drawn.sum(axis=1) * (confidence.size / max(1, len(predictions)))
    return scored(ratio(np.abs(drawn @ excess).sum(axis=1), pairs), NO_CASES)


def reliability_table(confidence: ArrayLike, correct: ArrayLike) -> tuple[ReliabilityBin, ...]:
    """Ten bins of equal width with their mean confidence and share correct."""
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    member = (_bin_of(sure)[:, None] == np.arange(N_BINS)).astype(np.float64)
    n = member.sum(axis=0)
    mean_sure, mean_right = ratio(sure @ member, n), ratio(right @ member, n)
    edges = _edges()
    return tuple(
        ReliabilityBin(
            float(edges[i]), float(edges[i + 1]), int(n[i]), float(mean_sure[i]), float(mean_right[i])
        )
        for i in range(N_BINS)
    )


def fit_temperature(logits: ArrayLike, target: ArrayLike) -> float:
    """The temperature that makes the target most likely when logits (N, K) are divided by it.

    ``target`` is (N,) class indices (softmax) or (N, K) zeros and ones (one sigmoid a label, one temperature
    for all). It is 1 when no case is wrong, because then every lower temperature would be better still.
    """
    scores, truth = _checked(logits, target)
    margins = np.where(truth, scores, -scores).reshape(-1, 1) if truth.ndim == 2 else _margins(scores, truth)
    return _likeliest(margins)


def fit_temperature_per_class(logits: ArrayLike, target: ArrayLike) -> FloatArray:
    """One temperature (K,) for each label, 1 where it has one value only; logits and target (N, K)."""
    scores, truth = _checked(logits, target)
    if truth.ndim != 2:
        raise DataError("temperatures for each class need a 0/1 target for each class", found=truth.shape)
    return np.array(
        [
            fit_temperature(scores[:, [k]], truth[:, [k]]) if 0 < truth[:, k].sum() < len(truth) else 1.0
            for k in range(truth.shape[1])
        ]
    )


def apply_temperature(logits: ArrayLike, temperature: float | FloatArray) -> FloatArray:
    """Logits (N, K) divided by one temperature or by one for each class; still logits."""
    divisor = np.asarray(temperature, dtype=np.float64)
    if not (np.isfinite(divisor) & (divisor > 0)).all():
        raise DataError("a temperature is not usable", found=temperature, expected="finite numbers above 0")
    return np.asarray(logits, dtype=np.float64) / divisor


def softmax(logits: ArrayLike) -> FloatArray:
    """Probabilities of one class among K from logits (N, K)."""
    scores = np.asarray(logits, dtype=np.float64)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(logits: ArrayLike) -> FloatArray:
    """Probability of each label from its logit, any shape."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, dtype=np.float64)))


def threshold_for_precision(scores: ArrayLike, positive: ArrayLike, *, precision: float) -> OperatingPoint:
    """The lowest threshold, so the highest recall, with at least the wanted precision; scores (N,)."""
    score, is_positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=np.bool_)
    order = np.argsort(-score, kind="stable")
    ranked, found = score[order], np.cumsum(is_positive[order])
    last_of_tie = np.r_[ranked[1:] != ranked[:-1], True][: ranked.size]
    reached = found / np.arange(1, ranked.size + 1)
    good = np.flatnonzero(last_of_tie & (reached >= precision) & (found > 0))
    n_positive = int(is_positive.sum())
    if not good.size:
        return OperatingPoint(np.nan, np.nan, np.nan, n_positive)
    best = good[-1]
    return OperatingPoint(
        float(ranked[best]), float(reached[best]), float(found[best] / n_positive), n_positive
    )


def thresholds_for_precision(predictions: ClassPredictions, *, precision: float) -> dict[str, OperatingPoint]:
    """For each class the lowest threshold with at least the wanted precision."""
    columns = zip(predictions.classes, predictions.probabilities.T, predictions.positive.T, strict=True)
    return {name: threshold_for_precision(p, truth, precision=precision) for name, p, truth in columns}


def _edges() -> FloatArray:
    # k / 10, not steps of 0.1: a confidence of 0.3 then equals the edge it is written as.
    return np.arange(N_BINS + 1) / N_BINS


def _bin_of(confidence: FloatArray) -> NDArray[np.int64]:
    return np.clip(np.searchsorted(_edges(), confidence, side="left") - 1, 0, N_BINS - 1)


def _checked(logits: ArrayLike, target: ArrayLike) -> tuple[FloatArray, NDArray[np.int64]]:
    scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(target).astype(np.int64)
    if scores.ndim != 2 or truth.shape not in (scores.shape[:1], scores.shape):
        raise DataError(
            "logits and target do not fit",
            found=f"logits {scores.shape}, target {truth.shape}",
            expected="logits (N, K) with target (N,) or (N, K)",
        )
    top = scores.shape[1] - 1 if truth.ndim == 1 else 1
    if not np.isin(truth, np.arange(top + 1)).all():
        raise DataError("the target does not fit the logits", expected=f"numbers from 0 to {top}")
    if not np.isfinite(scores).all():
        raise DataError("logits are not finite", hint="the network diverged; look at its training curve")
    return scores, truth


def _margins(scores: FloatArray, truth: NDArray[np.int64]) -> FloatArray:
    """How far the target's logit lies above each other class's, (N, K - 1)."""
    n, k = scores.shape
    of_target = np.take_along_axis(scores, truth[:, None], axis=1)
    others = truth[:, None] != np.arange(k)
    return of_target - scores[others].reshape(n, k - 1)


def _likeliest(margins: FloatArray) -> float:
    """The temperature of least mean log(1 + sum exp(-margin / T)), which softmax and sigmoid share."""
    if (margins > 0).all():
        return 1.0
    from scipy.optimize import minimize_scalar

    padded = np.concatenate([np.zeros((len(margins), 1)), -margins], axis=1)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp.reduce(padded / np.exp(log_temperature), axis=1).mean())

    # The loss is convex in 1 / T, so it has one minimum along log T as well.
    found = minimize_scalar(
        loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded", options={"xatol": 1e-7}
    )
    return float(np.exp(found.x))
