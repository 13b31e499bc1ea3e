"""Whose turn it is: one at a time, and what is prepared whole is."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tessera.core.data.case import Case
from tessera.core.data.geometry import Geometry
from tessera.core.inference.runner import run
from tessera.core.inference.turn import Turn

from .mask_fakes import CroppedWindows, VolumeReader, VolumeSource, make_steps, make_volumes

LONG_S = 20.0  # a thread that is late by this much fails the test


class GivenUpError(Exception):
    """Waiting has no purpose any more."""


def go_on() -> None:
    return


def test_a_turn_belongs_to_one_at_a_time() -> None:
    turn, inside, most = Turn(), [], []

    def work(name: int) -> None:
        for _ in range(50):
            with turn.of(name, go_on=go_on):
                inside.append(name)
                most.append(len(inside))
                inside.remove(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert len(most) == 200
    assert max(most) == 1


def test_who_is_given_up_waits_no_longer_and_takes_nothing_along() -> None:
    turn = Turn()

    def stop() -> None:
        raise GivenUpError

    with turn.of("first", go_on=go_on), pytest.raises(GivenUpError), turn.of("second", go_on=stop):
        raise AssertionError("two have the turn")
    with turn.of("third", go_on=stop):  # free, so nobody is asked
        pass


def test_a_turn_ends_with_an_error() -> None:
    turn = Turn()
    with pytest.raises(GivenUpError), turn.of("first", go_on=go_on):
        raise GivenUpError
    with turn.of("second", go_on=go_on):
        pass


def test_a_turn_taken_from_one_who_hangs_is_not_ended_by_him_later() -> None:
    turn = Turn()

    def stop() -> None:
        raise GivenUpError

    first = turn.of("first", go_on=go_on)
    first.__enter__()
    turn.pass_on("first")
    with turn.of("second", go_on=stop):
        first.__exit__(None, None, None)
        with pytest.raises(GivenUpError), turn.of("third", go_on=stop):
            raise AssertionError("two have the turn")


class _CountingReader(VolumeReader):
    """Counts the volumes it opened."""

    def __init__(self) -> None:
        self.opened = threading.Semaphore(0)

    def open(self, case: Case) -> VolumeSource:
        self.opened.release()
        return super().open(case)


class _CountingWindows(CroppedWindows):
    """Counts the prepared volumes that are alive; the first one waits until another case is open."""

    def __init__(self, opened: threading.Semaphore) -> None:
        self.opened = opened
        self.prepared: list[weakref.ref[Any]] = []
        self.most_before = 0

    def prepare(self, source: Any) -> tuple[np.ndarray, Geometry]:
        if not self.prepared:
            assert self.opened.acquire(timeout=LONG_S)  # its own
            assert self.opened.acquire(timeout=LONG_S)  # the next one's
        self.most_before = max(self.most_before, sum(one() is not None for one in self.prepared))
        values, grid = super().prepare(source)
        self.prepared.append(weakref.ref(values))
        return values, grid


class _HangingWindows(CroppedWindows):
    """Never prepares one of the volumes until the test has ended."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def prepare(self, source: Any) -> tuple[np.ndarray, Geometry]:
        if source.hangs:
            self.over.wait()
        return super().prepare(source)


class _NamingReader(VolumeReader):
    def open(self, case: Case) -> VolumeSource:
        source = super().open(case)
        source.hangs = "hangs" in case.id
        return source


def test_the_next_case_is_opened_ahead_but_one_at_a_time_is_prepared(tmp_path: Path) -> None:
    cases = make_volumes(tmp_path / "in", n=6)
    reader = _CountingReader()
    windows = _CountingWindows(reader.opened)
    summary = run(make_steps(windows=windows, reader=reader), cases, tmp_path / "out", workers=3)
    assert summary.ok + summary.suspicious == len(windows.prepared) == 6
    assert windows.most_before == 0


def test_a_case_that_hangs_while_it_is_prepared_gives_its_turn_away(tmp_path: Path) -> None:
    cases = make_volumes(tmp_path / "in", n=3, extra=("ahangs",))
    windows = _HangingWindows()
    steps = make_steps(windows=windows, reader=_NamingReader())
    try:
        summary = run(steps, cases, tmp_path / "out", workers=2, timeout_s=0.3)
    finally:
        windows.over.set()
    assert (summary.ok + summary.suspicious, summary.failed, summary.abandoned_readers) == (3, 1, 1)


def test_a_long_case_does_not_wait_for_the_next_one_to_fill_its_last_batch(tmp_path: Path) -> None:
    """What remains of it would keep its sums while the next one's come."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        np.save(tmp_path / f"in/{name}.npy", rng.normal(size=(26, 24, 16)).astype(np.float32))
    cases = list(VolumeReader().find(tmp_path / "in"))
    ended = threading.Event()

    class Late(CroppedWindows):
        def prepare(self, source: Any) -> tuple[np.ndarray, Geometry]:
            if ended_before.pop():
                assert ended.wait(LONG_S)
            return super().prepare(source)

    ended_before = [True, False]  # the second waits for the first one's row
    steps = make_steps(windows=Late(), batch_size=8)
    summary = run(steps, cases, tmp_path / "out", workers=2, progress=lambda _: ended.set())
    assert summary.failed == 0
