"""What a bundle says about itself, for people and for programs (no torch)."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from tessera.core.config import Config
from tessera.core.data.targets import TargetSpec


class MetricRecord(Config):
    """One measured number and where it was measured."""

    name: str
    value: float
    low: float = Field(description="lower end of the 95 % interval")
    high: float = Field(description="upper end of the 95 % interval")
    dataset: str
    split: str
    n: int = Field(ge=0, description="cases")
    n_groups: int = Field(ge=0, description="independent groups among them")


class TrainingRecord(Config):
    """What one member was trained on."""

    dataset: str
    manifest_digest: str = Field(description="SHA-256 of the manifest's content")
    simulated: bool
    licence: str
    fold: str | None
    seed: int
    n_train: int
    n_val: int
    steps: int
    code_version: str


FALLBACK_THRESHOLD = 0.5  # of a class nothing is known of
FEW_POSITIVES = 10  # a threshold from fewer is rough


class ChosenThreshold(NamedTuple):
    """A class's threshold, what it did on the validation cases, and what a person should know of it."""

    threshold: float
    precision: float | None
    recall: float | None
    remark: str


class ThresholdCurve(Config):
    """Precision and recall of one class on the validation cases, by rising threshold and precision."""

    n_positive: int = Field(ge=0, description="validation cases of the class")
    threshold: tuple[float, ...] = ()
    precision: tuple[float, ...] = ()
    recall: tuple[float, ...] = ()

    def choose(self, precision: float) -> ChosenThreshold:
        """The lowest threshold with that precision, else the one with the greatest precision."""
        if not self.threshold:
            return ChosenThreshold(
                FALLBACK_THRESHOLD, None, None, "no validation case of this class; the threshold is a guess"
            )
        good = [i for i, reached in enumerate(self.precision) if reached >= precision]
        best = good[0] if good else self.precision.index(max(self.precision))
        remarks = []
        if not good:
            remarks.append(
                f"precision {precision:g} was not reached on the validation cases; "
                f"the greatest is {self.precision[best]:.2f}"
            )
        if self.n_positive < FEW_POSITIVES:
            remarks.append(f"rough: chosen from {self.n_positive} validation cases of this class")
        return ChosenThreshold(
            self.threshold[best], self.precision[best], self.recall[best], "; ".join(remarks)
        )


class MemberFusion(Config):
    """How the members' probabilities become one answer, instead of by the rule of inference.fusion."""

    weights: tuple[Annotated[float, Field(ge=0.0)], ...] = Field((), description="share of each member")
    matrix: tuple[tuple[float, ...], ...] = Field(
        (),
        description="learnt weights: of each class for each member's log-probabilities of all classes, "
        "of each tag for each member's log-odds of it",
    )
    bias: tuple[float, ...] = Field((), description="learnt, one a class or tag")
    n: int = Field(0, ge=0, description="labelled cases it was learnt from")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.weights) == bool(self.matrix) or len(self.matrix) != len(self.bias):
            raise ValueError("give weights, or matrix and bias of equal length")
        if self.weights and not sum(self.weights):
            raise ValueError("the weights are all zero")
        if len({len(row) for row in self.matrix}) > 1:
            raise ValueError("the rows of matrix have different lengths")
        return self


class Calibration(Config):
    """Temperature and thresholds, fitted on validation data only."""

    temperature: float = Field(1.0, gt=0.0)
    n: int = Field(0, ge=0, description="validation cases it was fitted on; 0 means not fitted")
    ece_before: float | None = Field(None, description="expected calibration error, 10 equal bins")
    ece_after: float | None = None
    thresholds: dict[str, float] = Field(
        default_factory=dict, description="lowest score per class with the wanted precision"
    )
    precision: float | None = Field(None, description="the precision wanted of the thresholds")
    fusion: MemberFusion | None = Field(None, description="null: the rule of inference.fusion")
    curves: dict[str, ThresholdCurve] = Field(
        default_factory=dict, description="per class, to choose thresholds for another precision"
    )
    remarks: dict[str, str] = Field(
        default_factory=dict, description="classes whose threshold is a guess, rough, or less precise"
    )

    def for_precision(self, precision: float) -> dict[str, ChosenThreshold]:
        """Each class's threshold for a precision; empty when no curves are stored."""
        return {name: curve.choose(precision) for name, curve in self.curves.items()}


class Card(Config):
    """The model card."""

    format: Literal[1] = 1
    pipeline: str
    preset: str
    task: str
    target_name: str
    target: TargetSpec
    inputs: str = Field(description="input contract with units, for a person")
    input_shape: tuple[int, ...] = Field(description="one window (C, *S)")
    members: int = Field(ge=1)
    parameters: int = Field(ge=1, description="trainable numbers of one member, the largest")
    training: tuple[TrainingRecord, ...]
    metrics: tuple[MetricRecord, ...] = ()
    licence: str
    citation: str
    intended_use: str
    limits: str
    versions: dict[str, str]

    def to_markdown(self) -> str:
        """The card as the bundle's README."""
        return _MARKDOWN.format(
            title=f"{self.pipeline} ({self.preset})",
            use=self.intended_use,
            limits=self.limits,
            inputs=self.inputs,
            outputs=_describe(self.target_name, self.target),
            members=self.members,
            parameters=f"{self.parameters:,}",
            metrics="\n".join(_metric_row(metric) for metric in self.metrics) or "| not measured | | | | | |",
            training="\n".join(_training_row(record) for record in self.training),
            licence=self.licence,
            citation=self.citation,
            versions=", ".join(f"{name} {version}" for name, version in sorted(self.versions.items())),
        )


def _describe(name: str, target: TargetSpec) -> str:
    if target.is_measured:
        what = "a number" if target.kind == "number" else f"the numbers {', '.join(target.classes)}, each"
        return f"{name}: {what} with its uncertainty{f' in {target.unit}' if target.unit else ''}"
    kind = {"class": "one of", "tags": "any of", "mask": "for each element one of"}[target.kind]
    return f"{name}: {kind} {', '.join(target.classes)}"


def _metric_row(metric: MetricRecord) -> str:
    return (
        f"| {metric.name} | {metric.value:.3f} | [{metric.low:.3f}, {metric.high:.3f}] "
        f"| {metric.dataset} | {metric.split} | {metric.n} |"
    )


def _training_row(record: TrainingRecord) -> str:
    kind = "simulated" if record.simulated else "real"
    fold = record.fold if record.fold is not None else "-"
    return (
        f"| {record.dataset} ({kind}, {record.licence}) | {fold} | {record.n_train} | {record.n_val} "
        f"| {record.seed} | `{record.manifest_digest[:12]}` |"
    )


_MARKDOWN = """# {title}

**Use:** {use}

**Limits:** {limits}

- Input: {inputs}
- Output: {outputs}
- Members: {members}, {parameters} trainable parameters each

## Measured

| metric | value | 95 % interval | dataset | split | cases |
| --- | --- | --- | --- | --- | --- |
{metrics}

## Trained on

| dataset | fold held out | training cases | validation cases | seed | manifest digest |
| --- | --- | --- | --- | --- | --- |
{training}

Licence: {licence}. Cite: {citation}.

Made with {versions}. `tessera bundle verify` replays the golden pair.
"""
