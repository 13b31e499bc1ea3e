"""Selection tables and label tracks as labels: recordings cut into windows, tagged by the selections."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from pydantic import Field

from tessera.audio.audacity import is_track, read_track
from tessera.audio.label_files import Recording, Recordings, label_files
from tessera.audio.raven import SelectionTable, is_table, read_table
from tessera.audio.seconds import samples_of
from tessera.core.config import Config
from tessera.core.data.case import Case
from tessera.core.data.label_table import LabelRow
from tessera.core.data.manifest_checks import listing
from tessera.core.data.part_labels import LabelledParts
from tessera.core.errors import DataError
from tessera.core.inference.tiling import window_starts

SUFFIXES = (".txt", ".tsv")
GUESSES = ("label", "labels", "annotation", "annotations", "species", "common name", "class", "tags")
ROUNDING_S = Fraction(1, 1000)  # an end so little past the recording's is the recording's


@dataclass(frozen=True)
class _Span:
    """A labelled stretch of a recording in samples, at least one long."""

    start: int
    stop: int
    label: str


@dataclass
class _Found:
    """What the files said so far; ``spans`` by the path of the recording, also where there are none."""

    spans: dict[Recording, list[_Span]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class SelectionLabels(Config):
    """Cuts recordings into windows by selection tables of Raven or label tracks of Audacity.

    A window has the tag of every selection that it shares ``min_overlap_s`` with, or all of a shorter one.
    A recording whose table has no selections gives windows without tags; one without a table is left out.
    """

    window_s: float = Field(5.0, gt=0.0, le=600.0, description="length of a window, s")
    hop_s: float | None = Field(None, gt=0.0, le=600.0, description="step between windows, s; null: window_s")
    min_overlap_s: float = Field(
        0.25, ge=0.0, le=600.0, description="least of a selection inside a window, s; or all of a shorter one"
    )
    label_column: str | None = Field(None, description="the table's column with the label; null: guessed")

    def reads(self, labels: Path) -> bool:
        """A folder, or one table or label track."""
        return labels.is_dir() or (
            labels.is_file() and labels.suffix.lower() in SUFFIXES and (is_table(labels) or is_track(labels))
        )

    def label(self, cases: Mapping[str, Case], labels: Path) -> LabelledParts:
        """Windows of all recordings that a table or label track is about."""
        recordings, found = Recordings(cases), _Found()
        for file, place in label_files(labels, SUFFIXES):
            if is_table(file):
                self._add_table(read_table(file), place, recordings, found)
            elif is_track(file):
                self._add_track(file, place, recordings, found)
            else:
                raise DataError(
                    f"{file} is neither a selection table nor a label track",
                    found="no column Begin Time (s) in its first line, and no times",
                    hint="a recording without sounds needs a table with its first line only; "
                    "move other text files away",
                )
        rows, missed = {}, []
        for recording, spans in found.spans.items():
            rows[recording.path], alone = self._windows(recording, list(dict.fromkeys(spans)))
            missed += [f"{one.label} in {recording.path} at {_time(one.start, recording)}" for one in alone]
        if missed:
            found.warnings.append(
                f"{len(missed)} selections share {self.min_overlap_s:g} s with no window: {listing(missed)}; "
                "a smaller hop_s or min_overlap_s takes them in"
            )
        return LabelledParts(
            rows=rows, kind="tags", without_file=tuple(found.lost), warnings=tuple(found.warnings)
        )

    def _add_table(self, table: SelectionTable, place: str, recordings: Recordings, found: _Found) -> None:
        column = self._column(table) if table.selections else ""
        whose = [
            recordings.named(one.path) if one.path else recordings.of_file(table.path, place)
            for one in table.selections
        ]
        if not table.selections:
            self._begin(recordings.of_file(table.path, place), table.path.name, found)
        several = len({one.path for one in table.selections}) > 1
        unnamed = 0
        for one, recording in zip(table.selections, whose, strict=True):
            if not self._begin(recording, one.path or table.path.name, found) or recording is None:
                continue
            if several and one.offset_s is None:
                raise DataError(
                    f"{one.where}: the table is about several recordings and does not say where in each",
                    found=f"columns {', '.join(table.columns)}",
                    expected="a column File Offset (s)",
                    hint="add the measurement File Offset in Raven and save the table again",
                )
            begin_s = one.begin_s if one.offset_s is None else one.offset_s
            text = one.annotations[column]
            unnamed += not text
            if text:
                span = _span((begin_s, begin_s + one.end_s - one.begin_s), text, recording, one.where, found)
                found.spans[recording].append(span)
        if unnamed:
            found.warnings.append(f"{table.path}: {unnamed} selections have no {column}, left out")

    def _add_track(self, file: Path, place: str, recordings: Recordings, found: _Found) -> None:
        recording = recordings.of_file(file, place)
        if not self._begin(recording, file.name, found) or recording is None:
            return
        for one in read_track(file):
            if one.text:
                span = _span((one.begin_s, one.end_s), one.text, recording, one.where, found)
                found.spans[recording].append(span)

    def _begin(self, recording: Recording | None, name: str, found: _Found) -> bool:
        """Note that a recording has a table, or that a table has no recording of its own."""
        if recording is not None:
            found.spans.setdefault(recording, [])
        elif name not in found.lost:
            found.lost.append(name)
        return recording is not None

    def _column(self, table: SelectionTable) -> str:
        if self.label_column is not None:
            if self.label_column in table.columns:
                return self.label_column
            raise DataError(
                f"{table.path} has no column {self.label_column}", found=f"columns {', '.join(table.columns)}"
            )
        written = table.annotation_columns
        guessed = [name for guess in GUESSES for name in written if name.lower() == guess]
        if len(written) == 1 or guessed:
            return guessed[0] if guessed else written[0]
        raise DataError(
            f"{table.path}: no column is surely the label",
            found=f"columns {', '.join(table.columns)}",
            expected=f"one called {', '.join(GUESSES)}, or one only that is no measurement",
            hint="say which with --set label_column=NAME",
        )

    def _windows(
        self, recording: Recording, spans: Sequence[_Span]
    ) -> tuple[tuple[LabelRow, ...], list[_Span]]:
        """A recording's windows, and the selections that are in none."""
        rate = Fraction(recording.rate_hz)
        window = math.ceil(Fraction(str(self.window_s)) * rate)
        hop_s = self.window_s if self.hop_s is None else self.hop_s
        least = math.ceil(Fraction(str(self.min_overlap_s)) * rate)
        starts = window_starts(recording.n_samples, window, Fraction(str(hop_s)) * rate, last="back")
        tags: list[list[str]] = [[] for _ in starts]
        alone = []
        for span in spans:
            enough = max(1, min(least, span.stop - span.start))
            near = range(bisect_right(starts, span.start - window), bisect_right(starts, span.stop))
            fits = [
                i for i in near if min(span.stop, starts[i] + window) - max(span.start, starts[i]) >= enough
            ]
            for i in fits:
                tags[i].append(span.label)
            if not fits:
                alone.append(span)
        rows = zip(starts, tags, strict=True)
        return tuple(_row(recording, start, window, tuple(sorted(set(one)))) for start, one in rows), alone


def _row(recording: Recording, start: int, window: int, tags: tuple[str, ...]) -> LabelRow:
    stop = min(start + window, recording.n_samples)
    digits = len(str(recording.n_samples))  # so that the order of text is that of time
    return LabelRow(
        file=recording.path,
        label=tags,
        part=f"#{start:0{digits}d}-{stop:0{digits}d}",
        select={"start_sample": start, "stop_sample": stop},
    )


def _span(
    times: tuple[Fraction, Fraction], label: str, recording: Recording, where: str, found: _Found
) -> _Span:
    start, stop = (samples_of(time, recording.rate_hz) for time in times)
    if start >= recording.n_samples:
        raise DataError(
            f"{where}: it begins after the end of {recording.path}",
            found=f"{float(times[0]):.3f} s",
            expected=f"less than {_time(recording.n_samples, recording)}",
            hint="the table may be of another recording, or of several without a column File Offset (s)",
        )
    if stop > recording.n_samples:
        if stop - recording.n_samples > ROUNDING_S * Fraction(recording.rate_hz):
            found.warnings.append(
                f"{where}: it ends after {recording.path}, at {float(times[1]):.3f} s; "
                f"cut at {_time(recording.n_samples, recording)}"
            )
        stop = recording.n_samples
    return _Span(start, max(stop, start + 1), label)


def _time(sample: int, recording: Recording) -> str:
    return f"{sample / recording.rate_hz:.3f} s"
