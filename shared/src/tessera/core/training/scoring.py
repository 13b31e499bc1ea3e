"""Predictions of labelled cases by a bundle, and what they are worth."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.core.bundle.bundle import Bundle
from tessera.core.bundle.card import MetricRecord
from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case, MaskReader
from tessera.core.data.targets import TargetSpec, encode_target
from tessera.core.errors import ConfigError, DataError
from tessera.core.evaluation import (
    ClassPredictions,
    Evaluation,
    ManyValuePredictions,
    MaskPredictions,
    MaskScores,
    Task,
    ValuePredictions,
    evaluate,
    read_predictions,
    write_predictions,
)
from tessera.core.evaluation.measures import FieldTable, Measures, write_measures
from tessera.core.inference.interfaces import CaseResult
from tessera.core.inference.score import Scores, score
from tessera.core.inference.steps import Steps
from tessera.core.inference.summary import ProgressCallback
from tessera.core.pipeline import Pipeline

logger = logging.getLogger(__name__)

BOOTSTRAP_SEED = 0
EVALUATION_FILE = "evaluation.json"
PREDICTIONS_FILE = "predictions.csv"
FAILURES_FILE = "evaluation-failures.json"
TASKS: Mapping[str, Task] = {
    "class": "multiclass",
    "tags": "multilabel",
    "number": "regression",
    "numbers": "regression",
    "mask": "segmentation",
}

AnyPredictions = ClassPredictions | ValuePredictions | ManyValuePredictions | MaskPredictions


def predictions_of(
    results: Sequence[CaseResult], spec: TargetSpec, *, target_name: str, fold: str = ""
) -> ClassPredictions | ValuePredictions | ManyValuePredictions:
    """Results, which are no masks, beside what is known of their cases."""
    cases = [result.case for result in results]
    target = np.stack([encode_target(spec, case.targets[target_name], case_id=case.id) for case in cases])
    summary = np.stack([result.summary for result in results]).astype(np.float64)
    names, groups = [case.id for case in cases], [case.group for case in cases]
    folds = [fold] * len(cases)
    if spec.kind == "number":
        std = np.exp(0.5 * summary[:, 1])
        return ValuePredictions(names, groups, target.astype(np.float64), summary[:, 0], std, fold=folds)
    if spec.kind == "numbers":
        mean, log_variance = np.split(summary, 2, axis=1)
        std = np.exp(0.5 * log_variance)
        return ManyValuePredictions(
            names, groups, target.astype(np.float64), mean, spec.classes, std=std, fold=folds
        )
    return ClassPredictions(names, groups, target, summary, spec.classes, fold=folds)


def score_cases(bundle: Bundle, cases: Sequence[Case], *, device: str = "auto") -> Scores:
    """The bundle's answers; cases that cannot be read are named in the log."""
    scores = score(Steps.from_bundle(bundle, device=device), cases)
    _remark_on_failures(scores.failures, left=len(scores.results))
    return scores


def score_masks(
    bundle: Bundle,
    cases: Sequence[Case],
    *,
    target_name: str,
    fold: str = "",
    device: str = "auto",
    progress: ProgressCallback | None = None,
) -> tuple[MaskPredictions, dict[str, str]]:
    """Scores of the predicted masks against the reference ones, and why cases have none.

    A mask is scored as soon as it is there and then forgotten.
    """
    if not bundle.pipeline.scores:
        raise ConfigError(f"pipeline {bundle.pipeline.name} does not say what a mask is worth")
    steps = Steps.from_bundle(bundle, device=device)
    reader = steps.reader
    if not isinstance(reader, MaskReader):
        raise ConfigError(f"pipeline {bundle.pipeline.name} cannot read masks")
    judge: MaskScores = bundle.pipeline.resolve("scores")(bundle.config, bundle.card.target)
    found: dict[str, Mapping[str, float]] = {}

    def take(result: CaseResult) -> None:
        reference = reference_mask(reader, result, target_name)
        found[result.case.id] = judge.case(_mask(result), reference, result.grid)

    failures = score(steps, cases, take=take, progress=progress).failures
    _remark_on_failures(failures, left=len(found))
    scored = [case for case in cases if case.id in found]
    predictions = MaskPredictions.of(
        [found[case.id] for case in scored],
        case_id=[case.id for case in scored],
        group=[case.group for case in scored],
        fold=[fold] * len(scored),
    )
    return predictions, failures


def reference_mask(reader: MaskReader, result: CaseResult, target_name: str) -> npt.NDArray[Any]:
    """The known mask (*S) of a result's case, on the source's own grid."""
    source = reader.open_mask(result.case, target_name)
    try:
        reference: npt.NDArray[Any] = source.read()["input"][0].numpy()
    finally:
        source.close()
    if reference.shape != result.grid.shape:
        raise DataError(
            f"case {result.case.id}: the mask does not fit its case",
            found=f"{reference.shape} elements",
            expected=f"{result.grid.shape}",
        )
    return reference


def _mask(result: CaseResult) -> npt.NDArray[Any]:
    if result.mask is None:
        raise DataError(f"case {result.case.id}: the prediction gave no mask")
    return result.mask


def _remark_on_failures(failures: Mapping[str, str], *, left: int) -> None:
    for case_id, cause in failures.items():
        logger.warning("case %s is left out of the evaluation: %s", case_id, cause)
    if not left:
        raise DataError(
            "not one case could be evaluated",
            found="; ".join(f"{name}: {cause}" for name, cause in list(failures.items())[:3]),
        )


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
    predictions: AnyPredictions
    if bundle.card.target.kind == "mask":
        predictions, failures = score_masks(bundle, cases, target_name=target_name, fold=fold, device=device)
    else:
        scores = score_cases(bundle, cases, device=device)
        predictions = predictions_of(scores.results, bundle.card.target, target_name=target_name, fold=fold)
        failures = scores.failures
    return write_evaluation(predictions, failures, out)


def write_evaluation(predictions: AnyPredictions, failures: Mapping[str, str], out: Path) -> Evaluation:
    """Evaluate predictions and write them, the evaluation and the failures below ``out``."""
    evaluation = evaluate(predictions, seed=BOOTSTRAP_SEED)
    out.mkdir(parents=True, exist_ok=True)
    write_predictions(predictions, out / PREDICTIONS_FILE)
    write_atomic(out / FAILURES_FILE, json.dumps(dict(failures), indent=2, ensure_ascii=False) + "\n")
    write_atomic(out / EVALUATION_FILE, evaluation.to_json())
    return evaluation


def measure(
    pipeline: Pipeline, folder: Path, spec: TargetSpec, cases: Sequence[Case], values: Mapping[str, Any]
) -> tuple[FieldTable, ...]:
    """The field's own tables of the predictions in a folder, written there; none where it has no measures."""
    if not pipeline.measures:
        if values:
            raise ConfigError(
                f"pipeline {pipeline.name} has no measures with options", found=", ".join(values)
            )
        return ()
    predictions = load_predictions(folder, spec)
    by_id = {case.id: case for case in cases}
    measures: Measures = pipeline.resolve("measures")
    tables = measures(predictions, [by_id[name] for name in predictions.case_id], values=values)
    write_measures(folder, tables)
    return tables


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
