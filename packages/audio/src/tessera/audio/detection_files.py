"""Detections on disk: tables and label tracks of one recording, and the tables over all recordings.

``detections.csv``, recordings sorted by case_id, detections by time, at least one row a recording:
    case_id; status (ok, suspicious, empty, failed, skipped, pending) and reason (why, or what to look at);
    label, score (the highest of its windows, after smoothing); start_sample, end_sample (integers on the
    recording's own grid, the end exclusive); sample_rate_hz; start_s, end_s (nine decimals).
A recording that failed, or in which nothing was found, has one row without label, score and times.

``thresholds.csv``, one row a class: label, threshold, release (where a detection ends), precision and recall
on the bundle's validation cases, remark.

``raven/<recording>.selections.txt`` is a selection table of one recording, ``detections.selections.txt``
one of all recordings with a result, in the order of detections.csv. ``audacity/<recording>.txt`` is a label
track.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from io import StringIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from tessera.audio.audacity import Label, track_lines
from tessera.audio.detections import Detection, DetectionRule, detect
from tessera.audio.geometry import TimeAxis
from tessera.audio.output_config import SoundOutput
from tessera.audio.raven import Selection, header_line, selection_line, table_lines
from tessera.audio.seconds import seconds_text
from tessera.core.bundle.card import Calibration
from tessera.core.data.atomic import replacing
from tessera.core.data.case import Case
from tessera.core.data.targets import TargetSpec
from tessera.core.inference.interfaces import CaseResult, Outcome

ROWS = "detections"  # the writer's name for detections in the ledger
TABLE, THRESHOLDS, SELECTIONS = "detections.csv", "thresholds.csv", "detections.selections.txt"
ANNOTATIONS = ("Label", "Score")  # columns of Raven's tables
LINE_END = "\r\n"
COLUMNS = (
    "case_id", "status", "reason", "label", "score", "start_sample", "end_sample", "sample_rate_hz",
    "start_s", "end_s",
)  # fmt: skip

if TYPE_CHECKING:
    from _csv import Writer as TableWriter

Row = Mapping[str, Any]


class DetectionFiles:
    """Finds the detections of each recording and writes them in the formats chosen.

    Args:
        target: The classes of the scores.
        options: What was chosen.
        calibration: The bundle's thresholds.
        highest_hz: The highest frequency the network hears.
    """

    def __init__(
        self, target: TargetSpec, options: SoundOutput, calibration: Calibration, *, highest_hz: float
    ) -> None:
        self.options = options
        self.highest_hz = highest_hz
        self.chosen = options.thresholds(target.classes, calibration)
        self.classes = options.chosen_classes(target.classes)
        self._places = [target.classes.index(name) for name in self.classes]
        self._on = np.array([self.chosen[name].threshold for name in self.classes])

    def find(self, result: CaseResult, axis: TimeAxis) -> list[Row]:
        """A recording's length and its detections, as rows for the ledger, the length first."""
        options, rate = self.options, Fraction(axis.rate_hz)
        rule = DetectionRule(
            on=self._on,
            off=self._on * options.release,
            smooth=options.smooth,
            smoothing=options.smoothing,
            min_samples=math.ceil(Fraction(str(options.min_duration_s)) * rate),
            max_gap_samples=math.floor(Fraction(str(options.max_gap_s)) * rate),
        )
        first = round(axis.origin)  # where a part of a recording begins
        windows = (
            (first + region.start[0], first + region.stop[0], scores[self._places])
            for region, scores in zip(result.regions, result.scores, strict=True)
        )
        return [
            {"n_samples": axis.n_samples, "rate_hz": axis.rate_hz},
            *map(self._row, detect(rule, windows)),
        ]

    def write(self, case: Case, rows: Sequence[Row], name: str, out: Path) -> tuple[str, ...]:
        """The files of one recording; ``name`` is its name on any system."""
        files = []
        if "raven" in self.options.formats:
            files.append(f"raven/{name}.selections.txt")
            with _text(out / files[-1]) as text:
                text.writelines(table_lines(self._selections(case, rows), ANNOTATIONS))
        if "audacity" in self.options.formats:
            files.append(f"audacity/{name}.txt")
            with _text(out / files[-1]) as text:
                text.writelines(track_lines(self._labels(rows)))
        return tuple(files)

    def collect(self, outcomes: Iterable[Outcome], out: Path) -> tuple[str, ...]:
        """The tables over all recordings, in one pass."""
        tables = {"csv": TABLE, "raven": SELECTIONS}
        names = tuple(name for kind, name in tables.items() if kind in self.options.formats)
        for name in set(tables.values()) - set(names):
            (out / name).unlink(missing_ok=True)  # of an earlier run with other options
        with ExitStack() as stack:
            texts = {name: stack.enter_context(_text(out / name)) for name in (*names, THRESHOLDS)}
            self._write_thresholds(texts[THRESHOLDS])
            _csv(texts.get(TABLE, StringIO())).writerow(COLUMNS)
            texts.get(SELECTIONS, StringIO()).write(header_line(ANNOTATIONS))
            numbers, before_s = count(1), Fraction(0)
            for outcome in outcomes:
                rows = outcome.written.rows.get(ROWS, ())
                if TABLE in texts:
                    _csv(texts[TABLE]).writerows(_lines(outcome, rows))
                if SELECTIONS in texts:
                    for one in self._selections(outcome.case, rows, before_s):
                        texts[SELECTIONS].write(selection_line(next(numbers), one, ANNOTATIONS))
                before_s += _duration_s(rows)
        return (*names, THRESHOLDS)

    def _row(self, found: Detection) -> Row:
        return {
            "label": self.classes[found.label],
            "score": found.score,
            "start": found.start_sample,
            "stop": found.stop_sample,
        }

    def _high_hz(self, rows: Sequence[Row]) -> float:
        """The highest frequency that the network heard of the recording."""
        return min(self.highest_hz, rows[0]["rate_hz"] / 2)

    def _selections(
        self, case: Case, rows: Sequence[Row], before_s: Fraction = Fraction(0)
    ) -> Iterator[Selection]:
        """A recording's detections; the recordings before it last ``before_s``."""
        for row, start_s, stop_s in _timed(rows):
            yield Selection(
                begin_s=before_s + start_s,
                end_s=before_s + stop_s,
                path=_path(case),
                offset_s=start_s,
                annotations={"Label": row["label"], "Score": f"{row['score']:.6f}"},
                low_hz=0.0,
                high_hz=self._high_hz(rows),
            )

    def _labels(self, rows: Sequence[Row]) -> Iterator[Label]:
        for row, start_s, stop_s in _timed(rows):
            high_hz = self._high_hz(rows)
            yield Label(begin_s=start_s, end_s=stop_s, text=row["label"], low_hz=0.0, high_hz=high_hz)

    def _write_thresholds(self, text: TextIO) -> None:
        table = _csv(text)
        table.writerow(("label", "threshold", "release", "precision", "recall", "remark"))
        for name in self.classes:
            one = self.chosen[name]
            known = ("" if share is None else f"{share:.6f}" for share in (one.precision, one.recall))
            levels = (f"{level:.9g}" for level in (one.threshold, one.threshold * self.options.release))
            table.writerow((name, *levels, *known, one.remark))


def _timed(rows: Sequence[Row]) -> Iterator[tuple[Row, Fraction, Fraction]]:
    """Detections with their start and stop in exact seconds."""
    for row in rows[1:]:
        rate = Fraction(rows[0]["rate_hz"])
        yield row, row["start"] / rate, row["stop"] / rate


def _duration_s(rows: Sequence[Row]) -> Fraction:
    return rows[0]["n_samples"] / Fraction(rows[0]["rate_hz"]) if rows else Fraction(0)


def _lines(outcome: Outcome, rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    reason = outcome.reason
    if len(rows) == 1:
        reason = "; ".join(filter(None, (reason, "nothing reached its threshold")))
    elif outcome.status == "pending":
        reason = "not tried yet"
    head = (outcome.case.id, outcome.status, reason)
    for row, start_s, stop_s in _timed(rows):
        samples = (str(row["start"]), str(row["stop"]), f"{rows[0]['rate_hz']:.15g}")
        yield (
            *head,
            row["label"],
            f"{row['score']:.6f}",
            *samples,
            seconds_text(start_s),
            seconds_text(stop_s),
        )
    if len(rows) <= 1:
        yield (*head, *[""] * (len(COLUMNS) - len(head)))


def _path(case: Case) -> str:
    """The recording's full path, or its id where it has none."""
    return next((str(file.path.absolute()) for file in case.all_files() if file.path is not None), case.id)


def _csv(text: TextIO) -> TableWriter:
    return csv.writer(text, lineterminator=LINE_END)


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    """A text file that appears when the block ends well."""
    with (
        replacing(path) as temporary,
        # a file name, and so a path or id, need not be valid Unicode
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as text,
    ):
        yield text
