"""A prediction over many cases that goes on where it stopped: nothing lost, nothing done twice."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tessera.core.data.case import Case
from tessera.core.errors import DataError, TesseraError
from tessera.core.inference.case_limit import CaseLimit
from tessera.core.inference.driver import Driver, is_disk_full
from tessera.core.inference.flight import Death, FlightLog
from tessera.core.inference.ledger import Ledger
from tessera.core.inference.provenance import measured, write_provenance
from tessera.core.inference.reading import Job
from tessera.core.inference.shards import SHARDS, Shard, assign, shard_folder
from tessera.core.inference.steps import Steps
from tessera.core.inference.summary import ProgressCallback, RunSummary, peak_bytes
from tessera.core.inference.tables import write_tables

__all__ = ["DiskFullError", "choose", "run"]

MIN_FREE_BYTES = 64 * 2**20
_LEFTOVER = re.compile(r"^\..+\.\d+\.[0-9a-f]{32}\.tmp$")  # names that tessera.core.data.atomic writes to


class DiskFullError(TesseraError):
    """The output folder's disk has no room."""


def run(
    steps: Steps,
    cases: Sequence[Case],
    out: Path,
    *,
    workers: int = 1,
    timeout_s: float = 600.0,
    limit: CaseLimit | None = None,
    max_failures: int | None = None,
    retry_failed: bool = False,
    only: Sequence[str] = (),
    shard: Shard | None = None,
    verify: bool = False,
    restart: bool = False,
    accept_version: bool = False,
    min_free_bytes: int = MIN_FREE_BYTES,
    progress: ProgressCallback | None = None,
    after: Death | None = None,
    provenance: bool = False,
) -> RunSummary:
    """Take all cases through the steps and write their outputs and tables below ``out``.

    Goes on where an earlier run with the same bundle and options stopped; what a process may have died of is
    tried first, alone. Outputs have the same bytes whatever the order, the interruptions, the number of
    readers and of shards. Ctrl-C and a full disk end the run with everything so far recorded.

    Args:
        steps: The parts of the prediction.
        cases: All cases, also those of the other shards.
        out: The output folder.
        workers: Threads that read ahead.
        timeout_s: Longest time for reading one case, not counting waits for the network.
        limit: Longest time for one case as a whole, not counting waits for others.
        max_failures: Stop when more cases than this failed in this run.
        retry_failed: Try cases again that failed before.
        only: Case ids or patterns such as ``site7*``; failed ones among them are tried again.
        shard: The part of the cases to do here; its results go to ``shards/<i>-of-<n>`` until merged.
        verify: Hash all inputs again instead of trusting size and time of change.
        restart: Throw the old results away.
        accept_version: Go on although versions differ from the earlier results'.
        min_free_bytes: Room the disk must have at the start.
        progress: Called after each case.
        after: How the process ended whose run this one continues; a case it tried alone becomes a failed one.
        provenance: Write ``provenance/<case>.json`` too.
    """
    start = time.perf_counter()
    _refuse_equal_ids(cases)
    chosen = choose(cases, only)
    plan = {} if shard is None else assign(cases, shard.count)
    if shard is not None:
        cases = [case for case in cases if plan[case.id] == shard.index]
        chosen = [case for case in chosen if plan[case.id] == shard.index]
        out = shard_folder(out, shard)
    _prepare_folder(out, min_free_bytes)
    summary = RunSummary(out, startup_s=dict(steps.startup_s))
    restart = restart and after is None
    with (
        Ledger.open(out, steps.identity, restart=restart, accept_version=accept_version) as ledger,
        FlightLog(out, continued=after is not None) as flight,
    ):
        with _early_ends(summary, out):
            with summary.stage("ledger"):
                _remove_leftovers(out)
                ledger.plan(cases)
                if shard is not None:
                    ledger.set_fact("shard", {"index": shard.index, "count": shard.count, "plan": plan})
            options: Any = {"limit": limit, "max_failures": max_failures, "progress": progress}
            driver = Driver(steps, ledger, out, summary, flight=flight, **options)
            with summary.stage("checking earlier results"):
                jobs = driver.plan(chosen, retry_failed=retry_failed or bool(only), verify=verify)
            rest = _clear_suspects(driver, flight, jobs, after=after, timeout_s=timeout_s)
            driver.drive(rest, workers=workers, timeout_s=timeout_s)
            with summary.stage("tables"):
                summary.tables = write_tables(ledger, steps.writer, out)
                if provenance:
                    write_provenance(ledger, out)
        summary.count(ledger.counts())
        summary.seconds["total"] = time.perf_counter() - start
        _measure(summary, ledger, by_case=provenance)
    return summary


def _measure(summary: RunSummary, ledger: Ledger, *, by_case: bool) -> None:
    summary.peak_bytes = peak_bytes()
    summary.cases = measured(ledger) if by_case else {}
    with suppress(sqlite3.Error):  # a full disk has been reported already
        ledger.set_fact("stages", [stage._asdict() for stage in summary.stage_table()])


@contextmanager
def _early_ends(summary: RunSummary, out: Path) -> Iterator[None]:
    """Ctrl-C and a full disk end the block, and the summary says so."""
    try:
        yield
    except KeyboardInterrupt:
        summary.interrupted = True
        summary.stopped = "interrupted; run the same command again to go on"
    except (OSError, TesseraError, sqlite3.Error) as error:
        if not is_disk_full(error):
            raise
        summary.stopped = f"the disk of {out} is full; free some space and run the same command again"


def _clear_suspects(
    driver: Driver, flight: FlightLog, jobs: Sequence[Job], *, after: Death | None, timeout_s: float
) -> list[Job]:
    """Bring every case that a process may have died of to its row, alone; the others are returned."""
    culprit = None if after is None else flight.before.alone
    suspects = [job for job in jobs if job.case.id in flight.before.suspects]
    for job in sorted(suspects, key=lambda job: job.case.id != culprit):
        if after is not None and job.case.id == culprit:
            driver.blame(job, f"the process {after.cause} while it worked on this case", after.trace)
        else:
            flight.alone(job.case.id)
            driver.drive([job], workers=1, timeout_s=timeout_s)
    return [job for job in jobs if job not in suspects]


def _refuse_equal_ids(cases: Sequence[Case]) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise DataError(f"two cases are called '{case.id}'", hint="rename one of the two inputs")
        seen.add(case.id)


def choose(cases: Sequence[Case], only: Sequence[str]) -> list[Case]:
    """The cases that ``--only`` names; all without one."""
    if not only:
        return list(cases)
    ids = [case.id for case in cases]
    wanted: set[str] = set()
    for pattern in only:
        found = {pattern} if pattern in ids else set(fnmatch.filter(ids, pattern))
        if not found:
            raise DataError(
                f"--only {pattern} names no case",
                expected=f"one of {len(ids)} ids, such as {', '.join(ids[:3])}, or a pattern with *",
            )
        wanted |= found
    return [case for case in cases if case.id in wanted]


def _prepare_folder(out: Path, min_free_bytes: int) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out).free
    except OSError as error:
        raise TesseraError(
            f"cannot write to {out}", found=error.strerror or error, hint="give another output folder"
        ) from None
    if free < min_free_bytes:
        raise DiskFullError(
            f"the disk of {out} has too little room to begin",
            found=f"{free / 2**20:.0f} MiB free",
            expected=f"at least {min_free_bytes / 2**20:.0f} MiB",
            hint="free some space or give another output folder",
        )


def _remove_leftovers(out: Path) -> None:
    """Delete the unfinished files of a run that was killed while it wrote; other shards' are theirs."""
    for folder, folders, names in os.walk(out):
        if Path(folder) == out and SHARDS in folders:
            folders.remove(SHARDS)
        for name in names:
            if _LEFTOVER.match(name):
                (Path(folder) / name).unlink(missing_ok=True)
