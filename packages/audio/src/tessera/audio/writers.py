"""Tables of a prediction: one row a recording and one row a window, with integer sample times.

``predictions.csv``, one row a recording, sorted by case_id:
    case_id, group (of the case); target (what is known, empty in a plain folder); the answer; duration_s;
    windows (their number); flags (joined by ``|``, for instance ``silent``).

``windows.csv``, one row a window, recordings sorted by case_id, windows by time:
    case_id; start_sample, end_sample (integers on the recording's own grid, the end exclusive);
    sample_rate_hz of that grid; start_s, end_s (the same times, rounded to 1 µs); the answer.

The answer has the columns
    for a class: answer, score (its probability), p_<class> of each class;
    for tags: answer (those of probability 0.5 and more, joined by ``|``), p_<tag> of each tag;
    for a number: mean, std.
Thresholds that a bundle stores are not applied here, only by ``tessera.core.load``.

``windows/<recording>.csv`` holds the rows of one recording; its safe name ends in a hash of case_id.
Tables are UTF-8 with lines ending in CR LF (RFC 4180).
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tessera.audio.config import SoundConfig
from tessera.audio.geometry import TimeAxis
from tessera.core.data.atomic import replacing
from tessera.core.data.case import Case
from tessera.core.data.targets import TAG_SEPARATOR, TargetSpec
from tessera.core.inference.interfaces import CaseResult, Written

if TYPE_CHECKING:
    from _csv import Writer as TableWriter

TAG_THRESHOLD = 0.5
LONGEST_NAME = 80  # characters of a case's id in a file name; file systems allow 255 bytes
LINE_END = "\r\n"  # makes the csv writer quote both characters inside a name, so that any name reads back


class SoundWriter:
    """Writes the tables that this module's first lines describe."""

    def __init__(self, config: SoundConfig, target: TargetSpec) -> None:
        self.target_name = config.data.target
        self.target = target
        answer = self._answer_columns()
        self.summary_columns = ("case_id", "group", "target", *answer, "duration_s", "windows", "flags")
        times = ("start_sample", "end_sample", "sample_rate_hz", "start_s", "end_s")
        self.window_columns = ("case_id", *times, *answer)

    def write(self, result: CaseResult, out: Path) -> Written:
        """Write one recording's windows and return its row."""
        axis = _axis(result)
        name = f"windows/{safe_name(result.case.id)}.csv"
        with _table(out / name, self.window_columns) as table:
            for region, scores in zip(result.regions, result.scores, strict=True):
                (start,), (stop,) = region.start, region.stop
                times = (start, stop, f"{axis.rate_hz:.15g}", *_seconds(axis, start, stop))
                table.writerow((result.case.id, *times, *self._answer(scores)))
        row = (
            result.case.id,
            result.case.group,
            self._known(result.case),
            *self._answer(result.summary),
            *_seconds(axis, axis.n_samples),
            len(result.regions),
            TAG_SEPARATOR.join(result.flags),
        )
        return Written((name,), {"predictions": [dict(zip(self.summary_columns, row, strict=True))]})

    def collect(self, cases: Iterator[tuple[Case, Written]], out: Path) -> tuple[str, ...]:
        """Write both tables in one pass, so that memory does not grow with their length."""
        header = _line(self.window_columns)
        with (
            _table(out / "predictions.csv", self.summary_columns) as predictions,
            replacing(out / "windows.csv") as temporary,
            temporary.open("wb") as windows,
        ):
            windows.write(header)
            for _, written in cases:
                for row in written.rows["predictions"]:
                    predictions.writerow(row[column] for column in self.summary_columns)
                for name in written.files:
                    with (out / name).open("rb") as one:
                        one.seek(len(header))
                        shutil.copyfileobj(one, windows)
        return ("predictions.csv", "windows.csv")

    def _known(self, case: Case) -> str:
        value = case.targets.get(self.target_name, "")
        return TAG_SEPARATOR.join(value) if isinstance(value, tuple) else str(value)

    def _answer_columns(self) -> tuple[str, ...]:
        if self.target.kind == "number":
            return ("mean", "std")
        head = ("answer", "score") if self.target.kind == "class" else ("answer",)
        return (*head, *(f"p_{name}" for name in self.target.classes))

    def _answer(self, scores: npt.NDArray[np.float32]) -> tuple[str, ...]:
        values = scores.tolist()
        if self.target.kind == "number":
            mean, log_variance = values
            return (f"{mean:.9g}", f"{np.exp(0.5 * log_variance):.9g}")  # 9 digits hold a float32
        texts = [f"{p:.6f}" for p in values]
        if self.target.kind == "class":
            best = int(scores.argmax())
            return (self.target.classes[best], texts[best], *texts)
        tags = [tag for tag, p in zip(self.target.classes, values, strict=True) if p >= TAG_THRESHOLD]
        return (TAG_SEPARATOR.join(tags), *texts)


def safe_name(case_id: str) -> str:
    """A file name for a case on any system; two ids never share one, not even ``a`` and ``A``."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", case_id)[:LONGEST_NAME].strip("._-")
    digest = hashlib.sha256(case_id.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{readable}-{digest[:12]}".lstrip("-")


@contextmanager
def _table(path: Path, columns: tuple[str, ...]) -> Iterator[TableWriter]:
    """A CSV file with its header; it appears when the block ends well."""
    with (
        replacing(path) as temporary,
        # a file name, and so an id, need not be valid Unicode
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as text,
    ):
        table = csv.writer(text, lineterminator=LINE_END)
        table.writerow(columns)
        yield table


def _line(cells: tuple[str, ...]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=LINE_END).writerow(cells)
    return text.getvalue().encode()


def _seconds(axis: TimeAxis, *samples: int) -> tuple[str, ...]:
    return tuple(f"{sample / axis.rate_hz:.6f}" for sample in samples)


def _axis(result: CaseResult) -> TimeAxis:
    if not isinstance(result.grid, TimeAxis):
        raise TypeError(f"sound needs a TimeAxis, not {type(result.grid).__name__}")
    return result.grid
