"""Evaluation: predictions of labelled cases in, metrics with intervals out. Needs no torch."""

from tessera.core.evaluation.bootstrap import (
    Estimate,
    PairedDifference,
    bootstrap_interval,
    paired_difference,
)
from tessera.core.evaluation.calibration import (
    OperatingPoint,
    ReliabilityBin,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    fit_temperature_per_class,
    reliability_table,
    sigmoid,
    softmax,
    threshold_for_precision,
    thresholds_for_precision,
)
from tessera.core.evaluation.mask_predictions import MaskPredictions, MaskScores
from tessera.core.evaluation.predictions import (
    ClassPredictions,
    ManyValuePredictions,
    Predictions,
    Task,
    ValuePredictions,
    pool,
    take,
)
from tessera.core.evaluation.predictions_csv import read_predictions, write_predictions
from tessera.core.evaluation.table import (
    METRICS,
    ClassRow,
    Evaluation,
    evaluate,
    format_estimate,
    metrics_of,
)

__all__ = [
    "METRICS",
    "ClassPredictions",
    "ClassRow",
    "Estimate",
    "Evaluation",
    "ManyValuePredictions",
    "MaskPredictions",
    "MaskScores",
    "OperatingPoint",
    "PairedDifference",
    "Predictions",
    "ReliabilityBin",
    "Task",
    "ValuePredictions",
    "apply_temperature",
    "bootstrap_interval",
    "evaluate",
    "expected_calibration_error",
    "fit_temperature",
    "fit_temperature_per_class",
    "format_estimate",
    "metrics_of",
    "paired_difference",
    "pool",
    "read_predictions",
    "reliability_table",
    "sigmoid",
    "softmax",
    "take",
    "threshold_for_precision",
    "thresholds_for_precision",
    "write_predictions",
]
