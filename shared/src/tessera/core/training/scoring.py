"""Predictions of labelled cases by a bundle, and what they are worth."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tessera.core.bundle.bundle import Bundle
from tessera.core.bundle.card import MetricRecord
from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case
from tessera.core.data.targets import TargetSpec, encode_target
from tessera.core.errors import DataError
from tessera.core.evaluation import (
    ClassPredictions,
    Evaluation,
    Task,
    ValuePredictions,
    evaluate,
    read_predictions,
    write_predictions,
)
from tessera.core.inference.interfaces import CaseResult
from tessera.core.inference.score import Scores, score
from tessera.core.inference.steps import Steps

logger = logging.getLogger(__name__)

BOOTSTRAP_SEED = 0
EVALUATION_FILE = "evaluation.json"
PREDICTIONS_FILE = "predictions.csv"
FAILURES_FILE = "evaluation-failures.json"
TASKS: Mapping[str, Task] = {"class": "multiclass", "tags": "multilabel", "number": "regression"}

AnyPredictions = ClassPredictions | ValuePredictions


def predictions_of(
    results: Sequence[CaseResult], spec: TargetSpec, *, target_name: str, fold: str = ""
) -> AnyPredictions:
    """Results beside what is known of their cases."""
    cases = [result.case for result in results]
    target = np.stack([encode_target(spec, case.targets[target_name], case_id=case.id) for case in cases])
    summary = np.stack([result.summary for result in results]).astype(np.float64)
    names, groups = [case.id for case in cases], [case.group for case in cases]
    folds = [fold] * len(cases)
    if spec.kind == "number":
        std = np.exp(0.5 * summary[:, 1])
        return ValuePredictions(names, groups, target.astype(np.float64), summary[:, 0], std, fold=folds)
    return ClassPredictions(names, groups, target, summary, spec.classes, fold=folds)


def score_cases(bundle: Bundle, cases: Sequence[Case], *, device: str = "auto") -> Scores:
    """The bundle's answers; cases that cannot be read are named in the log."""
    scores = score(Steps.from_bundle(bundle, device=device), cases)
    for case_id, cause in scores.failures.items():
        logger.warning("case %s is left out of the evaluation: %s", case_id, cause)
    if not scores.results:
        raise DataError(
            "not one case could be evaluated",
            found="; ".join(f"{name}: {cause}" for name, cause in list(scores.failures.items())[:3]),
        )
    return scores


def evaluate_bundle(
    bundle: Bundle,
    cases: Sequence[Case],
    *,
    target_name: str,
    out: Path,
    fold: str = "",
    device: str = "auto",
) -> Evaluation:
    """Evaluate on labelled cases and write predictions, evaluation and failures below ``out``."""
    scores = score_cases(bundle, cases, device=device)
    predictions = predictions_of(scores.results, bundle.card.target, target_name=target_name, fold=fold)
    evaluation = evaluate(predictions, seed=BOOTSTRAP_SEED)
    out.mkdir(parents=True, exist_ok=True)
    write_predictions(predictions, out / PREDICTIONS_FILE)
    write_atomic(out / FAILURES_FILE, json.dumps(scores.failures, indent=2, ensure_ascii=False) + "\n")
    write_atomic(out / EVALUATION_FILE, evaluation.to_json())
    return evaluation


def load_evaluation(folder: Path) -> Evaluation | None:
    """The evaluation in a run's folder, if there is one."""
    file = folder / EVALUATION_FILE
    return Evaluation.from_json(file.read_text(encoding="utf-8")) if file.is_file() else None


def load_predictions(folder: Path, spec: TargetSpec) -> AnyPredictions:
    """The labelled predictions in a run's folder."""
    return read_predictions(folder / PREDICTIONS_FILE, task=TASKS[spec.kind])


def metric_records(evaluation: Evaluation, *, dataset: str, split: str) -> tuple[MetricRecord, ...]:
    """The defined metrics as the card keeps them."""
    return tuple(
        MetricRecord(
            name=name,
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            dataset=dataset,
            split=split,
            n=evaluation.n,
            n_groups=evaluation.n_groups,
        )
        for name, estimate in evaluation.metrics.items()
        if np.isfinite([estimate.value, estimate.low, estimate.high]).all()
    )
