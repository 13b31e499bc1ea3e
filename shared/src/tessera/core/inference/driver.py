"""The one thread that runs the network and writes outputs and ledger; each failure stays with its case."""

from __future__ import annotations

import errno
import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tessera.core.data.case import Case
from tessera.core.errors import DataError
from tessera.core.inference.case_limit import CaseLimit
from tessera.core.inference.flight import FlightLog
from tessera.core.inference.forward import Input
from tessera.core.inference.interfaces import Stitcher, Written
from tessera.core.inference.ledger import Ledger, Row
from tessera.core.inference.outputs import output_digests, outputs_hold, remove_outputs
from tessera.core.inference.reading import (
    Ended,
    Failed,
    Job,
    Message,
    Opened,
    ReadAhead,
    Window,
    fingerprint,
    one_line,
    trace_of,
)
from tessera.core.inference.slots import Slots, queue_room, slot_of, waiting_limit
from tessera.core.inference.stamps import stamp_of
from tessera.core.inference.steps import Steps
from tessera.core.inference.summary import Progress, ProgressCallback, RunSummary, peak_bytes

_MANY = 16  # batches of a case beside which a last one that is not full costs little
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(eq=False)
class _Flight:
    """A case between its opening and its row in the ledger."""

    job: Job
    regions: int
    stitcher: Stitcher
    flags: frozenset[str] | None = None  # those that every window so far carries
    answered: int = 0
    read: bool = False
    network_s: float = 0.0

    def spent_s(self) -> float:
        """Time spent on the case so far."""
        return self.job.seconds() + self.network_s


@dataclass(frozen=True)
class _Waiting:
    flight: _Flight
    index: int
    input: Input


class Driver:
    """Takes jobs from reading to their rows in the ledger.

    Args:
        steps: The parts of the prediction.
        ledger: Open and planned.
        out: The output folder.
        summary: Receives times and counts.
        flight: Is told of each piece of work.
        limit: Of each case's time; none when not given.
        max_failures: More than this end the run early.
        progress: Called after each case.
    """

    def __init__(
        self,
        steps: Steps,
        ledger: Ledger,
        out: Path,
        summary: RunSummary,
        *,
        flight: FlightLog,
        limit: CaseLimit | None = None,
        max_failures: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        self._steps = steps
        self._ledger = ledger
        self._out = out
        self._summary = summary
        self._flight = flight
        self._limit = limit or CaseLimit()
        self._max_failures = max_failures
        self._progress = progress
        self._failures = 0
        self._total = 0
        self._old = {row.case.id: row for row in ledger.rows(full=False)}
        self._owner = {name: row.case.id for row in self._old.values() for name in row.outputs}
        self._open: dict[Job, _Flight | None] = {}  # jobs without a row, with their flight once begun
        size = steps.forward.batch_size
        self._slots: Slots[_Waiting] = Slots(size, waiting_limit(size, steps.windows.input_shape))

    def plan(self, cases: Sequence[Case], *, retry_failed: bool, verify: bool) -> list[Job]:
        """The cases that must be looked at; the others' earlier results still hold."""
        jobs = []
        for case in cases:
            row = self._old[case.id]
            if (status := self._flight.ended_before.get(case.id)) is not None:
                self._take_over(status)
                continue
            holds = row.done and outputs_hold(self._out, row.outputs)
            holds = holds or (row.status == "failed" and not retry_failed)
            if holds and row.stamp and row.stamp == stamp_of(case) and not verify:
                self._summary.kept += 1
            else:
                jobs.append(Job(case, known_hash=row.input_hash if holds else None))
        self._open = dict.fromkeys(jobs)
        self._total = len(cases)
        return jobs

    def _take_over(self, status: str) -> None:
        """Count a case that a process ended which this one replaces."""
        kept = status == "kept"
        self._summary.kept += kept
        self._summary.computed += not kept
        self._failures += status == "failed"

    def blame(self, job: Job, error: str, trace: str) -> None:
        """One failed row for a case that cannot be tried here."""
        fingerprint(job)
        self._fail(job, error, trace)

    def drive(self, jobs: Sequence[Job], *, workers: int, timeout_s: float) -> None:
        """Read, compute and write until every job has its row; those that have one are left out."""
        steps = self._steps
        jobs = [job for job in jobs if job in self._open]
        room = queue_room(steps.forward.batch_size, steps.windows.input_shape)
        read_ahead = ReadAhead(
            steps.reader,
            steps.windows,
            jobs,
            workers,
            self._limit.reading_s(timeout_s),
            room,
            steps.plan,
            self._flight.working,
        )
        with self._limit.watching(), read_ahead as feed:
            try:
                while (message := self._next(feed)) is not None:
                    self._take(message, feed)
                    while self._slots.due:
                        self._compute(feed)
                while self._slots:
                    self._compute(feed)
            finally:
                self._summary.abandoned_readers += feed.abandoned_threads
                self._summary.spend("waiting for reading", feed.waiting_s)
                self._summary.spend("reading", sum(job.seconds() for job in jobs))

    def _next(self, feed: ReadAhead) -> Message | None:
        with self._limit.piece(0.0):
            return feed.next()

    def _take(self, message: Message, feed: ReadAhead) -> None:
        job = message.job
        if isinstance(message, Failed):
            self._fail(job, message.error, message.trace, feed)
        elif isinstance(message, Opened):
            self._open[job] = _Flight(job, len(message.regions), self._steps.stitcher(message))
        elif isinstance(message, Ended) and message.unchanged:
            self._keep(job)
        elif (flight := self._open[job]) is not None:
            if isinstance(message, Window):
                flags = frozenset(message.flags)
                flight.flags = flags if flight.flags is None else flight.flags & flags
                slot = slot_of(job.input_hash, message.index, self._steps.forward.batch_size)
                self._slots.add(slot, _Waiting(flight, message.index, message.input))
            else:
                flight.read = True
                if self._steps.masks is not None and flight.regions >= _MANY * self._steps.forward.batch_size:
                    while self._slots:  # its sums go before the next case's come
                        self._compute(feed)
                if job in self._open:
                    self._finish_if_complete(flight, feed)

    def _compute(self, feed: ReadAhead) -> None:
        """Run one batch; when it fails as a whole, run each row alone to find the one to blame."""
        batch = [item if item and item.flight.job in self._open else None for item in self._slots.take()]
        spent_s = {item.flight.job.case.id: item.flight.spent_s() for item in batch if item is not None}
        if spent_s:
            with self._flight.working(list(spent_s)), self._limit.piece(max(spent_s.values())):
                self._compute_batch(batch, feed)

    def _compute_batch(self, batch: Sequence[_Waiting | None], feed: ReadAhead) -> None:
        start = time.perf_counter()
        with self._summary.stage("features and network"):
            try:
                answers: list[Any] = list(
                    self._steps.forward.batch([None if item is None else item.input for item in batch])
                )
            except Exception:
                answers = [self._compute_alone(item, place) for place, item in enumerate(batch)]
        seconds = time.perf_counter() - start
        # By index: masks are summed in that order, and what comes early must be kept.
        pairs = [(item, answer) for item, answer in zip(batch, answers, strict=True) if item is not None]
        share_s = seconds / len(pairs)
        for item, answer in sorted(pairs, key=lambda pair: pair[0].index):
            if item.flight.job in self._open:
                item.flight.network_s += share_s
                self._deliver(item, answer, feed)

    def _compute_alone(self, item: _Waiting | None, place: int) -> Any:
        if item is None:
            return None
        try:
            return self._steps.forward.batch([None] * place + [item.input])[place]
        except Exception as error:
            return error

    def _deliver(self, item: _Waiting, answer: Any, feed: ReadAhead) -> None:
        try:
            if isinstance(answer, Exception):
                raise answer
            self._limit.check(item.flight.job.case.id, item.flight.spent_s())
            item.flight.stitcher.add(item.index, answer)
        except Exception as error:
            self._fail(item.flight.job, one_line(error), trace_of(error), feed)
            return
        item.flight.answered += 1
        self._finish_if_complete(item.flight, feed)

    def _finish_if_complete(self, flight: _Flight, feed: ReadAhead) -> None:
        if not flight.read or flight.answered < flight.regions:
            return
        start = time.perf_counter()
        try:
            working = self._flight.working([flight.job.case.id])
            limited = self._limit.piece(flight.spent_s())
            with working, limited, self._summary.stage("stitching and writing"):
                row = self._write(flight) if flight.regions else Row(case=flight.job.case, status="empty")
        except Exception as error:
            if is_disk_full(error):
                raise
            self._fail(flight.job, one_line(error), trace_of(error), feed)
            return
        seconds = {"network": flight.network_s, "writing": time.perf_counter() - start}
        self._record(flight.job, replace(row, seconds=seconds))

    def _write(self, flight: _Flight) -> Row:
        case = flight.job.case
        result = flight.stitcher.finish()
        flags = tuple(sorted({*result.flags, *(flight.flags or ())}))
        written = self._steps.writer.write(replace(result, flags=flags), self._out)
        self._check_names(case, written)
        flags = tuple(sorted({*flags, *written.flags}))
        return Row(
            case=case,
            status="suspicious" if flags else "ok",
            flags=flags,
            outputs=output_digests(self._out, written.files),
            rows=_plain_json(written.rows),
        )

    def _check_names(self, case: Case, written: Written) -> None:
        for name in written.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise DataError(f"case {case.id}: the writer left the output folder", found=name)
            if self._owner.setdefault(name, case.id) != case.id:
                raise DataError(
                    f"case {case.id}: its output {name} is also that of case {self._owner[name]}",
                    hint="rename one of the two inputs",
                )

    def _fail(self, job: Job, error: str, trace: str, feed: ReadAhead | None = None) -> None:
        """One failed row; the other cases go on, unless there were too many failures."""
        if feed is not None:
            feed.give_up(job)
        if not job.input_hash and job.known_hash == "":
            self._keep(job)  # it failed in the same way before, and nobody asked to try it again
            return
        remove_outputs(self._out, self._old[job.case.id].outputs)
        self._record(job, Row(case=job.case, status="failed", error=error, trace=trace))
        self._failures += 1
        if self._max_failures is not None and self._failures > self._max_failures:
            if feed is not None:
                feed.give_up_all()
            reason = f"not tried: more than {self._max_failures} cases failed"
            self._ledger.record(Row(case=left.case, status="skipped", error=reason) for left in self._open)
            self._open.clear()
            self._summary.stopped = f"more than {self._max_failures} cases failed"

    def _record(self, job: Job, row: Row) -> None:
        old = self._old[job.case.id]
        row = replace(
            row,
            input_hash=job.input_hash,
            key=self._steps.identity.key(job.input_hash) if job.input_hash else "",
            stamp=job.stamp,
            attempts=old.attempts + 1,
            seconds={"reading": job.seconds(), **row.seconds},
            peak_bytes=peak_bytes(),
            code_version=self._steps.identity.code_version,
        )
        with self._summary.stage("ledger"):
            self._ledger.record([row])
        self._flight.ended(job.case.id, row.status)
        del self._open[job]
        self._summary.computed += 1
        self._report(job, row.status)

    def _keep(self, job: Job) -> None:
        """The earlier row stands; only the files' times are new."""
        with self._summary.stage("ledger"):
            self._ledger.set_stamp(job.case.id, job.stamp)
        self._flight.ended(job.case.id, "kept")
        del self._open[job]
        self._summary.kept += 1
        self._report(job, "kept")

    def _report(self, job: Job, status: str) -> None:
        if self._progress is not None:
            ended = self._total - len(self._open)
            self._progress(Progress(ended, self._total, self._failures, job.case.id, status))


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one behind it, says that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            return True
        if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _plain_json(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The writer's rows as JSON, columns in the writer's order, NumPy's numbers as plain ones."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, np.ndarray):
            return value.tolist()
        raise TypeError(f"a table cannot hold {type(value).__name__}: {value!r}")

    return json.dumps({table: list(rows[table]) for table in sorted(rows)}, default=plain)
