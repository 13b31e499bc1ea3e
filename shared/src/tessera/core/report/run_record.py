"""What a run folder says, as data: nothing is drawn, and nothing that is missing is an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera.core.data.case import Case
from tessera.core.evaluation.measures import FieldTable, read_measures
from tessera.core.report.page import Cell, Table
from tessera.core.report.ranking import Scores, TargetKind, read_scores
from tessera.core.report.stored import (
    Row,
    as_rows,
    number,
    pick,
    read_object,
    read_rows,
    read_text,
)

ROLES = ("train", "val", "test", "unused")
_KIND: dict[str, TargetKind] = {
    "multiclass": "class",
    "multilabel": "tags",
    "regression": "number",
    "segmentation": "mask",
}
# The metric at the top of the page, by preference.
_HEADLINES = ("accuracy", "average_precision_macro", "mae", "dice")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A metric with its 95 % interval; ``None`` for what is not defined, with the reason."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run.

    Args:
        name: Of the folder.
        config: The complete config, nested.
        config_text: The same as written.
        card: Of the bundle.
        manifest: Name or path of the data's manifest, empty when not recorded.
        dataset: What is known of the data: id, licence, digest, ...
        fold: The fold held out.
        training: The card's record of the (first) member.
        summary: Seconds, steps, epochs of the training.
        calibration: Of the bundle.
        environment: Versions and machine.
        simulated: Whether the data were simulated, ``None`` when not recorded.
        n_test: Test cases and their groups.
        metrics: On the test cases.
        headline: The one at the top.
        history: Rows of metrics.csv.
        classes: K names.
        per_class: One row a class.
        confusion: True class and cases by predicted class, ``None`` when there is no such table.
        reliability: Bins, ``None`` when there are none.
        scores: Test predictions, ``None`` when they are not there.
        splits: Rows of splits.csv.
        measures: Tables of the field's own measures.
    """

    name: str
    config: Mapping[str, Any]
    config_text: str | None
    card: Mapping[str, Any]
    manifest: str
    dataset: Mapping[str, Any]
    fold: Any
    training: Mapping[str, Any]
    summary: Mapping[str, Any]
    calibration: Mapping[str, Any]
    environment: Mapping[str, Any]
    simulated: bool | None
    n_test: tuple[Any, Any]
    metrics: tuple[Measured, ...]
    headline: Measured | None
    history: tuple[Row, ...]
    classes: tuple[str, ...]
    per_class: tuple[Mapping[str, Any], ...]
    confusion: Table | None
    reliability: Table | None
    scores: Scores | None
    splits: tuple[Row, ...]
    measures: tuple[FieldTable, ...] = ()


def build_run_record(folder: Path) -> RunRecord:
    """Read everything the report of a run shows."""
    bundle = folder / "bundle"
    card, calibration = read_object(bundle / "card.json"), read_object(bundle / "calibration.json")
    evaluation = read_object(folder / "evaluation.json")
    config = read_object(folder / "config.yaml")
    training = first_record(card.get("training"))
    folds = sorted(folder.glob("fold-*")) if not (folder / "metrics.csv").is_file() else []
    plan = read_object((folds[0] if folds else folder) / "run.json")
    stored = plan.get("dataset")
    dataset = {"id": training.get("dataset"), **training, **(stored if isinstance(stored, Mapping) else {})}
    target = card.get("target") if isinstance(card.get("target"), Mapping) else {}
    kind = (target or {}).get("kind") or _KIND.get(str(evaluation.get("task")))
    scores = read_scores(read_rows(folder / "predictions.csv"), kind)
    per_class = tuple(as_rows(evaluation.get("per_class")))
    classes = tuple(str(row.get("name")) for row in per_class) or tuple(
        map(str, (target or {}).get("classes") or (scores.classes if scores else ()))
    )
    metrics = _measured(evaluation, card)
    return RunRecord(
        name=folder.resolve().name,
        config=config,
        config_text=read_text(folder / "config.yaml"),
        card=card,
        manifest=str(plan.get("data") or dataset.get("id") or ""),
        dataset=dataset,
        fold=f"each of {len(folds)} in turn" if folds else pick(plan, "fold") or training.get("fold"),
        training=training,
        summary=read_object(folder / "summary.json") or read_object(folder / "training.json"),
        calibration=calibration,
        environment=read_object(folder / "environment.json"),
        simulated=pick(dataset, "simulated"),
        n_test=(evaluation.get("n"), evaluation.get("n_groups")),
        metrics=metrics,
        headline=_headline(metrics),
        history=tuple(_history_of_folds(folds) if folds else read_rows(folder / "metrics.csv")),
        classes=classes,
        per_class=per_class,
        confusion=_confusion(evaluation.get("confusion"), classes),
        reliability=_reliability(evaluation.get("reliability")),
        scores=scores,
        splits=tuple(read_rows(folder / "splits.csv")),
        measures=read_measures(folder),
    )


def history_table(record: RunRecord, names: Iterable[str], *, file: str, caption: str) -> Table | None:
    """The steps at which one of these columns of metrics.csv has a value; ``None`` when there are none."""
    header = list(record.history[0]) if record.history else []
    found = [name for name in names if name in header]
    axis = next((name for name in ("step", "epoch", "seconds") if name in header), None)
    if not found or axis is None:
        return None
    rows: list[tuple[Cell, ...]] = []
    for row in record.history:
        values = [number(row.get(name)) for name in found]
        if number(row.get(axis)) is not None and any(value is not None for value in values):
            rows.append((number(row[axis]), *values))
    return Table(name=file, caption=caption, columns=(axis, *found), rows=tuple(rows)) if rows else None


def validation_columns(record: RunRecord) -> list[str]:
    """Columns of metrics.csv that were measured on validation cases, without losses."""
    header = list(record.history[0]) if record.history else []
    return [name for name in header if name.startswith("val_") and not name.startswith("val_loss")]


def loss_columns(record: RunRecord) -> list[str]:
    """Columns of metrics.csv that are losses."""
    header = list(record.history[0]) if record.history else []
    return [name for name in header if name.startswith(("train_loss", "val_loss"))]


def split_table(record: RunRecord) -> Table | None:
    """Cases and groups by role, from splits.csv."""
    if not record.splits:
        return None
    cases = Counter(row.get("role", "") for row in record.splits)
    groups = {
        role: len({row.get("group") for row in record.splits if row.get("role") == role}) for role in cases
    }
    order = [role for role in ROLES if role in cases] + sorted(set(cases) - set(ROLES))
    return Table(
        name="splits",
        caption="Cases and groups by role; no group is in two roles",
        columns=("role", "cases", "groups"),
        rows=tuple((role, cases[role], groups[role]) for role in order),
    )


def class_table(record: RunRecord, cases: Mapping[str, Case]) -> Table | None:
    """Cases of each class by role, when the dataset's cases are at hand."""
    target = str(record.card.get("target_name") or record.config.get("data", {}).get("target") or "")
    counted: Counter[tuple[str, str]] = Counter()
    for row in record.splits:
        case = cases.get(row.get("case", ""))
        value = case.targets.get(target) if case else None
        found = value if isinstance(value, tuple) else (value,)
        counted.update((name, row.get("role", "")) for name in found if isinstance(name, str))
    if not counted:
        return None
    roles = [role for role in ROLES if any(key[1] == role for key in counted)]
    names = list(record.classes) or sorted({key[0] for key in counted})
    return Table(
        name="classes",
        caption="Cases of each class by role",
        columns=("class", *roles),
        rows=tuple((name, *(counted[name, role] for role in roles)) for name in names),
    )


def _history_of_folds(folders: list[Path]) -> list[Row]:
    """The validation loss of every fold, one column each, at the steps of any of them."""
    columns = {f"val_loss {folder.name}": read_rows(folder / "metrics.csv") for folder in folders}
    return [
        {"step": row.get("step", "")}
        | {other: row.get("val_loss", "") if other == name else "" for other in columns}
        for name, rows in columns.items()
        for row in rows
    ]


def first_record(value: Any) -> Mapping[str, Any]:
    """The first of the card's training records; empty when there is none."""
    if isinstance(value, Mapping):
        return value
    rows = as_rows(value)
    return rows[0] if rows else {}


def _measured(evaluation: Mapping[str, Any], card: Mapping[str, Any]) -> tuple[Measured, ...]:
    stored = evaluation.get("metrics")
    if isinstance(stored, Mapping):
        rows = [{"name": name, **entry} for name, entry in stored.items() if isinstance(entry, Mapping)]
    else:
        rows = as_rows(card.get("metrics"))
    return tuple(
        Measured(
            name=str(row.get("name")),
            value=number(row.get("value")),
            low=number(row.get("low")),
            high=number(row.get("high")),
            reason=str(row.get("reason") or ""),
        )
        for row in rows
    )


def _headline(metrics: tuple[Measured, ...]) -> Measured | None:
    by_name = {metric.name: metric for metric in metrics if metric.value is not None}
    return next((by_name[name] for name in _HEADLINES if name in by_name), next(iter(by_name.values()), None))


def _confusion(value: Any, classes: tuple[str, ...]) -> Table | None:
    k = len(classes)
    square = isinstance(value, list) and len(value) == k > 0
    if not square or any(not isinstance(row, list) or len(row) != k for row in value):
        return None
    rows = tuple((name, *row) for name, row in zip(classes, value, strict=True))
    return Table(
        name="confusion",
        caption="Cases by true class (rows) and predicted class (columns)",
        columns=("true \\ predicted", *classes),
        rows=rows,
    )


def _reliability(value: Any) -> Table | None:
    columns = ("low", "high", "n", "confidence", "correct")
    rows = tuple(tuple(number(row.get(name)) for name in columns) for row in as_rows(value))
    if not any(row[2] for row in rows):
        return None
    return Table(
        name="reliability",
        caption="Predictions by confidence, and the share of them that is correct",
        columns=columns,
        rows=rows,
    )
