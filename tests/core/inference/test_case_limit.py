"""A case that takes too long fails for it, and the others do not."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from torch import Tensor

from tessera.core.errors import DataError
from tessera.core.inference.case_limit import GRACE, GRACE_S, CaseLimit
from tessera.core.inference.forward import ForwardPass
from tessera.core.inference.ledger import Ledger
from tessera.core.inference.runner import run

from .fakes import OddNetwork, make_files, make_steps


def test_without_a_limit_nothing_is_too_long() -> None:
    limit = CaseLimit(deadly=True)
    limit.check("a", 1e9)
    assert limit.reading_s(600.0) == 600.0


def test_a_case_beyond_the_limit_is_told() -> None:
    limit = CaseLimit(90.0)
    limit.check("a", 90.0)
    with pytest.raises(DataError, match="case a: it took longer than 90 s"):
        limit.check("a", 90.1)
    assert (limit.reading_s(600.0), limit.reading_s(30.0)) == (90.0, 30.0)


def test_the_process_is_ended_a_little_after_the_limit_at_every_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_to: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda which, seconds: set_to.append(seconds))
    limit = CaseLimit(90.0, deadly=True)
    with pytest.raises(KeyError), limit.watching():
        with limit.piece(60.0):
            assert set_to == pytest.approx([whole := GRACE * 90 + GRACE_S, whole - 60])
        with limit.piece(200.0):
            raise KeyError
    assert set_to[2:] == pytest.approx([whole, GRACE_S, whole, 0])
    for limit in (CaseLimit(90.0), CaseLimit(deadly=True)):  # nobody watches the process; any time will do
        with limit.watching(), limit.piece(60.0):
            assert len(set_to) == 6


class SlowNetwork(OddNetwork):
    """Takes a while where the input is zero throughout."""

    def forward(self, input: Tensor) -> Tensor:
        end = time.perf_counter() + 0.8
        while not input.any() and time.perf_counter() < end:
            pass
        return super().forward(input)


def test_a_slow_case_fails_between_two_batches_and_the_rest_is_done(tmp_path: Path) -> None:
    cases = make_files(tmp_path / "in", n=3, extra=["silent"])
    forward = ForwardPass([SlowNetwork()], task="class", batch_size=1)
    summary = run(make_steps(forward=forward), cases, tmp_path / "out", limit=CaseLimit(0.5))
    assert (summary.ok, summary.failed) == (3, 1)
    with Ledger.read(tmp_path / "out") as ledger:
        (row,) = (row for row in ledger.rows() if row.status == "failed")
    assert row.case.id == "silent"
    assert "longer than 0.5 s" in row.error
    assert "--case-timeout" in row.error
