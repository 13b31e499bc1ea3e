"""A comparison under one protocol: arms x folds x seeds, resumable, one table with paired differences."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tessera.core import pipeline as pipelines
from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Reader
from tessera.core.data.manifest import Manifest
from tessera.core.errors import ConfigError, TesseraError
from tessera.core.evaluation import (
    PairedDifference,
    Predictions,
    bootstrap_interval,
    format_estimate,
    metrics_of,
    paired_difference,
    pool,
    take,
)
from tessera.core.pipeline import Pipeline
from tessera.core.training.callbacks import Progress
from tessera.core.training.run_folder import fold_folder
from tessera.core.training.scoring import AnyPredictions, load_predictions
from tessera.core.training.stacking import cross_fused, pooled
from tessera.core.training.study_config import Arm, StudyConfig, arm_configs, study_folds, target_of
from tessera.core.training.study_table import StudyRow, to_csv, to_markdown
from tessera.core.training.train import SUMMARY_FILE, Plan, train_one
from tessera.core.training.tuning import Choice, choose

logger = logging.getLogger(__name__)

BOOTSTRAP_SEED = 0


class Rival(Protocol):
    """What a pipeline's ``rivals`` points to."""

    def __call__(
        self,
        name: str,
        manifest: Manifest,
        reader: Reader,
        *,
        out: Path,
        target: str,
        fold: str,
        n_folds: int,
        seed: int,
        cache: Path,
    ) -> object:
        """Fit the rival on a fold's training part, test it, and write the run's files below ``out``.

        ``summary.json`` comes last, with ``seconds`` and ``parameters``; ``cache`` keeps what folds share.
        """
        ...


@dataclass(frozen=True)
class _Done:
    """The finished runs of one arm."""

    predictions: AnyPredictions
    folds: tuple[str, ...]
    seconds: float
    parameters: int
    choices: tuple[str, ...] = ()


def run_study(
    study: StudyConfig,
    *,
    out: Path,
    say: Callable[[str], None] = logger.info,
    progress: Progress | None = None,
) -> list[StudyRow]:
    """Train what is not trained yet, then write ``table.md`` and ``table.csv`` below ``out``."""
    folds = study_folds(study)
    single = [arm for arm in study.arms if not arm.ensemble]
    planned = [
        (arm, seed, [] if arm.rival else arm_configs(study, arm, seed=seed))
        for arm in single
        for seed in study.seeds
    ]
    for arm, seed, configs in planned:
        for fold in arm.folds or folds:
            folder = _folder(out, arm, fold, seed)
            if (folder / SUMMARY_FILE).is_file():
                continue
            say(f"{study.id}: {arm.label}, fold {fold}, seed {seed}")
            pipeline = pipelines.get(study.pipeline)
            if arm.rival is not None:
                _run_rival(study, arm.rival, pipeline, out=out, folder=folder, fold=fold, seed=seed)
                continue
            chosen = 0
            if arm.tune:
                chosen = choose(
                    configs,
                    pipeline,
                    data=study.data,
                    fold=fold,
                    metric=study.metric,
                    out=_tuning_folder(folder),
                    n_folds=study.n_folds,
                    most_folds=study.inner_folds,
                    say=say,
                    progress=progress,
                ).chosen
            plan = Plan(config=configs[chosen], data=study.data, fold=fold, n_folds=study.n_folds)
            started = (folder / "config.yaml").is_file()
            train_one(plan, pipeline, out=folder, resume=started, progress=progress)
    rows = table(study, out=out, folds=folds)
    write_atomic(out / "table.md", markdown(study, rows))
    write_atomic(out / "table.csv", to_csv(rows))
    return rows


def markdown(study: StudyConfig, rows: Sequence[StudyRow]) -> str:
    """The study's table as Markdown."""
    return to_markdown(
        rows,
        title=study.title,
        data=study.data,
        seeds=study.seeds,
        metric=study.metric,
        columns=study.columns,
    )


def table(study: StudyConfig, *, out: Path, folds: Sequence[str]) -> list[StudyRow]:
    """The lines of all arms that have a finished run; arms without one are left out."""
    single = {arm.label: arm for arm in study.arms if not arm.ensemble}
    found = {label: _collect(study, arm, out=out, folds=folds) for label, arm in single.items()}
    done = {arm.label: _fused(arm, found) if arm.ensemble else found[arm.label] for arm in study.arms}
    first = study.reference or study.arms[0].label
    reference = done.get(first)
    others = {arm.label: _others(arm, first if study.columns else None) for arm in study.arms}
    wanted = dict.fromkeys((study.metric, *study.columns))
    rows = []
    for label, runs in done.items():
        if runs is None:
            continue
        metrics = metrics_of(runs.predictions)
        if unknown := [name for name in wanted if name not in metrics]:
            raise ConfigError(f"study {study.id}: no metric '{unknown[0]}'", expected=", ".join(metrics))
        shown = {
            name: format_estimate(bootstrap_interval(metric, runs.predictions, seed=BOOTSTRAP_SEED))
            for name, metric in metrics.items()
        }
        difference = "reference" if runs is reference else _difference(study.metric, runs, reference)
        predictions = runs.predictions
        rows.append(
            StudyRow(
                arm=label,
                folds=runs.folds,
                n=len(predictions),
                n_groups=predictions.n_groups,
                metrics=shown,
                difference=difference,
                seconds=runs.seconds,
                parameters=runs.parameters,
                to_others={
                    name: {metric: _difference(metric, runs, done[name]) for metric in wanted}
                    for name in others[label]
                    if done[name] is not None
                },
                choices=runs.choices,
            )
        )
    return rows


def _collect(study: StudyConfig, arm: Arm, *, out: Path, folds: Sequence[str]) -> _Done | None:
    parts: list[AnyPredictions] = []
    finished: list[str] = []
    seconds, parameters = 0.0, 0
    choices: list[str] = []
    spec = Manifest.load(study.data).target(target_of(study))
    for fold in arm.folds or folds:
        for seed in study.seeds:
            folder = _folder(out, arm, fold, seed)
            if not (folder / SUMMARY_FILE).is_file():
                continue
            found = load_predictions(folder, spec)
            # A case counts once a seed; its group, which the interval resamples, stays one.
            parts.append(replace(found, case_id=[f"{case}@{seed}" for case in found.case_id]))
            summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
            seconds += summary["seconds"]
            parameters = summary["parameters"]
            finished.append(fold)
            if arm.tune:
                choices.append(_describe(arm, Choice.read(_tuning_folder(folder))))
    if not parts:
        return None
    return _Done(pool(parts), tuple(dict.fromkeys(finished)), seconds, parameters, tuple(choices))


def _run_rival(
    study: StudyConfig, name: str, pipeline: Pipeline, *, out: Path, folder: Path, fold: str, seed: int
) -> None:
    if not pipeline.rivals:
        raise ConfigError(f"study {study.id}: pipeline {pipeline.name} has no rivals", found=name)
    run: Rival = pipeline.resolve("rivals")
    manifest, reader = Manifest.load(study.data), pipeline.resolve("reader")(None)
    options: dict[str, Any] = {
        "target": target_of(study),
        "fold": fold,
        "n_folds": study.n_folds,
        "seed": seed,
    }
    run(name, manifest, reader, out=folder, cache=out / "features", **options)


def _describe(arm: Arm, choice: Choice) -> str:
    changes = ", ".join(f"{key}={value}" for key, value in arm.tune[choice.chosen].items()) or "no change"
    values = ", ".join(f"{value:.3f}" for value in choice.values)
    return (
        f"fold {choice.fold}: candidate {choice.chosen} ({changes}); {choice.metric} of the candidates on "
        f"fold {', '.join(choice.folds)} of its training part, n = {choice.n}: {values}; "
        f"{choice.seconds:.0f} s"
    )


def _fused(arm: Arm, found: Mapping[str, _Done | None]) -> _Done | None:
    """The ensemble on the cases all its arms have; None while one of them has no finished run."""
    members = [done for name in arm.ensemble if (done := found[name]) is not None]
    if len(members) < len(arm.ensemble):
        return None
    parts = [done.predictions for done in members]
    try:
        if arm.fusion == "learned":
            predictions = cross_fused(parts)
        else:
            predictions = pooled(parts, rule=arm.fusion, weights=arm.weights)
    except TesseraError as error:  # the other arms' lines are worth having all the same
        logger.warning("%s is left out of the table: %s", arm.label, error)
        return None
    return _Done(
        predictions,
        tuple(dict.fromkeys(predictions.fold)),
        sum(done.seconds for done in members),
        sum(done.parameters for done in members),
    )


def _others(arm: Arm, reference: str | None) -> list[str]:
    """The arms whose differences are listed: the reference if asked for, an ensemble's members, the named."""
    named = (*(() if reference is None else (reference,)), *arm.ensemble, *arm.compare_with)
    return [name for name in dict.fromkeys(named) if name != arm.label]


def _difference(metric: str, runs: _Done, reference: _Done | None) -> str:
    if reference is None:
        return "no reference yet"
    common = set(runs.predictions.case_id) & set(reference.predictions.case_id)
    if not common:
        return "no common cases"
    found = paired_difference(
        metrics_of(runs.predictions)[metric],
        _only(runs.predictions, common),
        _only(reference.predictions, common),
        seed=BOOTSTRAP_SEED,
    )
    return _format_difference(found, len(common))


def _only(predictions: Predictions, cases: set[str]) -> Predictions:
    return take(predictions, [i for i, case in enumerate(predictions.case_id) if case in cases])


def _format_difference(found: PairedDifference, n: int) -> str:
    return f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}], n = {n}"


def _tuning_folder(run: Path) -> Path:
    return run.with_name(f"{run.name}-tuning")


def _folder(out: Path, arm: Arm, fold: str, seed: int) -> Path:
    return out / arm.label / f"{fold_folder(fold)}-seed-{seed}"
