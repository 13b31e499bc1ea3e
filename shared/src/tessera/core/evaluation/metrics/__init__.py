"""Metrics: predictions in, one value for each resample out."""

from tessera.core.evaluation.metrics._score import Metric, Score
from tessera.core.evaluation.metrics.classification import (
    accuracy,
    auroc_macro,
    auroc_micro,
    average_precision_macro,
    balanced_accuracy,
    brier,
    confusion_matrix,
    log_loss,
    macro_f1,
)
from tessera.core.evaluation.metrics.regression import (
    coverage_68,
    coverage_95,
    gaussian_nll,
    mean_absolute_error,
    r_squared,
    root_mean_squared_error,
)

__all__ = [
    "Metric",
    "Score",
    "accuracy",
    "auroc_macro",
    "auroc_micro",
    "average_precision_macro",
    "balanced_accuracy",
    "brier",
    "confusion_matrix",
    "coverage_68",
    "coverage_95",
    "gaussian_nll",
    "log_loss",
    "macro_f1",
    "mean_absolute_error",
    "r_squared",
    "root_mean_squared_error",
]
