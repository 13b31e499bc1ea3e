"""The file that says which cases are being worked on, as a process leaves it that dies."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.inference.flight import IN_FLIGHT, FlightLog, read_flight


class Process:
    """One that opened the file and will die: none of its blocks ever ends."""

    def __init__(self, folder: Path, *, continued: bool = False) -> None:
        self.log = FlightLog(folder, continued=continued)
        self._blocks: list[AbstractContextManager[None]] = []

    def begins(self, *case_ids: str) -> None:
        self._blocks.append(self.log.working(case_ids))
        self._blocks[-1].__enter__()

    def dies(self) -> None:
        if self.log._file is not None:
            self.log._file.close()  # what the blocks say now is not written


class Start(Protocol):
    def __call__(self, *, continued: bool = False) -> Process: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def start(*, continued: bool = False) -> Process:
        started.append(Process(tmp_path, continued=continued))
        return started[-1]

    yield start
    for process in started:
        process.dies()


def test_who_was_worked_on_at_the_death_is_a_suspect(start: Start, tmp_path: Path) -> None:
    process = start()
    with process.log.working(["read"]):
        pass  # waits for the network
    process.begins("reading")
    process.begins("computed", "computed too")
    process.log.ended("computed", "ok")
    flight = read_flight(tmp_path)
    assert flight.suspects == ("reading", "computed too")
    assert flight.ended == {"computed": "ok"}
    assert flight.worked
    assert flight.alone is None


def test_a_case_read_and_computed_at_once_is_worked_on_until_both_end(start: Start, tmp_path: Path) -> None:
    process = start()
    process.begins("a")
    with process.log.working(["a"]):
        pass
    assert read_flight(tmp_path).suspects == ("a",)


def test_half_a_line_and_rubbish_say_nothing(start: Start, tmp_path: Path) -> None:
    start().begins("a", "b")
    with (tmp_path / IN_FLIGHT).open("ab") as file:
        file.write(b'\x00\xff\n["ended"]\n{"ended": 1}\n[]\n[["ended"], 1]\n["ended", "a", "o')
    assert read_flight(tmp_path).suspects == ("a", "b")


def test_any_name_comes_back(start: Start, tmp_path: Path) -> None:
    names = ("line\nend", "\udcff", 'quo"te', "é 漢")
    start().begins(*names)
    assert read_flight(tmp_path).suspects == names


def test_the_suspect_tried_alone_is_named_until_it_ends(start: Start, tmp_path: Path) -> None:
    start().begins("a", "b", "c")
    log = start(continued=True).log
    assert log.before.suspects == ("a", "b", "c")
    assert read_flight(tmp_path).worked is False
    log.alone("a")
    assert read_flight(tmp_path).alone == "a"
    log.ended("a", "ok")
    log.alone("b")
    flight = read_flight(tmp_path)
    assert (flight.alone, flight.suspects, flight.worked) == ("b", ("b", "c"), True)


def test_a_new_run_keeps_the_suspects_and_forgets_the_rest(start: Start, tmp_path: Path) -> None:
    first = start()
    first.log.ended("a", "failed")
    first.begins("b")
    first.log.alone("c")
    log = start().log
    assert (set(log.before.suspects), log.ended_before) == ({"b", "c"}, {})
    flight = read_flight(tmp_path)
    assert (set(flight.suspects), flight.alone, flight.ended, flight.worked) == ({"b", "c"}, None, {}, False)


def test_a_continued_run_remembers_what_ended(start: Start, tmp_path: Path) -> None:
    start().log.ended("a", "failed")
    process = read_flight(tmp_path).process
    assert start(continued=True).log.ended_before == {"a": "failed"}
    assert read_flight(tmp_path).process not in ("", process)


def test_a_run_that_ends_by_itself_leaves_no_file_and_takes_late_lines(tmp_path: Path) -> None:
    with FlightLog(tmp_path) as log:
        assert (tmp_path / IN_FLIGHT).is_file()
    with log.working(["a thread that was left behind"]):
        pass
    assert list(tmp_path.iterdir()) == []
    assert read_flight(tmp_path).process == ""


def test_a_disk_that_takes_no_file_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / IN_FLIGHT).mkdir()
    log = FlightLog(tmp_path)
    with log.working(["a"]):
        log.ended("a", "ok")
    assert list((tmp_path / IN_FLIGHT).iterdir()) == []


@given(st.lists(st.tuples(st.sampled_from(["begun", "paused", "ended"]), st.integers(0, 3)), max_size=30))
def test_suspects_are_those_with_more_beginnings_than_pauses_and_no_end(
    events: list[tuple[str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        process = Process(Path(folder))
        blocks: dict[str, list[AbstractContextManager[None]]] = {}
        ended = set()
        for event, number in events:
            case_id = str(number)
            mine = blocks.setdefault(case_id, [])
            if event == "begun":
                mine.append(process.log.working([case_id]))
                mine[-1].__enter__()
            elif event == "paused" and mine:
                mine.pop().__exit__(None, None, None)
            elif event == "ended":
                process.log.ended(case_id, "ok")
                ended.add(case_id)
        found = set(read_flight(Path(folder)).suspects)
        process.dies()
    assert found == {case_id for case_id, mine in blocks.items() if mine} - ended
