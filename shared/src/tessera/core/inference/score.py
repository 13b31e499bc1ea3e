"""Predictions kept in memory, for evaluation: the same engine as a batch on disk, nothing written."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tessera.core.data.case import Case
from tessera.core.inference.interfaces import CaseResult, Written
from tessera.core.inference.reading import one_line
from tessera.core.inference.runner import run
from tessera.core.inference.single import result_of
from tessera.core.inference.steps import Steps
from tessera.core.inference.summary import ProgressCallback


@dataclass
class _Kept:
    """A writer that keeps results, or hands them on, instead of writing them."""

    take: Callable[[CaseResult], None] | None = None
    results: dict[str, CaseResult] = field(default_factory=dict)

    def write(self, result: CaseResult, out: Path) -> Written:
        """Keep one case's result, or hand it on."""
        del out
        if self.take is None:
            self.results[result.case.id] = result
        else:
            self.take(result)
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


@dataclass(frozen=True)
class NoResult:
    """A case without a result, and why."""

    case: Case
    error: str


def iter_results(steps: Steps, cases: Iterable[Case]) -> Iterator[CaseResult | NoResult]:
    """Results one by one, in the order of the cases, so that only one mask need be in memory.

    Nothing is read ahead; ``score`` with ``take`` does that.
    """
    for case in cases:
        try:
            found: CaseResult | NoResult = result_of(steps, case)
        except Exception as error:
            found = NoResult(case, one_line(error))
        yield found


def score(
    steps: Steps,
    cases: Sequence[Case],
    *,
    workers: int = 1,
    progress: ProgressCallback | None = None,
    take: Callable[[CaseResult], None] | None = None,
) -> Scores:
    """Run cases through the steps and keep their results.

    Args:
        steps: The parts of the prediction.
        cases: All cases.
        workers: Threads that read ahead.
        progress: Called after each case.
        take: Gets each result as soon as it is there, in any order, instead of it being kept; what it
            raises makes that case a failed one.
    """
    kept = _Kept(take)
    with tempfile.TemporaryDirectory(prefix="tessera-score-") as scratch:
        out = Path(scratch)
        run(replace(steps, writer=kept), cases, out, workers=workers, progress=progress)
        with (out / "failures.csv").open(encoding="utf-8", newline="") as table:
            failures = {row["case_id"]: row["error"] for row in csv.DictReader(table)}
    found = tuple(kept.results[case.id] for case in cases if case.id in kept.results)
    return Scores(found, failures)
