"""Metrics of classes and labels, each for one set of cases or for many resamples of it.

Where a mean over classes meets a class for which the metric has no value, the class is left out and counted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tessera.core.evaluation.metrics._ranking import area_under_precision_recall, area_under_roc
from tessera.core.evaluation.metrics._score import (
    Score,
    all_once,
    mean_of_cases,
    mean_of_classes,
    ratio,
    scored,
)
from tessera.core.evaluation.predictions import ClassPredictions, FloatArray

DECISION_THRESHOLD = 0.5  # a label is predicted from this probability on, when any number may be
_ONE_LABEL_VALUE = "no class has both positive and negative cases"
_NO_POSITIVE = "no class has a positive case"
# As scikit-learn does: the smallest probability the logarithm may see.
_SMALLEST = float(np.finfo(np.float64).eps)


def decisions(predictions: ClassPredictions) -> NDArray[np.bool_]:
    """Predicted labels (N, K): the most probable class, or every label from probability 0.5 on."""
    if predictions.task == "multilabel":
        return predictions.probabilities >= DECISION_THRESHOLD
    decided = np.zeros(predictions.probabilities.shape, dtype=np.bool_)
    if decided.size:
        decided[np.arange(len(predictions)), predictions.probabilities.argmax(axis=1)] = True
    return decided


def accuracy(predictions: ClassPredictions, counts: FloatArray | None = None, /) -> Score:
    """Share of cases with the right class; with several labels, of cases with every label right."""
    right = (decisions(predictions) == predictions.positive).all(axis=1)
    return mean_of_cases(right.astype(np.float64), all_once(predictions, counts))


def balanced_accuracy(predictions: ClassPredictions, counts: FloatArray | None = None, /) -> Score:
    """Mean over classes of the share of their cases that was found."""
    return mean_of_classes(recall_of_classes(predictions, counts), _NO_POSITIVE)


def macro_f1(predictions: ClassPredictions, counts: FloatArray | None = None, /) -> Score:
    """Mean over classes of F1; a class neither present nor predicted is left out."""
    return mean_of_classes(f1_of_classes(predictions, counts), "no class is present or predicted")


def auroc_macro(predictions: ClassPredictions, counts: FloatArray | None = None, /) -> Score:
    """Mean over classes of the area under the ROC curve, one against the rest; two classes have one area."""
    areas = auroc_of_classes(predictions, counts)
    if predictions.task == "multiclass" and len(predictions.classes) == 2:
        areas = areas[:, 1:]  # the other column says the same, but for rounding
    return mean_of_classes(areas, _ONE_LABEL_VALUE)


def auroc_micro(predictions: ClassPredictions, counts: FloatArray | None = None, /) -> Score:
    """Area under the ROC curve of all pairs of case and class pooled."""
    n, k = predictions.probabilities.shape
    areas = area_under_roc(
        predictions.probabilities.ravel(),
        predictions.positive.ravel(),
        all_once(predictions, counts),
        np.repeat(np.arange(n), k),
    )
    return scored(areas, "the pooled pairs of case and class are all positive or all negative")


def average_precision_macro(predictions: ClassPredictions, counts: FloatArray | None = None, /) -> Score:
    """Mean over classes of average precision; a class without positives is left out."""
    return mean_of_classes(average_precision_of_classes(predictions, counts), _NO_POSITIVE)


def log_loss(predictions: ClassPredictions, counts: FloatArray | None = None, /) -> Score:
    """Mean negative log-likelihood in nats of a case, or of a case's label where there may be several."""
    said = np.where(predictions.positive, predictions.probabilities, 1 - predictions.probabilities)
    loss = -np.log(np.clip(said, _SMALLEST, 1.0))
    per_case = loss.mean(axis=1) if predictions.task == "multilabel" else loss[predictions.positive]
    return mean_of_cases(per_case, all_once(predictions, counts))


def brier(predictions: ClassPredictions, counts: FloatArray | None = None, /) -> Score:
    """Mean squared error of the probabilities, 0 to 1; for one label a case half the sum over classes."""
    squared = (predictions.probabilities - predictions.positive) ** 2
    per_case = squared.mean(axis=1) if predictions.task == "multilabel" else squared.sum(axis=1) / 2
    return mean_of_cases(per_case, all_once(predictions, counts))


def confusion_matrix(predictions: ClassPredictions) -> NDArray[np.int64]:
    """Cases by true class (rows) and predicted class (columns), (K, K), for one label a case."""
    k = len(predictions.classes)
    matrix = np.zeros((k, k), dtype=np.int64)
    np.add.at(matrix, (predictions.target, predictions.probabilities.argmax(axis=1)), 1)
    return matrix


def precision_of_classes(predictions: ClassPredictions, counts: FloatArray | None = None, /) -> FloatArray:
    """Share of a class's predictions that is right, (R, K); NaN where it was never predicted."""
    found, _, predicted = _sums(predictions, counts)
    return ratio(found, predicted)


def recall_of_classes(predictions: ClassPredictions, counts: FloatArray | None = None, /) -> FloatArray:
    """Share of a class's cases that was found, (R, K); NaN where it has none."""
    found, present, _ = _sums(predictions, counts)
    return ratio(found, present)


def f1_of_classes(predictions: ClassPredictions, counts: FloatArray | None = None, /) -> FloatArray:
    """Harmonic mean of precision and recall, (R, K); NaN where a class is neither present nor predicted."""
    found, present, predicted = _sums(predictions, counts)
    return ratio(2 * found, present + predicted)


def auroc_of_classes(predictions: ClassPredictions, counts: FloatArray | None = None, /) -> FloatArray:
    """Area under the ROC curve of each class against the rest, (R, K); NaN where it has one label value."""
    drawn, positive = all_once(predictions, counts), predictions.positive
    areas = [
        area_under_roc(predictions.probabilities[:, k], positive[:, k], drawn)
        for k in range(positive.shape[1])
    ]
    return np.stack(areas, axis=1)


def average_precision_of_classes(
    predictions: ClassPredictions, counts: FloatArray | None = None, /
) -> FloatArray:
    """Average precision of each class, (R, K); NaN where it has no positive case."""
    drawn, positive = all_once(predictions, counts), predictions.positive
    areas = [
        area_under_precision_recall(predictions.probabilities[:, k], positive[:, k], drawn)
        for k in range(positive.shape[1])
    ]
    return np.stack(areas, axis=1)


def _sums(
    predictions: ClassPredictions, counts: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Cases found, present and predicted of each class, (R, K) each."""
    drawn = all_once(predictions, counts)
    present, predicted = predictions.positive * 1.0, decisions(predictions) * 1.0
    return drawn @ (present * predicted), drawn @ present, drawn @ predicted
