"""Predictions kept in memory, for evaluation: the same engine as a batch on disk, nothing written."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tessera.core.data.case import Case
from tessera.core.inference.interfaces import CaseResult, Written
from tessera.core.inference.runner import run
from tessera.core.inference.steps import Steps
from tessera.core.inference.summary import ProgressCallback


@dataclass
class _Kept:
    """A writer that keeps results instead of writing them."""

    results: dict[str, CaseResult] = field(default_factory=dict)

    def write(self, result: CaseResult, out: Path) -> Written:
        """Keep one case's result."""
        del out
        self.results[result.case.id] = result
        return Written()

    def collect(self, cases: Iterator[tuple[Case, Written]], out: Path) -> tuple[str, ...]:
        """No tables."""
        del cases, out
        return ()


@dataclass(frozen=True)
class Scores:
    """What came of a set of cases.

    Args:
        results: In the order of the cases, without the failed ones.
        failures: Case id to cause.
    """

    results: tuple[CaseResult, ...]
    failures: dict[str, str]


def score(
    steps: Steps, cases: Sequence[Case], *, workers: int = 1, progress: ProgressCallback | None = None
) -> Scores:
    """Run cases through the steps and keep their results."""
    kept = _Kept()
    with tempfile.TemporaryDirectory(prefix="tessera-score-") as scratch:
        out = Path(scratch)
        run(replace(steps, writer=kept), cases, out, workers=workers, progress=progress)
        with (out / "failures.csv").open(encoding="utf-8", newline="") as table:
            failures = {row["case_id"]: row["error"] for row in csv.DictReader(table)}
    found = tuple(kept.results[case.id] for case in cases if case.id in kept.results)
    return Scores(found, failures)
