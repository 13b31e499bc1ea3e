"""The page of a run: from its record to sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tessera.core.data.case import Case
from tessera.core.data.targets import class_columns
from tessera.core.evaluation.measures import FieldTable
from tessera.core.report import figures
from tessera.core.report.case_media import with_masks
from tessera.core.report.case_sections import case_sections
from tessera.core.report.gallery import gallery_of
from tessera.core.report.media import CaseFigures
from tessera.core.report.page import (
    NOT_RECORDED,
    Block,
    Cell,
    Code,
    Facts,
    Headline,
    Note,
    Page,
    Section,
    Table,
)
from tessera.core.report.ranking import Scores, worst_first
from tessera.core.report.run_record import (
    Measured,
    RunRecord,
    class_table,
    history_table,
    loss_columns,
    split_table,
    validation_columns,
)
from tessera.core.report.stored import count, number, pick, show_number, words

SIMULATED = "Simulated data: these numbers say nothing about real measurements."
_SKIPPED = ("name", "n_positive")
_ANSWERS = {"number": "Predicted and true", "numbers": "Predicted and true", "mask": "Each class"}
_MOST_LINES = 10  # in one drawing; of more classes only their mean is drawn


def run_page(record: RunRecord, *, cases: Mapping[str, Case], drawing: CaseFigures | None) -> Page:
    """Everything a run's report shows."""
    kind = record.scores.kind if record.scores else "class"
    return Page(
        title=f"{words(record.config.get('pipeline'))} · {words(record.config.get('preset'))}",
        subtitle=f"Training run {record.name}",
        banner=SIMULATED if record.simulated else "",
        headline=_headline(record),
        facts=_facts(record),
        sections=(
            Section("measured", "Measured on the test cases", _measured(record)),
            Section("curves", "Training curves", _curves(record)),
            Section("answers", _ANSWERS.get(kind, "Which classes are confused"), _classes(record)),
            *_trust(record, kind),
            *_cases(record, cases, drawing),
            Section("data", "Data", _data(record, cases)),
            Section("model", "Model", _model(record)),
            Section("environment", "Environment", _environment(record)),
            Section("config", "Complete configuration", _config(record)),
        ),
    )


def _trust(record: RunRecord, kind: str) -> tuple[Section, ...]:
    if kind in ("number", "numbers"):
        return (Section("calibration", "Do the uncertainties mean what they say", _coverage(record)),)
    if kind == "mask":
        return ()
    return (Section("calibration", "Do the probabilities mean what they say", _calibration(record)),)


def metrics_table(metrics: tuple[Measured, ...]) -> Table:
    """Metrics with their intervals, and a remark where one is undefined."""
    remarked = any(metric.reason for metric in metrics)
    columns = ("metric", "value", "low", "high", "remark")
    rows: list[tuple[Cell, ...]] = [
        (readable(metric.name), metric.value, metric.low, metric.high, metric.reason) for metric in metrics
    ]
    return Table(
        name="metrics",
        caption="Metrics with 95 % intervals",
        columns=columns if remarked else columns[:-1],
        rows=tuple(row if remarked else row[:-1] for row in rows),
        note="Intervals: bootstrap over groups, so cases of one group count as one.",
    )


def readable(name: str) -> str:
    """A metric's name for a person."""
    short = {"ece": "expected calibration error", "mae": "mean absolute error", "r2": "R²"}
    short |= {"f1": "F1", "auroc": "AUROC", "lr": "learning rate"}
    short |= {"rmse": "root mean squared error", "macro_f1": "macro F1", "brier": "Brier score"}
    short |= {"auroc_macro": "AUROC, macro", "auroc_micro": "AUROC, micro"}
    short |= {"average_precision_macro": "average precision, macro", "gaussian_nll": "Gaussian NLL"}
    short |= {"coverage_68": "coverage of ± 1 sd", "coverage_95": "coverage of ± 1.96 sd"}
    return short.get(name, name.replace("_", " "))


def _headline(record: RunRecord) -> Headline | None:
    metric = record.headline
    if metric is None or metric.value is None:
        return None
    n, groups = (words(value) for value in record.n_test)
    bounds = [metric.low, metric.high]
    interval = f"95 % interval {NOT_RECORDED}"
    if metric.low is not None and metric.high is not None:
        interval = f"95 % interval {show_number(metric.low)} to {show_number(metric.high)}"
    on_scale = all(value is not None and 0 <= value <= 1 for value in (metric.value, *bounds))
    return Headline(
        name=readable(metric.name),
        value=show_number(metric.value),
        detail=f"{interval}; {n} test cases in {groups} groups",
        low=metric.low if on_scale else None,
        high=metric.high if on_scale else None,
        point=metric.value if on_scale else None,
    )


def _facts(record: RunRecord) -> Facts:
    sizes = split_table(record)
    by_role = {str(row[0]): row[1] for row in sizes.rows} if sizes else {}
    n_train = pick(by_role, "train") or record.training.get("n_train")
    n_val = pick(by_role, "val") or record.training.get("n_val")
    n_test = pick(by_role, "test") or record.n_test[0]
    return Facts(
        items=(
            ("Dataset", words(record.dataset.get("id"))),
            ("Fold held out", words(record.fold)),
            ("Cases (train / validation / test)", f"{words(n_train)} / {words(n_val)} / {words(n_test)}"),
            ("Seed", words(record.config.get("seed"))),
            ("Steps", count(pick(record.summary, "steps") or record.training.get("steps"))),
            ("Seconds of training", words(record.summary.get("seconds"))),
            ("Parameters", count(record.card.get("parameters"))),
        )
    )


def _measured(record: RunRecord) -> list[Block]:
    if not record.metrics:
        return [Note(f"Metrics: {NOT_RECORDED} (evaluation.json is missing or empty).")]
    return [metrics_table(record.metrics), *(_field_table(i, one) for i, one in enumerate(record.measures))]


def _field_table(place: int, table: FieldTable) -> Table:
    return Table(
        name=f"measures_{place + 1}",
        caption=table.title,
        columns=table.columns,
        rows=table.rows,
        note=table.note,
    )


def _curves(record: RunRecord) -> list[Block]:
    blocks: list[Block] = []
    loss = history_table(record, loss_columns(record), file="loss", caption="Loss")
    if loss:
        mark = "val_loss" if "val_loss" in loss.columns else None
        blocks.append(figures.draw_lines(loss, title="Loss", y_label="loss", mark_lowest=mark))
    shares, others = _by_range(record)
    if shares:
        data = history_table(record, shares, file="validation", caption="Metrics on the validation cases")
        if data:
            blocks.append(figures.draw_lines(data, title="Validation", y_label="value, 0 to 1"))
    for name in others:
        data = history_table(record, (name,), file=f"validation_{len(blocks)}", caption=readable(name))
        if data:
            blocks.append(figures.draw_lines(data, title=readable(name), y_label=readable(name)))
    rate = history_table(record, ("lr",), file="learning_rate", caption="Learning rate")
    if rate:
        blocks.append(figures.draw_lines(rate, title="Learning rate", y_label="learning rate"))
    return blocks or [Note(f"Training curves: {NOT_RECORDED} (metrics.csv is missing or empty).")]


def _by_range(record: RunRecord) -> tuple[list[str], list[str]]:
    """Validation columns that stay within 0 and 1, and the others."""
    names = validation_columns(record)
    values = {name: [number(row.get(name)) for row in record.history] for name in names}
    shares = [name for name in names if all(v is None or 0 <= v <= 1 for v in values[name])]
    others = [name for name in names if name not in shares]
    if len(shares) > _MOST_LINES:
        shares = [name for name in shares if not name.startswith("val_dice_")]
    return shares, others


def _classes(record: RunRecord) -> list[Block]:
    blocks: list[Block] = []
    if record.confusion:
        blocks.append(figures.draw_confusion(record.confusion))
    if record.per_class:
        names = [name for name in record.per_class[0] if name not in _SKIPPED]
        rows: list[tuple[Cell, ...]] = [
            (str(row.get("name")), row.get("n_positive"), *(number(row.get(name)) for name in names))
            for row in record.per_class
        ]
        blocks.append(
            Table(
                name="per_class",
                caption="Each class on the test cases",
                columns=("class", "cases", *(readable(name) for name in names)),
                rows=tuple(rows),
                bars=frozenset(readable(name) for name in names),
            )
        )
    if record.scores and record.scores.kind == "number":
        blocks.append(_agreement(record, record.scores))
    if record.scores and record.scores.kind == "numbers":
        blocks += [_agreement(record, record.scores.of(name), name) for name in record.scores.classes]
    if record.scores and record.scores.kind == "mask":
        blocks += _mask_classes(record)
    return blocks or [Note(f"Per-class results: {NOT_RECORDED}.")]


def _mask_classes(record: RunRecord) -> list[Block]:
    """One row a class and measure, from metrics whose names end in the class."""
    columns = class_columns(record.classes)
    rows: list[tuple[Cell, ...]] = []
    for metric in record.metrics:
        fitting = [place for place, column in enumerate(columns) if metric.name.endswith(f"_{column}")]
        if not fitting:
            continue
        place = max(fitting, key=lambda place: len(columns[place]))  # left_lung, not lung
        measure = readable(metric.name.removesuffix(f"_{columns[place]}"))
        rows.append((record.classes[place], measure, metric.value, metric.low, metric.high))
    rows.sort(key=lambda row: record.classes.index(str(row[0])))
    if not rows:
        return []
    return [
        Table(
            name="per_class",
            caption="Each class on the test cases, with 95 % intervals",
            columns=("class", "measure", "value", "low", "high"),
            rows=tuple(rows),
            note="Means over the cases where the measure is defined.",
        )
    ]


def _agreement(record: RunRecord, scores: Scores, name: str = "") -> Block:
    rows = tuple(
        (number(row.get("target")), float(mean), number(std))
        for row, (mean, std) in zip(scores.rows, scores.p, strict=True)
    )
    data = Table(
        name=f"agreement_{name}" if name else "agreement",
        caption=f"True and predicted {name or 'values'}",
        columns=("true", "predicted", "standard deviation"),
        rows=rows,
    )
    target = record.card.get("target")
    unit = target.get("unit") if isinstance(target, Mapping) else ""
    return figures.draw_agreement(data, unit=str(unit or ""), name=name)


def _calibration(record: RunRecord) -> list[Block]:
    blocks: list[Block] = []
    if record.reliability:
        blocks.append(figures.draw_reliability(record.reliability))
    stored = record.calibration
    on_test = next((metric.value for metric in record.metrics if metric.name == "ece"), None)
    blocks.append(
        Facts(
            title="Expected calibration error (0 is perfect)",
            items=(
                ("Test cases", words(on_test)),
                ("Validation cases, before the temperature", words(stored.get("ece_before"))),
                ("Validation cases, after the temperature", words(stored.get("ece_after"))),
                ("Temperature", words(stored.get("temperature"))),
                ("Validation cases it was fitted on", words(stored.get("n"))),
            ),
        )
    )
    return blocks


def _coverage(record: RunRecord) -> list[Block]:
    """How often the truth lies within the stated uncertainty."""
    by_name = {metric.name: words(metric.value) for metric in record.metrics}
    several = record.scores.classes if record.scores and record.scores.kind == "numbers" else ()
    return [
        Facts(
            title=f"Share of test cases whose true {name or 'value'} is inside",
            items=tuple(
                (meaning, by_name.get(f"{metric}_{name}" if name else metric, NOT_RECORDED))
                for meaning, metric in (
                    ("± 1 standard deviation (0.683 is perfect)", "coverage_68"),
                    ("± 1.96 standard deviations (0.95 is perfect)", "coverage_95"),
                )
            ),
        )
        for name in several or ("",)
    ]


def _cases(record: RunRecord, cases: Mapping[str, Case], drawing: CaseFigures | None) -> tuple[Section, ...]:
    title = "Worst cases first"
    if record.scores is None:
        return (
            Section(
                "cases",
                title,
                [Note(f"Test predictions: {NOT_RECORDED} (predictions.csv is missing or empty).")],
            ),
        )
    gallery = gallery_of(record.scores, cases, drawing, by="disagreement")
    table = worst_first(record.scores)
    return case_sections(table, cases, with_masks(drawing, record.card), title=title, gallery=gallery)


def _data(record: RunRecord, cases: Mapping[str, Case]) -> list[Block]:
    dataset = record.dataset
    simulated = NOT_RECORDED if record.simulated is None else "simulated" if record.simulated else "real"
    blocks: list[Block] = [
        Facts(
            items=(
                ("Dataset", words(dataset.get("id"))),
                ("Title", words(dataset.get("title"))),
                ("Kind", simulated),
                ("Licence of the data", words(dataset.get("licence"))),
                ("Source", words(dataset.get("source"))),
                ("Cite", words(dataset.get("citation"))),
                ("Manifest digest (SHA-256)", words(dataset.get("digest"))),
                ("Target", words(record.card.get("target_name"))),
                (
                    "Classes",
                    f"{len(record.classes)}: {', '.join(record.classes)}" if record.classes else NOT_RECORDED,
                ),
            )
        )
    ]
    blocks += [table for table in (split_table(record), class_table(record, cases)) if table]
    if not record.splits:
        blocks.append(Note(f"Splits: {NOT_RECORDED} (splits.csv is missing or empty)."))
    return blocks


def _model(record: RunRecord) -> list[Block]:
    return [model_facts(record.card)]


def model_facts(card: Mapping[str, Any]) -> Facts:
    """What the bundle's card says."""
    names = (
        ("Input", "inputs"),
        ("Networks", "members"),
        ("Intended use", "intended_use"),
        ("Limits", "limits"),
        ("Licence", "licence"),
        ("Cite", "citation"),
    )
    return Facts(items=tuple((label, words(card.get(name))) for label, name in names))


def _environment(record: RunRecord) -> list[Block]:
    if not record.environment:
        return [Note(f"Environment: {NOT_RECORDED} (environment.json is missing or empty).")]
    return [Facts(items=tuple((str(name), words(value)) for name, value in record.environment.items()))]


def _config(record: RunRecord) -> list[Block]:
    if record.config_text is None:
        return [Note(f"Configuration: {NOT_RECORDED} (config.yaml is missing).")]
    return [Code("config.yaml", record.config_text)]
