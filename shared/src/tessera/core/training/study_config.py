"""What a study compares: its file, its arms, and the run config of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tessera.core import pipeline as pipelines
from tessera.core.config import Config, load_yaml, merge, parse_set, validate
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import fold_names
from tessera.core.errors import ConfigError
from tessera.core.run_config import RunConfig


class Arm(Config):
    """One of the things compared: a preset with changes, a rival that is no network, or an ensemble."""

    preset: str | None = None
    rival: str | None = Field(None, description="a method of the field's that is no network")
    name: str | None = Field(
        None, description="name in the table; default: the preset's or the rival's, or 'ensemble'"
    )
    ensemble: tuple[str, ...] = Field((), description="names of the arms whose probabilities are fused")
    fusion: Literal["mean", "geometric", "max", "learned"] = Field(
        "mean", description="of an ensemble; learned: a logistic regression on the other folds' predictions"
    )
    weights: tuple[Annotated[float, Field(ge=0.0)], ...] = Field(
        (), description="of an ensemble: share of each arm in the mean; none: equal"
    )
    set: dict[str, Any] = Field(default_factory=dict, description="fields as on the command line: a.b: value")
    folds: tuple[str, ...] | None = Field(None, description="fewer folds than the study's, for slow arms")
    compare_with: tuple[str, ...] = Field(
        (), description="names of arms it is compared with beside the reference, such as its twin"
    )
    tune: tuple[dict[str, Any], ...] = Field(
        (),
        description="candidates, each a `set` of its own; for each fold the one is trained that does best "
        "inside the fold's training part",
    )

    @property
    def label(self) -> str:
        """Name in the table."""
        return self.name or self.preset or self.rival or "ensemble"

    @model_validator(mode="after")
    def _preset_rival_or_ensemble(self) -> Self:
        if [self.preset is not None, self.rival is not None, bool(self.ensemble)].count(True) != 1:
            raise ValueError("give an arm a preset, a rival, or the names of arms under ensemble")
        if self.rival is not None and (self.set or self.tune):
            raise ValueError("a rival has no fields to set or tune")
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
    columns: tuple[str, ...] = Field((), description="further metrics shown with their differences")
    inner_folds: int | None = Field(
        None, ge=1, description="of tune: test candidates on so many folds of the training part; null: all"
    )


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
        others = [name for name in labels if name != arm.label]
        if unknown := [name for name in arm.compare_with if name not in others]:
            raise ConfigError(
                f"{path}: {arm.label} is compared with what is no other arm", found=unknown, expected=others
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


def target_of(study: StudyConfig) -> str:
    """Name of the target that all arms predict: that of the first preset, or of the pipeline's first."""
    arm = next((arm for arm in study.arms if arm.preset is not None), None)
    if arm is None:
        arm = Arm(preset=pipelines.get(study.pipeline).presets[0])
    return arm_configs(study, arm, seed=study.seeds[0])[0].data.target


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``, for keys written as on the command line."""
    return parse_set([f"{key}={json.dumps(value)}" for key, value in values.items()])
