"""The page of a folder of predictions: from its record to sections."""

from __future__ import annotations

from collections.abc import Mapping

from tessera.core.data.case import Case
from tessera.core.report import figures
from tessera.core.report.case_media import with_masks
from tessera.core.report.case_sections import case_sections, cases_blocks
from tessera.core.report.gallery import gallery_of
from tessera.core.report.media import CaseFigures
from tessera.core.report.page import NOT_RECORDED, Block, Facts, Headline, Note, Page, Section
from tessera.core.report.predictions_record import (
    TIMELINES,
    PredictionsRecord,
    distribution,
)
from tessera.core.report.ranking import least_certain_first
from tessera.core.report.run_page import model_facts
from tessera.core.report.run_record import first_record
from tessera.core.report.stored import number, words

TRAINED_ON_SIMULATION = (
    "The model was trained on simulated data: check its answers on real files before you rely on them."
)


def predictions_page(
    record: PredictionsRecord, *, cases: Mapping[str, Case], drawing: CaseFigures | None
) -> Page:
    """Everything a report of predictions shows."""
    training = first_record(record.card.get("training"))
    source = record.card or record.run
    model = f"{words(source.get('pipeline'))} · {words(source.get('preset'))}"
    return Page(
        title=record.name,
        subtitle=f"Predictions of {model}",
        banner=TRAINED_ON_SIMULATION if training.get("simulated") else "",
        headline=_headline(record),
        facts=_facts(record),
        sections=(
            Section("attention", "Failed and suspicious", _attention(record)),
            *_found(record, cases, drawing),
            Section("stages", "Where the time went", _stages(record)),
            Section("model", "Model", [model_facts(record.card)]),
            Section("run", "This prediction", _run(record)),
        ),
    )


def _found(
    record: PredictionsRecord, cases: Mapping[str, Case], drawing: CaseFigures | None
) -> tuple[Section, ...]:
    """What the model answered; masks have neither probabilities nor windows with a class each."""
    if record.listed is not None:
        drawing = with_masks(drawing, record.card, record.files)
        blocks = cases_blocks(record.listed, cases, drawing)
        return (Section("cases", "Suspicious cases first", blocks),)
    return (
        Section("distribution", "What was found", _distribution(record)),
        *_timelines(record),
        *_cases(record, cases, drawing),
    )


def _headline(record: PredictionsRecord) -> Headline | None:
    total = sum(record.statuses.values())
    if not total:
        return None
    good = record.statuses.get("ok", 0) + record.statuses.get("suspicious", 0)
    others = [f"{n} {status}" for status, n in sorted(record.statuses.items()) if status != "ok"]
    return Headline(
        name="cases predicted",
        value=f"{good:,} of {total:,}".replace(",", "\u202f"),
        detail=", ".join(others) or "nothing failed",
    )


def _facts(record: PredictionsRecord) -> Facts:
    training = first_record(record.card.get("training"))
    statuses = [f"{n} {status}" for status, n in sorted(record.statuses.items())]
    return Facts(
        items=(
            ("Cases", ", ".join(statuses) or NOT_RECORDED),
            ("Trained on", words(training.get("dataset"))),
            ("Input", words(record.card.get("inputs"))),
        )
    )


def _attention(record: PredictionsRecord) -> list[Block]:
    if record.attention.rows:
        return [record.attention]
    if not record.statuses:
        return [Note(f"Status of the cases: {NOT_RECORDED} (no ledger.sqlite, no predictions.csv).")]
    return [Note("No case failed and none looks suspicious.")]


def _distribution(record: PredictionsRecord) -> list[Block]:
    if record.scores is None:
        return [Note(f"Predictions: {NOT_RECORDED} (predictions.csv is missing or empty).")]
    data = distribution(record.scores)
    return [figures.draw_bars(data, title=data.caption, x_label="cases")]


def _timelines(record: PredictionsRecord) -> tuple[Section, ...]:
    """Of cases that are long; a field whose cases are never cut into many windows has no such section."""
    if not record.timelines:
        return ()
    note = (
        f"The most probable class of each window; a stronger colour is a higher probability. "
        f"Shown: {len(record.timelines)}, at most {TIMELINES}; all windows are in windows.csv."
    )
    drawn = [
        figures.draw_timeline(data, title=name, unit=record.position_unit)
        for name, data in record.timelines.items()
    ]
    return (Section("timelines", "Along the longest cases", [Note(note), *drawn]),)


def _cases(
    record: PredictionsRecord, cases: Mapping[str, Case], drawing: CaseFigures | None
) -> tuple[Section, ...]:
    title = "Least certain cases first"
    if record.scores is None:
        return (
            Section(
                "cases", title, [Note(f"Predictions: {NOT_RECORDED} (predictions.csv is missing or empty).")]
            ),
        )
    gallery = gallery_of(record.scores, cases, drawing, by="score", files=record.files)
    return case_sections(least_certain_first(record.scores), cases, drawing, title=title, gallery=gallery)


def _stages(record: PredictionsRecord) -> list[Block]:
    if record.stages is None:
        return [Note(f"Seconds by stage: {NOT_RECORDED} (neither run.json nor the ledger says).")]
    return [figures.draw_bars(record.stages, title="Seconds by stage", x_label="time (s)")]


def _run(record: PredictionsRecord) -> list[Block]:
    if not record.run:
        return [Note(f"Settings of this prediction: {NOT_RECORDED} (run.json is missing or empty).")]
    shown = (
        ("Input", "inputs"),
        ("Model", "bundle"),
        ("Model digest (SHA-256)", "bundle_digest"),
        ("Pipeline", "pipeline"),
        ("Preset", "preset"),
    )
    items = [(label, words(record.run.get(name))) for label, name in shown]
    peak = number(record.run.get("peak_bytes"))
    items.append(("Most memory", f"{peak / 2**20:.0f} MiB" if peak else NOT_RECORDED))
    return [Facts(items=tuple(items))]
