"""A comparison under one protocol: arms x folds x seeds, resumable, one table with paired differences."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tessera.core import pipeline as pipelines
from tessera.core.config import Config, load_yaml, merge, parse_set, validate
from tessera.core.data.atomic import write_atomic
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import fold_names
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
from tessera.core.run_config import RunConfig
from tessera.core.training.callbacks import Progress
from tessera.core.training.run_folder import fold_folder
from tessera.core.training.scoring import AnyPredictions, load_predictions
from tessera.core.training.stacking import cross_fused, pooled
from tessera.core.training.study_table import StudyRow, to_csv, to_markdown
from tessera.core.training.train import SUMMARY_FILE, Plan, train_one
from tessera.core.training.tuning import Choice, choose

logger = logging.getLogger(__name__)

BOOTSTRAP_SEED = 0


class Arm(Config):
    """One of the things compared: a preset with changes, or an ensemble of other arms, trained already."""

    preset: str | None = None
    name: str | None = Field(None, description="name in the table; default: the preset's, or 'ensemble'")
    ensemble: tuple[str, ...] = Field((), description="names of the arms whose probabilities are fused")
    fusion: Literal["mean", "geometric", "max", "learned"] = Field(
        "mean", description="of an ensemble; learned: a logistic regression on the other folds' predictions"
    )
    weights: tuple[Annotated[float, Field(ge=0.0)], ...] = Field(
        (), description="of an ensemble: share of each arm in the mean; none: equal"
    )
    set: dict[str, Any] = Field(default_factory=dict, description="fields as on the command line: a.b: value")
    folds: tuple[str, ...] | None = Field(None, description="fewer folds than the study's, for slow arms")
    tune: tuple[dict[str, Any], ...] = Field(
        (),
        description="candidates, each a `set` of its own; for each fold the one is trained that does best "
        "inside the fold's training part",
    )

    @property
    def label(self) -> str:
        """Name in the table."""
        return self.name or self.preset or "ensemble"

    @model_validator(mode="after")
    def _preset_or_ensemble(self) -> Self:
        if (self.preset is None) == (not self.ensemble):
            raise ValueError("give an arm a preset, or the names of arms under ensemble")
        if self.ensemble and (self.set or self.folds or self.tune):
            raise ValueError("an ensemble has no fields and folds of its own; those of its arms count")
        if len(self.tune) == 1:
            raise ValueError("tune needs two candidates or more; one alone belongs under set")
        if self.weights and len(self.weights) != len(self.ensemble):
            raise ValueError(f"{len(self.weights)} weights for an ensemble of {len(self.ensemble)}")
        if self.weights and (self.fusion != "mean" or not sum(self.weights)):
            raise ValueError("weights are shares of fusion: mean, and not all zero")
        return self


class StudyConfig(Config):
    """What is compared, on what, and how."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    title: str
    pipeline: str
    data: str = Field(description="manifest id or path")
    arms: tuple[Arm, ...] = Field(min_length=1)
    folds: tuple[str, ...] | None = Field(None, description="null: all")
    n_folds: int = Field(5, ge=2, description="where the data has no official folds")
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    set: dict[str, Any] = Field(default_factory=dict, description="the same for every arm")
    reference: str | None = Field(None, description="arm the others are compared with; default: the first")
    metric: str = Field("accuracy", description="what the table and the paired differences are of")
    inner_folds: int | None = Field(
        None, ge=1, description="of tune: test candidates on so many folds of the training part; null: all"
    )


@dataclass(frozen=True)
class _Done:
    """The finished runs of one arm."""

    predictions: AnyPredictions
    folds: tuple[str, ...]
    seconds: float
    parameters: int
    choices: tuple[str, ...] = ()


def load_study(path: Path) -> StudyConfig:
    """Read and check ``studies/<id>.yaml``."""
    study = validate(StudyConfig, load_yaml(path), source=str(path))
    labels = [arm.label for arm in study.arms]
    if len(set(labels)) != len(labels):
        raise ConfigError(f"{path}: two arms have the same name", found=labels, hint="give each arm a name")
    if study.reference is not None and study.reference not in labels:
        raise ConfigError(f"{path}: the reference is no arm", found=study.reference, expected=labels)
    trained = [arm.label for arm in study.arms if not arm.ensemble]
    for arm in study.arms:
        if unknown := [name for name in arm.ensemble if name not in trained]:
            raise ConfigError(
                f"{path}: {arm.label} names what is no arm with a preset", found=unknown, expected=trained
            )
    return study


def arm_config(study: StudyConfig, arm: Arm, *, seed: int, candidate: int | None = None) -> RunConfig:
    """The arm's complete config: preset, then the study's changes, the arm's, its candidate's, the seed."""
    pipeline = pipelines.get(study.pipeline)
    if arm.preset is None:
        raise ConfigError(f"study {study.id}: {arm.label} is an ensemble and has no config")
    values = pipeline.preset_values(arm.preset)
    for changes in (study.set, arm.set, {} if candidate is None else arm.tune[candidate]):
        values, _ = merge(values, _nested(changes))
    kind: type[RunConfig] = pipeline.resolve("config")
    return validate(kind, {**values, "seed": seed}, source=f"study {study.id}, arm {arm.label}")


def arm_configs(study: StudyConfig, arm: Arm, *, seed: int) -> list[RunConfig]:
    """The arm's complete configs: one, or one a candidate."""
    if not arm.tune:
        return [arm_config(study, arm, seed=seed)]
    return [arm_config(study, arm, seed=seed, candidate=i) for i in range(len(arm.tune))]


def study_folds(study: StudyConfig) -> tuple[str, ...]:
    """The folds that are tested in turn."""
    return study.folds or fold_names(Manifest.load(study.data).cases, study.n_folds)


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
    planned = [(arm, seed, arm_configs(study, arm, seed=seed)) for arm in single for seed in study.seeds]
    for arm, seed, configs in planned:
        for fold in arm.folds or folds:
            folder = _folder(out, arm, fold, seed)
            if (folder / SUMMARY_FILE).is_file():
                continue
            say(f"{study.id}: {arm.label}, fold {fold}, seed {seed}")
            pipeline = pipelines.get(study.pipeline)
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
    return to_markdown(rows, title=study.title, data=study.data, seeds=study.seeds, metric=study.metric)


def table(study: StudyConfig, *, out: Path, folds: Sequence[str]) -> list[StudyRow]:
    """The lines of all arms that have a finished run; arms without one are left out."""
    single = {arm.label: arm for arm in study.arms if not arm.ensemble}
    found = {label: _collect(study, arm, out=out, folds=folds) for label, arm in single.items()}
    done = {arm.label: _fused(arm, found) if arm.ensemble else found[arm.label] for arm in study.arms}
    members = {arm.label: arm.ensemble for arm in study.arms}
    reference = done.get(study.reference or study.arms[0].label)
    rows = []
    for label, runs in done.items():
        if runs is None:
            continue
        metrics = metrics_of(runs.predictions)
        if study.metric not in metrics:
            raise ConfigError(f"study {study.id}: no metric '{study.metric}'", expected=", ".join(metrics))
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
                to_members={name: _difference(study.metric, runs, done[name]) for name in members[label]},
                choices=runs.choices,
            )
        )
    return rows


def _collect(study: StudyConfig, arm: Arm, *, out: Path, folds: Sequence[str]) -> _Done | None:
    parts: list[AnyPredictions] = []
    finished: list[str] = []
    seconds, parameters = 0.0, 0
    choices: list[str] = []
    spec = Manifest.load(study.data).target(arm_configs(study, arm, seed=study.seeds[0])[0].data.target)
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


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``, for keys written as on the command line."""
    return parse_set([f"{key}={json.dumps(value)}" for key, value in values.items()])
