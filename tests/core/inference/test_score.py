"""Scoring in memory: the same answers as a batch on disk, and failures by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tessera.core.inference.interfaces import CaseResult, Written
from tessera.core.inference.runner import run
from tessera.core.inference.score import score

from .fakes import make_files, make_steps


class Recorder:
    """Wraps a writer and remembers the results it was given."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self.results: dict[str, CaseResult] = {}

    def write(self, result: CaseResult, out: Path) -> Written:
        self.results[result.case.id] = result
        return self.writer.write(result, out)

    def collect(self, cases: Any, out: Path) -> tuple[str, ...]:
        return self.writer.collect(cases, out)


def test_scores_equal_those_of_a_run_on_disk_bit_for_bit(tmp_path: Path) -> None:
    cases, steps = make_files(tmp_path / "in", n=7), make_steps()
    recorder = Recorder(steps.writer)
    run(replace(steps, writer=recorder), cases, tmp_path / "out")
    found = score(steps, cases)
    assert [result.case.id for result in found.results] == [case.id for case in cases]
    for result in found.results:
        np.testing.assert_array_equal(result.scores, recorder.results[result.case.id].scores)
        np.testing.assert_array_equal(result.summary, recorder.results[result.case.id].summary)


def test_a_failing_case_is_named_and_the_others_are_scored(tmp_path: Path) -> None:
    cases = make_files(tmp_path / "in", n=3, extra=("readfails",))
    found = score(make_steps(), cases)
    assert len(found.results) == 3
    ((name, cause),) = found.failures.items()
    assert "readfails" in name
    assert "Input/output error" in cause


def test_nothing_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    score(make_steps(), make_files(tmp_path / "in", n=2))
    assert list((tmp_path / "scratch").iterdir()) == []
