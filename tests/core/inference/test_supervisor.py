"""The process that watches the run: what it passes on, what it heals, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tessera.core.cli import watched
from tessera.core.cli.app import app
from tessera.core.cli.invocation import Invocation
from tessera.core.errors import TesseraError
from tessera.core.inference import supervisor
from tessera.core.inference.flight import Death, FlightLog
from tessera.core.inference.supervisor import supervise

ROOT = Path(__file__).parents[3]
Watch = Callable[..., int]


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What the fake run is to do, one word a start."""
    monkeypatch.chdir(ROOT)  # where a process finds the tests
    monkeypatch.syspath_prepend("")
    monkeypatch.setenv("FAKE_RUN_FOLDER", str(tmp_path))
    monkeypatch.setattr(supervisor, "_RUN", "tests.core.inference.fake_run")

    def plan(*actions: str) -> None:
        monkeypatch.setenv("FAKE_RUN", json.dumps(actions))

    return plan


@pytest.fixture
def watch(surroundings: Callable[..., None], tmp_path: Path) -> Watch:
    def watch(*actions: str, say: Callable[[str], None] = lambda _: None) -> int:
        surroundings(*actions)
        return supervise(["predict", "x"], tmp_path, say=say)

    return watch


def starts(folder: Path) -> list[Any]:
    """Arguments and death before each start of the run."""
    return [json.loads(line) for line in (folder / "starts.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130])
def test_an_exit_code_of_the_run_is_that_of_the_command(watch: Watch, tmp_path: Path, code: int) -> None:
    assert watch(f"ends:{code}") == code
    assert starts(tmp_path) == [[["predict", "x"], None]]


def test_after_a_crash_another_process_goes_on_and_knows_the_cause(watch: Watch, tmp_path: Path) -> None:
    said: list[str] = []
    assert watch("dies:11:scan7", "alone:11:scan7", "ends:3", say=said.append) == 3
    _, second, third = (death for _, death in starts(tmp_path))
    for cause, trace in (second, third):
        assert cause == "was killed by signal 11 (segmentation fault)"
        assert "fake_run.py" in trace  # where it was
    assert len(said) == 2
    assert "scan7" in said[0]


def test_a_library_that_ends_the_process_is_a_crash_even_with_exit_code_0(
    watch: Watch, tmp_path: Path
) -> None:
    assert watch("exits:0:a", "ends:0") == 0
    assert starts(tmp_path)[1][1][0] == "ended by itself with exit code 0"


def test_a_process_that_was_ended_for_its_time_says_so_and_where_it_was(watch: Watch, tmp_path: Path) -> None:
    assert watch(f"dies:{int(signal.SIGALRM)}:a", "ends:3") == 3
    cause, trace = starts(tmp_path)[1][1]
    assert cause == "was ended after more time than --case-timeout allows"
    assert "fake_run.py" in trace


def test_dying_twice_before_any_case_is_an_error_with_the_reason(watch: Watch, tmp_path: Path) -> None:
    with pytest.raises(TesseraError, match=r"signal 6 \(aborted\), twice") as caught:
        watch("early:6", "early:6", "ends:0")
    assert "--no-isolation" in str(caught.value)
    assert len(starts(tmp_path)) == 2


def test_deaths_with_work_done_between_them_are_no_end(watch: Watch, tmp_path: Path) -> None:
    assert watch("early:6", "dies:6:a", "early:6", "dies:6:b", "early:6", "ends:0") == 0


def test_a_death_before_the_file_is_opened_leaves_the_one_it_is_about(watch: Watch, tmp_path: Path) -> None:
    """Case a was tried alone when signal 11 came; that a later process died early says nothing about a."""
    assert watch("alone:11:a", "early:6", "ends:0") == 0
    assert "signal 11" in starts(tmp_path)[2][1][0]


def test_what_an_earlier_run_left_is_not_blamed_for_an_early_death(watch: Watch, tmp_path: Path) -> None:
    log = FlightLog(tmp_path)
    log.alone("a")
    assert log._file is not None
    log._file.close()  # that run was killed as a whole
    assert watch("early:6", "ends:0") == 0
    assert starts(tmp_path)[1][1] is None


def test_signal_9_names_the_memory_that_was_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_memory_bytes", lambda: 64_000_000_000)
    assert supervisor._cause(-9, 61_230_000_000) == (
        "was killed by signal 9 (probably out of memory: 61.2 GB in use of 64.0 GB)"
    )
    assert "signal 15 (SIGTERM)" in supervisor._cause(-15, 0)


def test_the_machine_has_memory() -> None:
    assert 2**28 < supervisor._memory_bytes() < 2**50


def start_program(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.core.inference.fake_run", "--watch", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def test_the_watching_process_loads_no_torch_and_passes_the_run_s_code_on(
    surroundings: Callable[..., None], tmp_path: Path
) -> None:
    surroundings("dies:11:a", "ends:3")
    program = start_program("predict", "bundle", "scans", "--out", tmp_path)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 3, err
    assert out == "loaded: []\n"
    assert starts(tmp_path)[1][0] == ["predict", "bundle", "scans", "--out", str(tmp_path)]
    assert "segmentation fault" in err


def test_ctrl_c_reaches_the_run_once_and_ends_with_130(
    surroundings: Callable[..., None], tmp_path: Path
) -> None:
    surroundings("waits")
    program = start_program("predict", "bundle", "scans", "--out", tmp_path)
    assert program.stdout is not None
    pid = int(program.stdout.readline())
    os.kill(pid, signal.SIGINT)  # a terminal sends it to both
    os.kill(program.pid, signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (130, "interrupted\nloaded: []\n"), err


def test_a_second_ctrl_c_ends_a_run_that_does_not_listen(
    surroundings: Callable[..., None], tmp_path: Path
) -> None:
    surroundings("deaf")
    program = start_program("predict", "bundle", "scans", "--out", tmp_path)
    assert program.stdout is not None
    program.stdout.readline()
    program.send_signal(signal.SIGINT)
    assert program.stdout.readline() == "interrupted\n"
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=60)
    assert program.returncode == 130


@pytest.mark.parametrize("by_the_kernel", [True, False])
def test_killing_the_watching_process_ends_the_run_at_once(
    surroundings: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_the_kernel: bool
) -> None:
    if not by_the_kernel:
        monkeypatch.setenv("FAKE_RUN_NO_PRCTL", "1")
    surroundings("waits")
    program = start_program("predict", "bundle", "scans", "--out", tmp_path)
    assert program.stdout is not None
    program.stdout.readline()
    program.kill()
    out, _ = program.communicate(timeout=30)  # ends when no process holds the pipe any more; it waits 60 s
    assert out == ""
    assert program.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("options", "watched", "isolated"),
    [
        ((), False, True),
        (("--no-isolation",), False, False),
        (("--dry-run",), False, False),
        ((), True, False),
    ],
)
def test_who_runs_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], watched: bool, isolated: bool
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(
        supervisor, "supervise", lambda arguments, folder, *, say: asked.append((arguments, folder)) or 3
    )
    invocation = Invocation(("as", "typed"), watched=watched, death=Death("x") if watched else None)
    command = ["predict", "nowhere", "x", "--out", str(tmp_path), "--shard", "2/3", *options]
    result = CliRunner().invoke(app, command, obj=invocation)
    if isolated:
        assert asked == [(("as", "typed"), tmp_path / "shards" / "2-of-3")]
        assert result.exit_code == 3
    else:
        assert asked == []
        assert result.exit_code == 2  # nowhere is no bundle, which this process found itself


def test_inside_the_process_every_end_of_the_command_line_is_a_code(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watched._call(Invocation(("--version",), watched=True)) == 0
    assert watched._call(Invocation(("nonsense",), watched=True)) == 2

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("tessera.core.cli.app.app", fail)
    assert watched._call(Invocation((), watched=True)) == 1
    assert "a bug" in capfd.readouterr().err


def test_the_process_started_is_the_one_with_the_command_line() -> None:
    assert watched.__spec__.name == supervisor._RUN
