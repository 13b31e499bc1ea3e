"""Everything an evaluation says about one set of predictions, as data for a report or a bundle's card."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from tessera.core.evaluation.bootstrap import Estimate, bootstrap_interval
from tessera.core.evaluation.calibration import (
    ReliabilityBin,
    confidence_and_correct,
    expected_calibration_error,
    reliability_table,
)
from tessera.core.evaluation.mask_predictions import MaskPredictions, mask_metrics
from tessera.core.evaluation.metrics import (
    Metric,
    accuracy,
    auroc_macro,
    auroc_micro,
    average_precision_macro,
    balanced_accuracy,
    brier,
    confusion_matrix,
    coverage_68,
    coverage_95,
    gaussian_nll,
    log_loss,
    macro_f1,
    mean_absolute_error,
    r_squared,
    root_mean_squared_error,
)
from tessera.core.evaluation.metrics._score import Score, scored
from tessera.core.evaluation.metrics.classification import (
    auroc_of_classes,
    average_precision_of_classes,
    f1_of_classes,
    precision_of_classes,
    recall_of_classes,
)
from tessera.core.evaluation.predictions import (
    ClassPredictions,
    FloatArray,
    ManyValuePredictions,
    Predictions,
    Task,
    ValuePredictions,
)

P = TypeVar("P", bound=Predictions)

MULTICLASS_METRICS: Mapping[str, Metric[ClassPredictions]] = MappingProxyType(
    {
        "accuracy": accuracy,
        "balanced_accuracy": balanced_accuracy,
        "macro_f1": macro_f1,
        "auroc_macro": auroc_macro,
        "average_precision_macro": average_precision_macro,
        "log_loss": log_loss,
        "brier": brier,
        "ece": expected_calibration_error,
    }
)
MULTILABEL_METRICS: Mapping[str, Metric[ClassPredictions]] = MappingProxyType(
    {
        "auroc_macro": auroc_macro,
        "auroc_micro": auroc_micro,
        "average_precision_macro": average_precision_macro,
        "macro_f1": macro_f1,
        "log_loss": log_loss,
        "brier": brier,
        "ece": expected_calibration_error,
    }
)
REGRESSION_METRICS: Mapping[str, Metric[ValuePredictions]] = MappingProxyType(
    {
        "mae": mean_absolute_error,
        "rmse": root_mean_squared_error,
        "r2": r_squared,
        "gaussian_nll": gaussian_nll,
        "coverage_68": coverage_68,
        "coverage_95": coverage_95,
    }
)

METRICS: Mapping[Task, Mapping[str, Metric[Any]]] = MappingProxyType(
    {"multiclass": MULTICLASS_METRICS, "multilabel": MULTILABEL_METRICS, "regression": REGRESSION_METRICS}
)


@dataclasses.dataclass(frozen=True)
class MetricOf:
    """The mean over some of several predicted numbers of a metric of one number.

    Args:
        names: Whose.
        metric: Of one number.
    """

    names: tuple[str, ...]
    metric: Metric[ValuePredictions]

    def __call__(self, predictions: ManyValuePredictions, counts: FloatArray | None = None, /) -> Score:
        """Predictions of N cases and counts (R, N) -> R values."""
        found = [self.metric(predictions.of(name), counts) for name in self.names]
        if len(found) == 1:
            return found[0]
        reason = next((score.reason for score in found if score.reason), "")
        return scored(np.mean([score.values for score in found], axis=0), reason)


def metrics_of(predictions: Predictions) -> Mapping[str, Metric[Any]]:
    """The metrics that apply; of masks what their field has scored, of several numbers those of each."""
    if isinstance(predictions, MaskPredictions):
        return mask_metrics(predictions.columns)
    if isinstance(predictions, ManyValuePredictions):
        names = tuple(predictions.names)
        each = {
            f"{metric}_{name}": MetricOf((name,), score)
            for name in names
            for metric, score in REGRESSION_METRICS.items()
        }
        return {"r2": MetricOf(names, r_squared), **each}
    return METRICS[predictions.task]


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """One class of the per-class table; NaN where a number is not defined.

    Args:
        name: The class.
        n_positive: Cases that have it.
        precision: Share of its predictions that is right.
        recall: Share of its cases that was found.
        f1: Harmonic mean of the two.
        auroc: Area under the ROC curve against all other cases.
        average_precision: Area under the precision-recall curve.
    """

    name: str
    n_positive: int
    precision: float
    recall: float
    f1: float
    auroc: float
    average_precision: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Metrics with intervals and the tables behind them.

    Args:
        task: Family of the metrics.
        n: Cases.
        n_groups: Groups, the unit of the resampling.
        metrics: Estimate by metric name.
        per_class: One row a class; empty for numbers and masks.
        confusion: Cases by true (rows) and predicted class; empty unless there is one label a case.
        reliability: Ten bins; empty for numbers and masks.
    """

    task: Task
    n: int
    n_groups: int
    metrics: dict[str, Estimate]
    per_class: tuple[ClassRow, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()

    def to_json(self) -> str:
        """The evaluation as JSON; what is not defined is null."""
        return json.dumps(_nan_to_none(dataclasses.asdict(self)), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """Read what ``to_json`` wrote."""
        data = json.loads(text)
        return cls(
            task=data["task"],
            n=data["n"],
            n_groups=data["n_groups"],
            metrics={name: _restored(Estimate, row) for name, row in data["metrics"].items()},
            per_class=tuple(_restored(ClassRow, row) for row in data["per_class"]),
            confusion=tuple(tuple(row) for row in data["confusion"]),
            reliability=tuple(_restored(ReliabilityBin, row) for row in data["reliability"]),
        )


def evaluate(
    predictions: ClassPredictions | ValuePredictions | ManyValuePredictions | MaskPredictions,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int,
) -> Evaluation:
    """Every metric of the predictions' task with its interval; all metrics see the same resamples."""
    task, n, n_groups = predictions.task, len(predictions), predictions.n_groups
    metrics = {
        name: bootstrap_interval(metric, predictions, n_resamples=n_resamples, level=level, seed=seed)
        for name, metric in metrics_of(predictions).items()
    }
    if not isinstance(predictions, ClassPredictions):
        return Evaluation(task, n, n_groups, metrics)
    return Evaluation(
        task,
        n,
        n_groups,
        metrics,
        per_class=per_class_table(predictions),
        confusion=tuple(map(tuple, confusion_matrix(predictions).tolist())) if task == "multiclass" else (),
        reliability=reliability_table(*confidence_and_correct(predictions)),
    )


def per_class_table(predictions: ClassPredictions) -> tuple[ClassRow, ...]:
    """What is known about each class on its own."""
    columns: list[Callable[..., Any]] = [
        precision_of_classes,
        recall_of_classes,
        f1_of_classes,
        auroc_of_classes,
        average_precision_of_classes,
    ]
    values = np.stack([column(predictions)[0] for column in columns], axis=1)
    n_positive = predictions.positive.sum(axis=0)
    return tuple(
        ClassRow(name, int(n), *row)
        for name, n, row in zip(predictions.classes, n_positive, values.tolist(), strict=True)
    )


def format_estimate(estimate: Estimate, *, digits: int = 3) -> str:
    """``0.853 [0.810, 0.892]``, or why there is no such number."""
    if math.isnan(estimate.value):
        return f"undefined ({estimate.reason})"
    value = f"{estimate.value:.{digits}f}"
    if math.isnan(estimate.low):
        return f"{value} ({estimate.reason})"
    return f"{value} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


R = TypeVar("R")


def _restored(kind: type[R], row: dict[str, Any]) -> R:
    """A row of numbers, names and reasons; a null number is NaN again, a null reason stays None."""
    return kind(
        **{key: math.nan if value is None and key != "reason" else value for key, value in row.items()}
    )


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nan_to_none(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nan_to_none(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
