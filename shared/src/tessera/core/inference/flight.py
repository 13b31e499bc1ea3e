"""Which cases are being worked on right now, in a file that outlives the process (no torch)."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tessera.core.data.atomic import write_atomic

IN_FLIGHT = "in-flight.jsonl"
_WORDS = {"process": 2, "suspect": 2, "alone": 2, "begun": 2, "paused": 2, "ended": 3}


@dataclass(frozen=True)
class Death:
    """How the process ended that this one replaces.

    Args:
        cause: Such as ``was killed by signal 11 (segmentation fault)``.
        trace: Where each of its threads was, when it could still say so.
    """

    cause: str
    trace: str = ""


@dataclass(frozen=True)
class Flight:
    """What the file of a process that died says.

    Args:
        process: Which process wrote it last; empty without a file.
        worked: Whether that process had begun a case.
        suspects: Cases that were being worked on, and those suspected before that have not ended since.
        alone: The suspect that was being tried alone.
        ended: Status of each case that has ended in this run.
    """

    process: str = ""
    worked: bool = False
    suspects: tuple[str, ...] = ()
    alone: str | None = None
    ended: Mapping[str, str] = field(default_factory=dict)


def read_flight(folder: Path) -> Flight:
    """What the file in an output folder says; half a line at its end is not counted."""
    try:
        lines = (folder / IN_FLIGHT).read_bytes().split(b"\n")
    except OSError:
        return Flight()
    process, worked, alone = "", False, None
    suspects: dict[str, None] = {}  # in order
    working: Counter[str] = Counter()
    ended: dict[str, str] = {}
    for event, case_id, *rest in _events(lines[:-1]):
        if event == "process":
            suspects |= dict.fromkeys(+working)
            working.clear()
            process, worked, alone = case_id, False, None
            continue
        worked = worked or event != "suspect"
        if event in ("suspect", "alone"):
            suspects[case_id] = None
            alone = case_id if event == "alone" else alone
        elif event == "ended":
            ended[case_id] = rest[0]
            suspects.pop(case_id, None)
            alone = None if alone == case_id else alone
        else:
            working[case_id] += 1 if event == "begun" else -1
    suspects |= dict.fromkeys(+working)
    open_ones = tuple(case_id for case_id in suspects if case_id not in ended)
    return Flight(process, worked, open_ones, alone, ended)


class FlightLog:
    """Says before each piece of work which cases it is for; removed when a run ends by itself.

    A line is one write of its own: what was said before a kill stays said. The file is a help only, so a
    disk that takes no more lines stops nothing.

    Args:
        folder: The output folder, which exists.
        continued: Go on with the run of a process that died, and so with its file.
    """

    def __init__(self, folder: Path, *, continued: bool = False) -> None:
        self.before = read_flight(folder)
        self.ended_before = self.before.ended if continued else {}
        self._path = folder / IN_FLIGHT
        self._file: IO[bytes] | None = None
        with suppress(OSError):
            if not continued:
                write_atomic(self._path, "".join(_line("suspect", one) for one in self.before.suspects))
            self._file = self._path.open("ab", buffering=0)
        self._write(_line("process", uuid.uuid4().hex))

    def __enter__(self) -> FlightLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    @contextmanager
    def working(self, case_ids: Sequence[str]) -> Iterator[None]:
        """The block works on these cases; called from all threads."""
        self._write("".join(_line("begun", case_id) for case_id in case_ids))
        try:
            yield
        finally:
            self._write("".join(_line("paused", case_id) for case_id in case_ids))

    def alone(self, case_id: str) -> None:
        """From now until it ends, nothing but this case is worked on."""
        self._write(_line("alone", case_id))

    def ended(self, case_id: str, status: str) -> None:
        """The case has its row."""
        self._write(_line("ended", case_id, status))

    def _write(self, lines: str) -> None:
        if self._file is not None:
            with suppress(OSError, ValueError):  # full disk; closed, for a thread that was left behind
                self._file.write(lines.encode())


def _events(lines: Sequence[bytes]) -> Iterator[list[str]]:
    for line in lines:
        with suppress(ValueError):  # a machine that lost power may leave anything
            words = json.loads(line)
            plain = isinstance(words, list) and words and all(isinstance(word, str) for word in words)
            if plain and len(words) == _WORDS.get(words[0]):
                yield words


def _line(*words: str) -> str:
    return json.dumps(words) + "\n"
