"""A run that goes on after a process died: suspects alone, the culprit a failed row, nothing done twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tessera.core.data.case import Case
from tessera.core.inference.flight import IN_FLIGHT, Death, FlightLog, read_flight
from tessera.core.inference.ledger import Ledger
from tessera.core.inference.runner import run
from tessera.core.inference.summary import Progress

from .fakes import FakeWriter, FileReader, FileSource, make_files, make_steps, tree

DEATH = Death("was killed by signal 11 (segmentation fault)", "File decoder.c, line 7")
BAD = ("badopenfails", "badnan")
Left = Callable[..., None]


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    return make_files(tmp_path / "in", n=6, extra=BAD)


@pytest.fixture
def left(tmp_path: Path) -> Left:
    """What a process leaves in ``out`` that died while it worked on some cases, or on one alone."""

    def left(*working: str, alone: str | None = None, ended: Sequence[tuple[str, str]] = ()) -> None:
        (tmp_path / "out").mkdir(exist_ok=True)
        log = FlightLog(tmp_path / "out")
        for case_id, status in ended:
            log.ended(case_id, status)
        if alone is not None:
            log.alone(alone)
        block = log.working(working)
        block.__enter__()
        assert log._file is not None
        log._file.close()

    return left


class WatchingReader(FileReader):
    """Notes who was being worked on whenever a case is opened."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.seen: list[tuple[str, tuple[str, ...]]] = []

    def open(self, case: Case) -> FileSource:
        self.seen.append((case.id, read_flight(self.out).suspects))
        return super().open(case)


def status_of(out: Path) -> dict[str, str]:
    with Ledger.read(out) as ledger:
        return {row.case.id: row.status for row in ledger.rows()}


def test_suspects_are_tried_first_and_alone(tmp_path: Path, cases: list[Case], left: Left) -> None:
    left("case004", "case002")
    reader = WatchingReader(tmp_path / "out")
    order: list[str] = []

    def note(progress: Progress) -> None:
        order.append(progress.case_id)

    run(make_steps(reader=reader), cases, tmp_path / "out", workers=3, progress=note)
    assert set(order[:2]) == {"case002", "case004"}
    first, second = reader.seen[:2]
    assert set(first[1]) == {"case002", "case004"}  # the other one is suspected still, but was not begun
    assert second[1] == (second[0],)
    run(make_steps(), cases, tmp_path / "whole")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_the_case_during_which_it_died_again_is_one_failed_row(
    tmp_path: Path, cases: list[Case], left: Left
) -> None:
    left("case002", "case003", alone="case003")
    reader, writer = WatchingReader(tmp_path / "out"), FakeWriter()
    summary = run(make_steps(reader=reader, writer=writer), cases, tmp_path / "out", after=DEATH)
    assert (summary.ok, summary.failed, summary.computed) == (5, 3, 8)
    assert "case003" not in [case_id for case_id, _ in reader.seen]
    with Ledger.read(tmp_path / "out") as ledger:
        row = next(row for row in ledger.rows() if row.case.id == "case003")
    assert row.error == f"the process {DEATH.cause} while it worked on this case"
    assert (row.trace, row.attempts, len(row.input_hash)) == (DEATH.trace, 1, 64)
    assert f"failed,{row.error},1" in (tmp_path / "out" / "failures.csv").read_text()


def test_a_case_that_hangs_twice_fails_for_its_time(tmp_path: Path, cases: list[Case], left: Left) -> None:
    """The first time it was one of several in flight, and nobody knows which of them."""
    late = Death("was ended after more time than --case-timeout allows", "File loop.c, line 7")
    out = tmp_path / "out"
    left("case002", "case003")
    reader = WatchingReader(out)
    assert run(make_steps(reader=reader), cases, out, after=late).ok == 6
    assert {case_id for case_id, _ in reader.seen[:2]} == {"case002", "case003"}
    left(alone="case003")
    run(make_steps(), cases, out, after=late, only=["case003"])
    with Ledger.read(out) as ledger:
        row = next(row for row in ledger.rows() if row.case.id == "case003")
    assert row.error == f"the process {late.cause} while it worked on this case"
    assert row.trace == "File loop.c, line 7"


def test_the_culprit_is_left_in_peace_until_asked_for(tmp_path: Path, cases: list[Case], left: Left) -> None:
    left(alone="case003")
    out = tmp_path / "out"
    run(make_steps(), cases, out, after=DEATH)
    before = tree(out)
    assert run(make_steps(), cases, out).computed == 0  # its file is young: it was hashed, and not read
    assert tree(out) == before
    run(make_steps(), cases, out, only=["case003"])
    assert status_of(out)["case003"] == "ok"


def test_a_run_killed_as_a_whole_blames_nobody(tmp_path: Path, cases: list[Case], left: Left) -> None:
    left("case001", alone="case001")
    assert run(make_steps(), cases, tmp_path / "out").ok == 6


def test_a_suspect_that_is_done_already_is_not_tried_again(
    tmp_path: Path, cases: list[Case], left: Left
) -> None:
    run(make_steps(), cases, tmp_path / "out")
    left("case001")  # died after its row was written
    assert run(make_steps(), cases, tmp_path / "out", after=DEATH).computed == 0


@pytest.mark.parametrize("option", ["restart", "retry_failed", "verify"])
def test_what_ended_before_the_death_is_not_done_again(
    tmp_path: Path, cases: list[Case], left: Left, option: str
) -> None:
    """The same command line starts the process again; its options count once."""
    out = tmp_path / "out"
    run(make_steps(), cases, out)
    whole = tree(out)
    left("case005", ended=[("case000", "ok"), ("badnan", "failed"), ("case001", "kept")])
    writer = FakeWriter()
    options = {option: True}
    summary = run(make_steps(writer=writer), cases, out, after=DEATH, **options)  # type: ignore[arg-type]
    assert "case000" not in writer.written
    assert (summary.computed, summary.kept) == ((3, 5) if option == "retry_failed" else (2, 6))
    assert tree(out).keys() == whole.keys()
    with Ledger.read(out) as ledger:
        attempts = {row.case.id: row.attempts for row in ledger.rows()}
    assert attempts["badnan"] == 1
    assert attempts["badopenfails"] == (2 if option == "retry_failed" else 1)


def test_failures_before_the_death_count_against_the_limit(
    tmp_path: Path, cases: list[Case], left: Left
) -> None:
    out = tmp_path / "out"
    run(make_steps(), cases, out, only=["badnan"])
    left(alone="case000", ended=[("badnan", "failed")])
    summary = run(make_steps(), cases, out, after=DEATH, max_failures=1)
    assert (summary.failed, summary.skipped) == (2, 6)
    assert summary.stopped == "more than 1 cases failed"


def test_the_file_is_gone_after_every_end_but_a_death(tmp_path: Path, cases: list[Case]) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    class BrokenWriter(FakeWriter):
        def collect(self, *args: object) -> tuple[str, ...]:
            raise RuntimeError

    out = tmp_path / "out"
    assert run(make_steps(), cases, out, progress=stop).interrupted
    assert not (out / IN_FLIGHT).exists()
    with pytest.raises(RuntimeError):
        run(make_steps(writer=BrokenWriter()), cases, out)
    assert not (out / IN_FLIGHT).exists()
    run(make_steps(), cases, out)
    assert not (out / IN_FLIGHT).exists()
