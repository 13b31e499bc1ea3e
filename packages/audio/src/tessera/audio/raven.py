"""Raven selection tables: tab-separated rows of time, frequency and annotations.

A table of one recording counts Begin Time from its start. A table of several recordings counts it on
through all of them, opened one after another; Begin Path and File Offset then say where in which recording a
row lies. Raven reads the first when the recordings are opened as one sequence, the others when the table
opens its recordings itself, so both are always written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from tessera.audio.seconds import parse_number, seconds_text
from tessera.core.errors import DataError

SELECTION, VIEW, CHANNEL = "Selection", "View", "Channel"
BEGIN, END, LOW, HIGH = "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"
PATH, FILE, OFFSET = "Begin Path", "Begin File", "File Offset (s)"
COLUMNS = (SELECTION, VIEW, CHANNEL, BEGIN, END, LOW, HIGH, PATH, OFFSET)
NEEDED = (BEGIN, END)
SPECTROGRAM = "Spectrogram 1"
# Raven's own measurements end in a unit or are one of these; what else there is, people have written.
_MEASUREMENT = re.compile(
    r".*\((s|ms|Hz|kHz|dB|dB FS|u|U|bits|%|samples)\)|(begin|end) (file|path|clock time|date|sample.*)"
    r"|(delta|peak|max|min|center|avg|inband|agg|rms|leq|sel|bw|q1|q3|iqr|duration|freq|time|file|length)\b.*"
    r"|selection|view|channel|score|confidence|occupancy|dur \d+%.*",
    re.IGNORECASE,
)
_PLAIN = str.maketrans("\t\r\n\0", "    ")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """One row; times are exact seconds.

    Args:
        begin_s: Begin Time, cumulative in a table of several recordings.
        end_s: End Time.
        low_hz: Lower edge, None when not given.
        high_hz: Upper edge, None when not given.
        path: The recording, as written; empty when not given.
        offset_s: Where the row begins in that recording, None when not given.
        number: The number of the selection; the table's views repeat it.
        channel: Number of the channel, from 1.
        annotations: All other columns, as written.
        where: File and line, for errors.
    """

    begin_s: Fraction
    end_s: Fraction
    low_hz: float | None = None
    high_hz: float | None = None
    path: str = ""
    offset_s: Fraction | None = None
    number: str = ""
    channel: int = 1
    annotations: Mapping[str, str] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class SelectionTable:
    """A table as read.

    Args:
        path: The file.
        columns: Its header.
        selections: Its rows in order; a selection shown in several views is there once.
    """

    path: Path
    columns: tuple[str, ...]
    selections: tuple[Selection, ...]

    @property
    def annotation_columns(self) -> tuple[str, ...]:
        """Columns that are none of Raven's own measurements."""
        return tuple(name for name in self.columns if name and not _MEASUREMENT.fullmatch(name))


def table_lines(selections: Iterable[Selection], annotations: Sequence[str] = ()) -> Iterator[str]:
    """The lines of a table with these annotation columns; rows are numbered from 1."""
    yield header_line(annotations)
    for number, one in enumerate(selections, start=1):
        yield selection_line(number, one, annotations)


def header_line(annotations: Sequence[str] = ()) -> str:
    """The first line of a table."""
    return _line((*COLUMNS, *annotations))


def selection_line(number: int, one: Selection, annotations: Sequence[str] = ()) -> str:
    """One row of a table, exact to the sample; without an offset, Begin Time is the offset."""
    offset = one.begin_s if one.offset_s is None else one.offset_s
    times = (seconds_text(one.begin_s), seconds_text(one.end_s))
    edges = ("" if edge is None else f"{edge:.10g}" for edge in (one.low_hz, one.high_hz))
    head = (str(number), SPECTROGRAM, str(one.channel), *times, *edges, one.path, seconds_text(offset))
    return _line((*head, *(one.annotations.get(name, "") for name in annotations)))


def read_table(path: Path) -> SelectionTable:
    """Read a table with its columns in any order, with decimal points or commas.

    Rows must have a Begin Time and an End Time; all other columns may be missing.
    """
    first, *lines = read_lines(path)
    header = [name.strip() for name in first.split("\t")]
    columns = _columns(header, path)
    found: dict[object, Selection] = {}
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        where, cells = f"{path}, line {number}", line.split("\t")
        if len(cells) > len(header):
            raise DataError(
                f"{where}: more cells than the header has", found=len(cells), expected=len(header)
            )
        one = _selection({name: cells[i] for name, i in columns.items() if i < len(cells)}, header, where)
        views = (one.number or where, one.path, one.begin_s, one.end_s)
        if views not in found or found[views].high_hz is None:  # a waveform's row has no frequencies
            found[views] = one
    return SelectionTable(path, tuple(header), tuple(found.values()))


def is_table(path: Path) -> bool:
    """Whether the file's first line names times as Raven's tables do."""
    return "begin time" in read_text(path, first_line=True).lower()


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; only line feeds and carriage returns end them. At least one."""
    return re.split(r"\r\n|\r|\n", read_text(path))


def plain_cell(text: str) -> str:
    """Text without tabs, line ends and zeros, which tables without quotes cannot hold."""
    return text.translate(_PLAIN)


def read_text(path: Path, *, first_line: bool = False) -> str:
    """Text in UTF-8, in UTF-16 with its mark, or in the encoding of old Windows programs."""
    try:
        with path.open("rb") as file:
            content = file.readline() if first_line else file.read()
    except OSError as error:
        raise DataError(f"cannot read {path}", found=error.strerror or error) from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    if b"\0" in content:
        raise DataError(f"{path} is not text", found="zero bytes in it", expected="a table saved as text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _columns(header: list[str], path: Path) -> dict[str, int]:
    """Place of each column; Raven's own are found in any case of letters."""
    known = {name.lower(): name for name in (*COLUMNS, FILE)}
    places = {known.get(name.lower(), name): i for i, name in enumerate(header) if name}
    for name in NEEDED:
        if name not in places:
            raise DataError(
                f"{path} has no column {name}",
                found=f"columns {', '.join(header)}" if any(header) else "an empty first line",
                expected=f"a first line with {', '.join(NEEDED)}, separated by tabs",
                hint="save the selections in Raven again, or rename the column",
            )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: columns given twice", found=", ".join(twice), expected="each once")
    return places


def _selection(cells: Mapping[str, str], header: Sequence[str], where: str) -> Selection:
    begin, end = _number(cells, BEGIN, where), _number(cells, END, where)
    if begin is None or end is None:
        raise DataError(f"{where}: a row without its times", found=dict(cells), expected=", ".join(NEEDED))
    if begin < 0 or end < begin:
        raise DataError(
            f"{where}: these are no times of a selection",
            found=f"{BEGIN} {cells[BEGIN]}, {END} {cells[END]}",
            expected="0 <= begin <= end",
        )
    low, high = _number(cells, LOW, where), _number(cells, HIGH, where)
    channel = _number(cells, CHANNEL, where)
    own = {*COLUMNS, FILE}
    return Selection(
        begin_s=begin,
        end_s=end,
        low_hz=None if low is None else float(low),
        high_hz=None if high is None else float(high),
        path=cells.get(PATH, "").strip() or cells.get(FILE, "").strip(),
        offset_s=_number(cells, OFFSET, where),
        number=cells.get(SELECTION, "").strip(),
        channel=1 if channel is None else int(channel),
        annotations={name: cells.get(name, "").strip() for name in header if name and name not in own},
        where=where,
    )


def _number(cells: Mapping[str, str], name: str, where: str) -> Fraction | None:
    text = cells.get(name, "").strip()
    if not text:
        return None
    try:
        return parse_number(text)
    except ValueError:
        raise DataError(
            f"{where}: {name} is no number", found=repr(text), expected="for instance 12.5 or 12,5"
        ) from None


def _line(cells: Sequence[str]) -> str:
    return "\t".join(map(plain_cell, cells)) + "\n"
