"""One bad case is one failed row; a full disk ends the run with everything recorded."""

from __future__ import annotations

import csv
import errno
import shutil
import sqlite3
import threading
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tessera.core.data.case import Case, FileRef
from tessera.core.data.geometry import Pixels
from tessera.core.errors import TesseraError
from tessera.core.inference.forward import ForwardPass
from tessera.core.inference.interfaces import Written
from tessera.core.inference.ledger import Ledger
from tessera.core.inference.runner import DiskFullError, run

from . import fakes
from .fakes import WINDOW, FakeWindows, FakeWriter, FileReader, OddNetwork, make_files, make_steps, tree

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def no_reader_waits_longer_than_its_test() -> Iterator[None]:
    fakes.GATE.clear()
    yield
    fakes.GATE.set()
    for thread in threading.enumerate():
        if thread.name == "tessera-reader":
            thread.join(timeout=5)
            assert not thread.is_alive()


def failures(out: Path) -> dict[str, dict[str, str]]:
    with (out / "failures.csv").open(newline="") as table:
        return {row["case_id"]: row for row in csv.DictReader(table)}


CAUSES = {
    "openfails": "cannot read it; found: 7 bytes; expected: a whole file",
    "readfails": "Input/output error",
    "memory": "MemoryError: not enough memory",
    "nan": "the input holds values that are not finite",
    "huge": "the network's output is not finite",
    "writefails": "Permission denied",
}


class Overflowing(OddNetwork):
    """Gives infinity where the input is huge."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * torch.where(input.abs().amax((1, 2)) > 1e30, torch.inf, 1.0)[:, None]


@pytest.mark.parametrize("workers", [1, 2])
def test_each_bad_case_fails_alone_with_its_cause(tmp_path: Path, workers: int) -> None:
    cases = make_files(tmp_path / "in", n=6, extra=tuple(CAUSES))
    steps = make_steps(forward=ForwardPass([Overflowing()], task="class", batch_size=4))
    summary = run(steps, cases, tmp_path / "out", workers=workers)
    found = failures(tmp_path / "out")
    assert set(found) == set(CAUSES)
    for name, cause in CAUSES.items():
        assert cause in found[name]["error"], name
        assert "\n" not in found[name]["error"]
        assert found[name]["path"] == str(tmp_path / "in" / f"{name}.bin")
        assert found[name]["attempts"] == "1"
    assert (summary.ok, summary.failed, summary.exit_code) == (6, 6, 3)
    with Ledger.read(tmp_path / "out") as ledger:
        traces = {row.case.id: row.trace for row in ledger.rows() if row.status == "failed"}
    assert all("Traceback" in trace for trace in traces.values())
    good = make_files(tmp_path / "good", n=6)
    run(steps, good, tmp_path / "clean")
    clean = tree(tmp_path / "clean")
    assert {n: tree(tmp_path / "out")[n] for n in clean if n.startswith("cases/")} == {
        n: c for n, c in clean.items() if n.startswith("cases/")
    }


def test_a_hanging_reader_is_left_behind_and_the_rest_goes_on(tmp_path: Path) -> None:
    cases = make_files(tmp_path / "in", n=5, extra=("ahangs", "case001hangs"))
    summary = run(make_steps(), cases, tmp_path / "out", timeout_s=0.2)
    assert (summary.ok, summary.failed, summary.abandoned_readers) == (5, 2, 2)
    assert "reading took longer than 0.2 s" in failures(tmp_path / "out")["ahangs"]["error"]


def test_waiting_for_the_network_is_not_reading_time(tmp_path: Path) -> None:
    (tmp_path / "long.bin").write_bytes(np.ones(8 * WINDOW, dtype=np.float32).tobytes())
    slow = ForwardPass([Slow()], task="class", batch_size=2)
    cases = list(FileReader().find(tmp_path))
    summary = run(make_steps(forward=slow), cases, tmp_path / "out", timeout_s=0.3)
    assert summary.failed == 0
    assert summary.seconds["features and network"] > 1.0


class Slow(OddNetwork):
    """Takes longer for a batch than the test allows for reading."""

    def forward(self, input: Tensor) -> Tensor:
        threading.Event().wait(0.4)
        return super().forward(input)


class Picky(OddNetwork):
    """Refuses a whole batch in which any row is huge."""

    def forward(self, input: Tensor) -> Tensor:
        if bool((input.abs() > 1e30).any()):
            raise RuntimeError("out of memory")
        return super().forward(input)


def test_a_batch_that_fails_is_blamed_on_the_right_case(tmp_path: Path) -> None:
    cases = make_files(tmp_path / "in", n=6, extra=("huge",))
    steps = make_steps(forward=ForwardPass([Picky()], task="class", batch_size=4))
    run(steps, cases, tmp_path / "out")
    assert {name: row["error"] for name, row in failures(tmp_path / "out").items()} == {
        "huge": "RuntimeError: out of memory"
    }
    run(steps, cases[:6], tmp_path / "clean")
    for name in (f"cases/case{i:03d}.json" for i in range(6)):
        assert tree(tmp_path / "out")[name] == tree(tmp_path / "clean")[name]


def test_a_network_that_never_works_fails_every_case(tmp_path: Path) -> None:
    cases = make_files(tmp_path / "in", n=4)
    steps = make_steps(forward=ForwardPass([torch.nn.Linear(7, 3)], task="class", batch_size=4))
    assert run(steps, cases, tmp_path / "out").failed == 4


def test_more_failures_than_allowed_stop_the_run_and_the_next_run_goes_on(tmp_path: Path) -> None:
    cases = make_files(tmp_path / "in", n=40, extra=("a1openfails", "a2openfails", "a3openfails"))
    summary = run(make_steps(), cases, tmp_path / "out", max_failures=1)
    assert (summary.failed, summary.exit_code) == (2, 3)
    assert summary.stopped == "more than 1 cases failed"
    assert summary.skipped == 43 - 2 - summary.ok
    assert failures(tmp_path / "out")["a3openfails"]["error"] == "not tried: more than 1 cases failed"
    summary = run(make_steps(), cases, tmp_path / "out")
    assert (summary.ok, summary.failed, summary.skipped) == (40, 3, 0)
    run(make_steps(), cases, tmp_path / "whole")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_as_many_failures_as_allowed_do_not_stop_the_run(tmp_path: Path) -> None:
    cases = make_files(tmp_path / "in", n=4, extra=("a1openfails", "a2openfails"))
    summary = run(make_steps(), cases, tmp_path / "out", max_failures=2)
    assert (summary.ok, summary.failed, summary.stopped) == (4, 2, None)


def test_a_wrong_output_size_or_shape_is_the_cases_failure(tmp_path: Path) -> None:
    class Wrong(FakeWindows):
        def read(self, source: Any, region: Any) -> Any:
            sample = super().read(source, region)
            return {**sample, "input": sample["input"][:, :10]}

    cases = make_files(tmp_path / "in", n=2)
    assert run(make_steps(windows=Wrong()), cases, tmp_path / "out").failed == 2
    assert "another shape; found: (1, 10)" in failures(tmp_path / "out")["case000"]["error"]


def test_a_file_that_changes_while_it_is_read_fails(tmp_path: Path) -> None:
    class Growing(FakeWindows):
        def read(self, source: Any, region: Any) -> Any:
            sample = super().read(source, region)
            if region.start == (0,) and "case001" in source._case.id:
                with source._path.open("ab") as file:
                    file.write(b"more")
            return sample

    cases = make_files(tmp_path / "in", n=3)
    run(make_steps(windows=Growing()), cases, tmp_path / "out")
    assert list(failures(tmp_path / "out")) == ["case001"]
    assert "changed while it was read" in failures(tmp_path / "out")["case001"]["error"]


def test_a_hash_that_differs_from_the_manifest_fails(tmp_path: Path) -> None:
    case = make_files(tmp_path / "in", n=1)[0]
    listed = replace(case, files={"data": replace(case.files["data"], sha256="0" * 64)})
    run(make_steps(), [listed], tmp_path / "out")
    assert "is not the file the manifest lists" in failures(tmp_path / "out")["case000"]["error"]


def test_a_writer_that_leaves_the_folder_or_takes_anothers_file_fails(tmp_path: Path) -> None:
    class Careless(FakeWriter):
        def write(self, result: Any, out: Path) -> Written:
            written = super().write(result, out)
            name = {"case001": "../x", "case002": "/tmp/x", "case003": "none.json"}.get(result.case.id)
            return Written((name,), written.rows) if name else Written(("cases/case000.json",), written.rows)

    cases = make_files(tmp_path / "in", n=5)
    run(make_steps(writer=Careless()), cases, tmp_path / "out")
    found = {name: row["error"] for name, row in failures(tmp_path / "out").items()}
    assert "left the output folder" in found["case001"]
    assert "left the output folder" in found["case002"]
    assert "cannot read" in found["case003"]
    assert sum("is also that of case" in error for error in found.values()) == 1


def test_equal_content_and_silence_are_remarks(tmp_path: Path) -> None:
    make_files(tmp_path / "in", n=3, extra=("silent",))
    shutil.copy(tmp_path / "in" / "case001.bin", tmp_path / "in" / "zcopy.bin")
    summary = run(make_steps(), list(FileReader().find(tmp_path / "in")), tmp_path / "out")
    assert (summary.ok, summary.suspicious, summary.exit_code) == (3, 2, 0)
    with (tmp_path / "out" / "remarks.csv").open(newline="") as table:
        found = {row["case_id"]: row["remark"] for row in csv.DictReader(table)}
    assert found == {"silent": "silent", "zcopy": "same content as case001"}
    results = tree(tmp_path / "out")
    assert results["cases/zcopy.json"] == results["cases/case001.json"]
    assert b'"flags": ["silent"]' in results["cases/silent.json"]


def test_one_silent_window_does_not_make_a_case_silent(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    values = np.zeros(3 * WINDOW, dtype=np.float32)
    values[0] = 1.0
    (folder / "a.bin").write_bytes(values.tobytes())
    assert run(make_steps(), list(FileReader().find(folder)), tmp_path / "out").ok == 1


def test_too_little_room_is_said_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 1000))
    with pytest.raises(DiskFullError, match="too little room"):
        run(make_steps(), make_files(tmp_path / "in", n=1), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


class FullAfter(FakeWriter):
    """The disk is full from the ``n``-th case on."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.left = n

    def write(self, result: Any, out: Path) -> Written:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(result, out)


class NoRoomForTables(FakeWriter):
    """The disk is full when the tables are written."""

    def collect(self, cases: Any, out: Path) -> tuple[str, ...]:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")


def full_ledger(ledger: Ledger, rows: Any) -> None:
    del ledger, rows
    raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize(("where", "n_ok"), [("outputs", 4), ("ledger", 0), ("tables", 9)])
def test_a_disk_that_fills_up_ends_the_run_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, n_ok: int
) -> None:
    cases = make_files(tmp_path / "in", n=9)
    writer = {"outputs": FullAfter(4), "tables": NoRoomForTables()}.get(where, FakeWriter())
    with monkeypatch.context() as patch:
        if where == "ledger":
            patch.setattr(Ledger, "record", full_ledger)
        summary = run(make_steps(writer=writer), cases, tmp_path / "out")
    assert "is full; free some space" in str(summary.stopped)
    assert (summary.ok, summary.failed, summary.pending, summary.exit_code) == (n_ok, 0, 9 - n_ok, 3)
    summary = run(make_steps(), cases, tmp_path / "out")
    assert (summary.kept, summary.computed, summary.exit_code) == (n_ok, 9 - n_ok, 0)
    run(make_steps(), cases, tmp_path / "whole")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_an_output_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(TesseraError, match="cannot write to"):
        run(make_steps(), make_files(tmp_path / "in", n=1), tmp_path / "out")


class HugeReader(FileReader):
    """One case of 10 GB that exists only in the windows asked for."""

    largest = 0

    def open(self, case: Any) -> Any:
        return self

    @property
    def grid(self) -> Any:
        return Pixels((10 * 2**30 // 4,))

    def read(self, region: Any = None) -> Any:
        HugeReader.largest = max(HugeReader.largest, region.shape[0])
        return np.full(region.shape[0], region.start[0] % 7, dtype=np.float32)

    def close(self) -> None:
        return


class WideWindows(FakeWindows):
    """Windows of 4 MB, every fourth."""

    input_shape = (1, 2**20)

    def plan(self, grid: Any) -> Any:
        return fakes.window_regions(grid.shape, (2**20,), (2**22,), "pad")


class Mean(torch.nn.Module):
    """The mean of each row as three logits."""

    def forward(self, input: Tensor) -> Tensor:
        return input.mean(-1).expand(-1, 3)


@pytest.mark.slow
def test_ten_gigabytes_pass_through_bounded_memory(tmp_path: Path) -> None:
    from tessera.core.inference.summary import peak_bytes

    steps = make_steps(
        reader=HugeReader(), windows=WideWindows(), forward=ForwardPass([Mean()], task="class", batch_size=4)
    )
    file = tmp_path / "small.bin"
    file.write_bytes(b"1234")
    before = peak_bytes()
    case = Case(id="huge", files={"data": FileRef(file)}, group="g")
    summary = run(steps, [case], tmp_path / "out", workers=2)
    assert summary.ok == 1
    assert HugeReader.largest == 2**20
    assert peak_bytes() - before < 300 * 2**20


def test_readers_wait_when_the_network_is_slower(tmp_path: Path) -> None:
    """What is read but not yet computed stays below the queue, the waiting rows and one window a reader."""
    ahead, behind, most = [0], [0], [0]

    class Counting(FakeWindows):
        def read(self, source: Any, region: Any) -> Any:
            ahead[0] += 1
            most[0] = max(most[0], ahead[0] - behind[0])
            return super().read(source, region)

    class Counted(OddNetwork):
        def forward(self, input: Tensor) -> Tensor:
            behind[0] += int(input.any(-1).any(-1).sum())
            return super().forward(input)

    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "long.bin").write_bytes(np.ones(2000 * WINDOW, dtype=np.float32).tobytes())
    steps = make_steps(windows=Counting(), forward=ForwardPass([Counted()], task="class", batch_size=4))
    run(steps, list(FileReader().find(folder)), tmp_path / "out")
    assert ahead[0] == behind[0] == 2000
    assert most[0] <= 4 + 4 * 8 + 2
