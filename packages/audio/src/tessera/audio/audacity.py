r"""Audacity label tracks: a line ``start<tab>end<tab>label``, and one for the frequencies, if there are any.

The second line begins with a backslash: ``\<tab>low<tab>high``, Hz; -1 stands for an open edge. Times are
seconds from the start of the recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from tessera.audio.raven import plain_cell, read_lines, read_text
from tessera.audio.seconds import parse_number, seconds_text
from tessera.core.errors import DataError

_OPEN_EDGE = -1.0


@dataclass(frozen=True, kw_only=True)
class Label:
    """One label; exact seconds, edges in Hz or None.

    Args:
        begin_s: Start.
        end_s: End, the same as the start for a point.
        text: What it says.
        low_hz: Lower edge.
        high_hz: Upper edge.
        where: File and line, for errors.
    """

    begin_s: Fraction
    end_s: Fraction
    text: str = ""
    low_hz: float | None = None
    high_hz: float | None = None
    where: str = ""


def track_lines(labels: Iterable[Label]) -> Iterator[str]:
    """The lines of a label track."""
    for one in labels:
        yield f"{seconds_text(one.begin_s)}\t{seconds_text(one.end_s)}\t{plain_cell(one.text)}\n"
        if one.low_hz is not None or one.high_hz is not None:
            edges = (_OPEN_EDGE if edge is None else edge for edge in (one.low_hz, one.high_hz))
            yield "\\\t" + "\t".join(f"{edge:.10g}" for edge in edges) + "\n"


def read_track(path: Path) -> tuple[Label, ...]:
    """Read a label track with decimal points or commas."""
    labels: list[Label] = []
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        first, *rest = line.split("\t")
        if first == "\\":
            if not labels:
                raise DataError(f"{where}: frequencies without a label before them", found=repr(line))
            low, high = _numbers(rest, where, line)
            labels[-1] = replace(labels[-1], low_hz=_edge(low), high_hz=_edge(high))
            continue
        begin, end = _numbers([first, *rest[:1]], where, line)
        if begin < 0 or end < begin:
            raise DataError(
                f"{where}: these are no times of a label", found=repr(line), expected="0 <= start <= end"
            )
        text = "\t".join(rest[1:]).strip()
        labels.append(Label(begin_s=begin, end_s=end, text=text, where=where))
    return tuple(labels)


def is_track(path: Path) -> bool:
    """Whether the file's first line begins with two times."""
    cells = read_text(path, first_line=True).split("\t")
    try:
        return len([parse_number(cell) for cell in cells[:2]]) == 2
    except ValueError:
        return False


def _edge(frequency: Fraction) -> float | None:
    return None if frequency < 0 else float(frequency)


def _numbers(cells: list[str], where: str, line: str) -> tuple[Fraction, Fraction]:
    try:
        first, second = (parse_number(cell) for cell in cells)
    except ValueError:
        raise DataError(
            f"{where}: this is no line of a label track",
            found=repr(line),
            expected="start, end and label with tabs between them, times in seconds",
        ) from None
    return first, second
