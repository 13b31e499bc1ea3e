"""What a folder of predictions says, as data: nothing is drawn, and nothing that is missing is an error."""

from __future__ import annotations

import csv
import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tessera.core.data.case import Case
from tessera.core.inference.ledger import Identity, Ledger, LedgerError
from tessera.core.inference.ledger import Row as LedgerRow
from tessera.core.inference.tables import remarks
from tessera.core.report.page import Cell, Table
from tessera.core.report.ranking import Scores, TargetKind, case_id, read_scores
from tessera.core.report.stored import Row, number, pick, read_object, read_rows

TIMELINES = 12  # cases with a timeline; the longest are shown
TIMELINE_WINDOWS = 8  # a case with fewer windows needs no timeline
TIMELINE_BARS = 600  # finer than this a screen cannot show
LISTED_COLUMNS = 10  # of a summary that the page shows
_LOOKED_AT = {"suspicious": 0, "ok": 1}  # then everything else
_WITHOUT_RESULT = ("failed", "skipped")


@dataclass(frozen=True, kw_only=True)
class PredictionsRecord:
    """A folder of predictions.

    Args:
        name: Of the folder.
        run: What run.json says.
        card: Of the bundle, empty when it is gone.
        config: The bundle's config, empty when it is gone.
        statuses: Cases by status.
        attention: One row a case that failed or is suspicious, with its cause.
        scores: What was predicted, ``None`` when there is nothing.
        listed: One row a case, where predictions are masks; else ``None``.
        files: What was written for each case, by its id.
        timelines: Tables start, stop, class, probability, by case id.
        position_unit: Of start and stop.
        stages: Seconds by stage.
        cases: By id, from the ledger.
    """

    name: str
    run: Mapping[str, Any]
    card: Mapping[str, Any]
    config: Mapping[str, Any]
    statuses: Mapping[str, int]
    attention: Table
    scores: Scores | None
    listed: Table | None
    files: Mapping[str, tuple[Path, ...]]
    timelines: Mapping[str, Table]
    position_unit: str
    stages: Table | None
    cases: Mapping[str, Case]


def build_predictions_record(folder: Path) -> PredictionsRecord:
    """Read everything the report of predictions shows."""
    run = read_object(folder / "run.json")
    ledger, identity = _ledger(folder)
    bundle = pick(run, "bundle") or (identity.bundle_path if identity else "")
    bundle_folder = Path(bundle) if isinstance(bundle, str) and bundle else folder / "bundle"
    card = read_object(bundle_folder / "card.json")
    target = card.get("target")
    kind = target.get("kind") if isinstance(target, Mapping) else None
    predictions = read_rows(folder / "predictions.csv")
    failures, flagged = read_rows(folder / "failures.csv"), read_rows(folder / "remarks.csv")
    timelines, unit = _timelines(folder / "windows.csv", kind)
    return PredictionsRecord(
        name=folder.resolve().name,
        run=run,
        card=card,
        config=read_object(bundle_folder / "members" / "0" / "config.yaml"),
        statuses=_statuses(ledger, predictions, failures, flagged),
        attention=_attention(ledger, failures, flagged),
        scores=None if kind == "mask" else read_scores(predictions, kind),  # masks have no probabilities
        listed=_listed(ledger, read_rows(folder / "summary.csv")) if kind == "mask" else None,
        files={row.case.id: tuple(folder / name for name in row.outputs) for row in ledger if row.done},
        timelines=timelines,
        position_unit=unit,
        stages=_stages(run, ledger),
        cases={row.case.id: row.case for row in ledger},
    )


def distribution(scores: Scores) -> Table:
    """How often each class was predicted, or how many values lie in each of 20 intervals."""
    if scores.kind == "numbers":
        return _distributions(scores)
    if scores.kind == "number":
        values = scores.p[:, 0]
        counts, edges = np.histogram(values, bins=20 if len(values) else 1)
        names = [f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(edges)]
        pairs = list(zip(names, counts.tolist(), strict=True))
    else:
        if scores.kind == "class":
            found = Counter(scores.top())
        else:
            hits = scores.tagged().sum(axis=0).tolist()
            found = Counter(dict(zip(scores.classes, hits, strict=True)))
        pairs = sorted(((name, found[name]) for name in scores.classes), key=lambda pair: (-pair[1], pair[0]))
    first = "interval" if scores.kind == "number" else "class"
    return Table(
        name="distribution",
        caption="Cases by predicted value" if scores.kind == "number" else "Cases by predicted class",
        columns=(first, "cases"),
        rows=tuple(pairs),
    )


def _distributions(scores: Scores) -> Table:
    """Of each number the least, the greatest and what lies between."""
    shares = (0, 25, 50, 75, 100)
    means = scores.p[:, : len(scores.classes)]
    found = np.percentile(means, shares, axis=0).T.tolist() if len(means) else []
    return Table(
        name="distribution",
        caption="Predicted values",
        columns=("number", "least", "lower quarter", "median", "upper quarter", "greatest"),
        rows=tuple((name, *row) for name, row in zip(scores.classes, found, strict=False)),
    )


def _ledger(folder: Path) -> tuple[list[LedgerRow], Identity | None]:
    """The ledger's rows; none when there is no ledger or another process is writing to it."""
    try:
        with Ledger.read(folder) as ledger:
            return list(ledger.rows(full=False)), ledger.identity()
    except (LedgerError, sqlite3.Error, OSError):
        return [], None


def _statuses(
    ledger: list[LedgerRow], predictions: list[Row], failures: list[Row], flagged: list[Row]
) -> Mapping[str, int]:
    """Cases by status: from the ledger, else as far as the tables tell."""
    if ledger:
        return Counter(row.status for row in ledger)
    names = {case_id(row) for row in flagged}
    found = Counter("suspicious" if case_id(row) in names else "ok" for row in predictions)
    found.update(row.get("status") or "failed" for row in failures)
    return found


def _attention(ledger: list[LedgerRow], failures: list[Row], flagged: list[Row]) -> Table:
    """Failed cases first, then those with a remark."""
    rows: list[tuple[str, str, str]] = []
    if ledger:
        rows += [(row.case.id, row.status, row.error) for row in ledger if row.status in _WITHOUT_RESULT]
        rows += [
            (row.case.id, row.status, ", ".join(remarks(row))) for row in ledger if row.done and remarks(row)
        ]
    else:
        rows += [(case_id(row), row.get("status", "failed"), row.get("error", "")) for row in failures]
        rows += [(case_id(row), "suspicious", row.get("remark", "")) for row in flagged]
    rows.sort(key=lambda row: (row[1] not in _WITHOUT_RESULT, row[1], row[0]))
    return Table(
        name="attention",
        caption="Cases that failed or look suspicious, and why",
        columns=("case", "status", "cause"),
        rows=tuple(rows),
    )


def _listed(ledger: list[LedgerRow], summary: list[Row]) -> Table:
    """One row a case: the first columns of the writer's summary, else what the ledger knows."""
    if summary:
        columns = tuple(summary[0])[:LISTED_COLUMNS]
        rows = [tuple(_cell(row[name]) for name in columns) for row in summary]
        left_out = len(summary[0]) - len(columns)
        note = f"{left_out} more columns are in summary.csv." if left_out else ""
    else:
        columns, note = ("case_id", "status", "flags"), ""
        rows = [(row.case.id, row.status, ", ".join(remarks(row))) for row in ledger]
    place = columns.index("status") if "status" in columns else None
    rows.sort(key=lambda row: (_LOOKED_AT.get(str(row[place]), 2) if place is not None else 0, str(row[0])))
    return Table(
        name="listed", caption="Cases, suspicious ones first", columns=columns, rows=tuple(rows), note=note
    )


def _cell(text: str) -> Cell:
    value = number(text)
    if value is None:
        return text
    return int(value) if value.is_integer() and "." not in text else value


def _stages(run: Mapping[str, Any], ledger: list[LedgerRow]) -> Table | None:
    """Seconds by stage as run.json says, else summed over the cases of the ledger."""
    stored = pick(run, "stages", "seconds")
    pairs: list[tuple[str, float | None]] = []
    if isinstance(stored, Mapping):
        pairs = [(str(name), number(value)) for name, value in stored.items()]
    elif isinstance(stored, list):
        entries = [list(row.values()) if isinstance(row, Mapping) else row for row in stored]
        pairs = [(str(row[0]), number(row[1])) for row in entries if isinstance(row, list) and len(row) > 1]
    else:
        summed: Counter[str] = Counter()
        for row in ledger:
            summed.update(row.seconds)  # a counter adds up floats as well
        pairs = list(summed.items())
    known = tuple((name, seconds) for name, seconds in pairs if seconds is not None)
    if not known:
        return None
    return Table(name="stages", caption="Seconds by stage", columns=("stage", "seconds"), rows=known)


def _timelines(path: Path, kind: TargetKind | None) -> tuple[dict[str, Table], str]:
    """Timelines of the cases with most windows; the table is read twice and never held whole."""
    header, rows = _open_rows(path)
    columns = [i for i, name in enumerate(header) if name.startswith("p_")]
    start = next((name for name in ("start_s", "start", "start_sample") if name in header), None)
    key = next((name for name in ("case_id", "case") if name in header), None)
    if start is None or key is None or not columns or kind in ("number", "numbers"):
        return {}, ""
    stops = (start.replace("start", word) for word in ("end", "stop"))
    stop = next((name for name in stops if name in header), None)
    if stop is None:
        return {}, ""
    place, first, last = header.index(key), header.index(start), header.index(stop)
    sizes = Counter(row[place] for row in rows)
    long = [
        name
        for name, n in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
        if n >= TIMELINE_WINDOWS
    ]
    spans: dict[str, list[tuple[float, float, str, float]]] = {name: [] for name in long[:TIMELINES]}
    for row in _open_rows(path)[1]:
        ends = number(row[first]), number(row[last])
        values = [number(row[i]) for i in columns]
        if row[place] in spans and ends[0] is not None and ends[1] is not None and None not in values:
            best = max(range(len(columns)), key=lambda k: values[k] or 0.0)
            name = header[columns[best]].removeprefix("p_")
            spans[row[place]].append((ends[0], ends[1], name, values[best] or 0.0))
    unit = {"start_s": "s", "start_sample": "samples"}.get(start, "")
    return {
        name: _timeline(found, file=f"timeline_{i}", case=name)
        for i, (name, found) in enumerate(spans.items(), start=1)
        if found
    }, unit


def _open_rows(path: Path) -> tuple[list[str], Iterator[list[str]]]:
    if not path.is_file():
        return [], iter(())

    def rows() -> Iterator[list[str]]:
        with path.open(encoding="utf-8", errors="replace", newline="") as stream:
            reader = csv.reader(stream)
            next(reader, None)
            yield from (row for row in reader if len(row) == len(header))

    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        header = next(csv.reader(stream), [])
    return header, rows()


def _timeline(spans: list[tuple[float, float, str, float]], *, file: str, case: str) -> Table:
    """One bar a window; of very many windows, neighbours share a bar with their most frequent class."""
    spans.sort(key=lambda span: span[:2])
    together = -(-len(spans) // TIMELINE_BARS)
    rows: list[tuple[Cell, ...]] = []
    for i in range(0, len(spans), together):
        part = spans[i : i + together]
        names = Counter(span[2] for span in part)
        name = max(names, key=lambda each: (names[each], each))
        certain = [span[3] for span in part if span[2] == name]
        rows.append((part[0][0], part[-1][1], name, sum(certain) / len(certain)))
    note = f"{together} neighbouring windows share a bar." if together > 1 else ""
    return Table(
        name=file,
        caption=f"Most probable class along {case}",
        columns=("start", "stop", "class", "probability"),
        rows=tuple(rows),
        note=note,
    )
