"""Tables of a prediction: one row a recording and one row a window, with integer sample times.

``predictions.csv``, one row a recording, sorted by case_id:
    case_id, group (of the case); target (what is known, empty in a plain folder); the answer; duration_s;
    windows (their number); flags (joined by ``|``, for instance ``silent``).

``windows.csv``, one row a window, recordings sorted by case_id, windows by time:
    case_id; start_sample, end_sample (integers on the recording's own grid, the end exclusive);
    sample_rate_hz of that grid; start_s, end_s (the same times, rounded to 1 µs); the answer.

The answer has the columns
    for a class: answer, score (its probability), p_<class> of each class;
    for tags: answer (those that reach their threshold, joined by ``|``), p_<tag> of each tag;
    for a number: mean, std.
A choice of classes restricts the answer, not the columns p_.

Scores of classes and tags also give detections, in the files that ``detection_files`` describes.

Where embeddings are asked for, ``embeddings.csv`` has one row a recording: case_id, group, e0, e1, ...: the
mean of its windows' embeddings, of length 1; ``embeddings/<recording>.csv`` one row a window: case_id, the
times as in windows.csv, e0, e1, ..., each of length 1.

``windows/<recording>.csv`` holds the rows of one recording; its safe name ends in a hash of case_id.
Tables are UTF-8 with lines ending in CR LF (RFC 4180).
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tessera.audio.config import SoundConfig
from tessera.audio.detection_files import ROWS as DETECTIONS
from tessera.audio.detection_files import DetectionFiles
from tessera.audio.geometry import TimeAxis
from tessera.audio.output_config import SoundOutput
from tessera.core.bundle.card import Calibration
from tessera.core.data.atomic import replacing
from tessera.core.data.case import Case
from tessera.core.data.geometry import Region
from tessera.core.data.targets import TAG_SEPARATOR, TargetSpec
from tessera.core.errors import ConfigError
from tessera.core.inference.interfaces import CaseResult, Outcome, Written

if TYPE_CHECKING:
    from _csv import Writer as TableWriter

TIMES = ("start_sample", "end_sample", "sample_rate_hz", "start_s", "end_s")
LONGEST_NAME = 80  # characters of a case's id in a file name; file systems allow 255 bytes
EMBEDDINGS = "embeddings"  # name of rows, folder and table
LINE_END = "\r\n"  # makes the csv writer quote both characters inside a name, so that any name reads back


class SoundWriter:
    """Writes the tables that this module's first lines describe."""

    def __init__(
        self,
        config: SoundConfig,
        target: TargetSpec,
        *,
        options: SoundOutput | None = None,
        calibration: Calibration | None = None,
        model_digest: str = "",
    ) -> None:
        del model_digest  # for formats that name the model; tables of sounds do not
        options = options or SoundOutput()
        self.target_name = config.data.target
        self.target = target
        self.detections: DetectionFiles | None = None
        if target.kind != "number":
            self.detections = DetectionFiles(
                target, options, calibration or Calibration(), highest_hz=config.data.sample_rate_hz / 2
            )
        elif options != SoundOutput(embeddings=options.embeddings):
            raise ConfigError(
                "a bundle that measures a number finds no sounds, so it takes no options of detections",
                found=", ".join(sorted(options.model_dump(exclude_defaults=True))),
                expected="none of them",
            )
        self.takes_embeddings = options.embeddings
        answer = self._answer_columns()
        self.summary_columns = ("case_id", "group", "target", *answer, "duration_s", "windows", "flags")
        self.window_columns = ("case_id", *TIMES, *answer)

    def write(self, result: CaseResult, out: Path) -> Written:
        """Write one recording's windows and return its row."""
        axis = _axis(result)
        name = safe_name(result.case.id)
        files: tuple[str, ...] = (f"windows/{name}.csv",)
        rows: dict[str, Sequence[Mapping[str, Any]]] = {}
        with _table(out / files[0], self.window_columns) as table:
            for region, scores in zip(result.regions, result.scores, strict=True):
                table.writerow((result.case.id, *_times(axis, region), *self._answer(scores)))
        row = (
            result.case.id,
            result.case.group,
            self._known(result.case),
            *self._answer(result.summary),
            *_seconds(axis, axis.n_samples),
            len(result.regions),
            TAG_SEPARATOR.join(result.flags),
        )
        rows["predictions"] = [dict(zip(self.summary_columns, row, strict=True))]
        if self.detections is not None:
            rows[DETECTIONS] = self.detections.find(result, axis)
            files += self.detections.write(result.case, rows[DETECTIONS], name, out)
        if result.embeddings is not None:
            files += (f"{EMBEDDINGS}/{name}.csv",)
            rows[EMBEDDINGS] = [_write_embeddings(result, result.embeddings, axis, out / files[-1])]
        return Written(files, rows)

    def collect(self, cases: Iterator[tuple[Case, Written]], out: Path) -> tuple[str, ...]:
        """Write both tables in one pass, so that memory does not grow with their length."""
        header = _line(self.window_columns)
        tables = ("predictions.csv", "windows.csv")
        with (
            _embeddings_table(out) if self.takes_embeddings else nullcontext() as embeddings,
            _table(out / "predictions.csv", self.summary_columns) as predictions,
            replacing(out / "windows.csv") as temporary,
            temporary.open("wb") as windows,
        ):
            windows.write(header)
            for _, written in cases:
                if embeddings is not None:
                    embeddings(written.rows[EMBEDDINGS])
                for row in written.rows["predictions"]:
                    predictions.writerow(row[column] for column in self.summary_columns)
                for name in written.files:
                    if not name.startswith("windows/"):
                        continue
                    with (out / name).open("rb") as one:
                        one.seek(len(header))
                        shutil.copyfileobj(one, windows)
        return (*tables, f"{EMBEDDINGS}.csv") if self.takes_embeddings else tables

    def collect_outcomes(self, outcomes: Iterator[Outcome], out: Path) -> tuple[str, ...]:
        """Write the tables of detections, which list every recording."""
        return () if self.detections is None else self.detections.collect(outcomes, out)

    def _known(self, case: Case) -> str:
        value = case.targets.get(self.target_name, "")
        return TAG_SEPARATOR.join(map(str, value)) if isinstance(value, tuple) else str(value)

    def _answer_columns(self) -> tuple[str, ...]:
        if self.target.kind == "number":
            return ("mean", "std")
        head = ("answer", "score") if self.target.kind == "class" else ("answer",)
        return (*head, *(f"p_{name}" for name in self.target.classes))

    def _answer(self, scores: npt.NDArray[np.float32]) -> tuple[str, ...]:
        values = scores.tolist()
        if self.detections is None:
            mean, log_variance = values
            return (f"{mean:.9g}", f"{np.exp(0.5 * log_variance):.9g}")  # 9 digits hold a float32
        texts = [f"{p:.6f}" for p in values]
        named = dict(zip(self.target.classes, values, strict=True))
        if self.target.kind == "class":
            best = max(self.detections.classes, key=named.__getitem__)
            return (best, f"{named[best]:.6f}", *texts)
        chosen = self.detections.chosen
        tags = [tag for tag in self.detections.classes if named[tag] >= chosen[tag].threshold]
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


@contextmanager
def _embeddings_table(out: Path) -> Iterator[Callable[[Sequence[Mapping[str, Any]]], None]]:
    """Takes the rows of one recording after another; all have the columns of the first."""
    with (
        replacing(out / f"{EMBEDDINGS}.csv") as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as text,
    ):
        table = csv.writer(text, lineterminator=LINE_END)
        begun = False

        def take(rows: Sequence[Mapping[str, Any]]) -> None:
            nonlocal begun
            for row in rows:
                if not begun:
                    table.writerow(row)
                table.writerow(row.values())
                begun = True

        yield take
        if not begun:
            table.writerow(("case_id", "group"))


def _write_embeddings(
    result: CaseResult, embeddings: npt.NDArray[np.float32], axis: TimeAxis, path: Path
) -> Mapping[str, Any]:
    """Write those of the windows (R, E); the row of the recording."""
    names = [f"e{i}" for i in range(embeddings.shape[1])]
    vectors = embeddings.astype(np.float64)
    with _table(path, ("case_id", *TIMES, *names)) as table:
        for region, vector in zip(result.regions, vectors, strict=True):
            table.writerow((result.case.id, *_times(axis, region), *_of_length_one(vector)))
    values = dict(zip(names, _of_length_one(vectors.mean(axis=0)), strict=True))
    return {"case_id": result.case.id, "group": result.case.group, **values}


def _of_length_one(vector: npt.NDArray[np.float64]) -> list[str]:
    length = float(np.sqrt(np.square(vector).sum()))
    return [f"{value:.9g}" for value in (vector / (length or 1.0)).astype(np.float32).tolist()]


def _times(axis: TimeAxis, region: Region) -> tuple[object, ...]:
    (start,), (stop,) = region.start, region.stop
    return (start, stop, f"{axis.rate_hz:.15g}", *_seconds(axis, start, stop))


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
