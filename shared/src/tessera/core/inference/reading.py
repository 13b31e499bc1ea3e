"""Reading ahead: the next cases are hashed, opened and cut while the network works on earlier ones."""

from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TypeGuard

import torch

from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case, Reader, RemarkedSource, Source
from tessera.core.data.geometry import Geometry, Region
from tessera.core.data.hashing import InputHasher
from tessera.core.data.windows import WholeWindows, Windows
from tessera.core.errors import DataError, TesseraError
from tessera.core.inference.forward import Input
from tessera.core.inference.schedule import Schedule
from tessera.core.inference.stamps import checked_hash, settled, stamp_of
from tessera.core.inference.turn import Turn

_POLL_S = 0.1  # how soon a blocked thread notices that it is no longer wanted
_log = logging.getLogger(__name__)


Planner = Callable[[Geometry], Schedule]
"""The grid on which windows are cut -> what is computed, in order."""


class _NotWantedError(Exception):
    """The driver gave this case up."""


@dataclass(eq=False)
class Job:
    """One case to read.

    Args:
        case: The case.
        known_hash: When the content still has this hash, it need not be read.
    """

    case: Case
    known_hash: str | None = None
    stamp: str = ""
    input_hash: str = ""
    abandoned: bool = False
    busy: tuple[float, float | None] = (0.0, None)  # seconds so far, start of the present stretch

    def seconds(self) -> float:
        """Time spent on reading, without waiting for the network."""
        total, since = self.busy
        return total + (0.0 if since is None else time.monotonic() - since)

    def pause(self) -> None:
        """Stop the clock."""
        self.busy = (self.seconds(), None)

    def resume(self) -> None:
        """Let the clock run."""
        self.busy = (self.busy[0], time.monotonic())


@dataclass(frozen=True)
class Opened:
    """A case is open; its windows follow, in order.

    Args:
        job: The case.
        grid: The source's own grid.
        prepared: The grid on which windows are cut; the same unless the whole case was prepared first.
        schedule: The windows, in order.
    """

    job: Job
    grid: Geometry
    prepared: Geometry
    schedule: Schedule

    @property
    def regions(self) -> tuple[Region, ...]:
        """The windows, in order."""
        return self.schedule.regions


@dataclass(frozen=True)
class Window:
    """One input (C, *S) of an open case."""

    job: Job
    index: int
    input: Input
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """All windows were read, or none had to be because the content is ``unchanged``."""

    job: Job
    unchanged: bool = False


@dataclass(frozen=True)
class Failed:
    """A case cannot be read."""

    job: Job
    error: str
    trace: str = ""


Message = Opened | Window | Ended | Failed


def read_case(
    job: Job,
    reader: Reader,
    windows: Windows,
    hasher: InputHasher,
    emit: Callable[[Message], None],
    *,
    plan: Planner | None = None,
    turn: Callable[[Job], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> None:
    """Hash, open and read one case, window by window, and ``emit`` what was found.

    Windows over the whole case get it prepared; the source is closed and forgotten before they flow.
    ``plan`` is used instead of the windows' own order; a whole case is prepared and cut within its ``turn``.
    """
    stamp = stamp_of(job.case)
    job.stamp = stamp if settled(stamp) else ""
    job.input_hash = checked_hash(job.case, hasher)
    if job.input_hash == job.known_hash:
        emit(Ended(job, unchanged=True))
        return
    source = reader.open(job.case)
    try:
        with turn(job) if _whole(windows) else nullcontext():
            _cut(job, source, windows, emit, plan)
    finally:
        source.close()
    if stamp_of(job.case) != stamp:
        raise DataError(
            f"case {job.case.id}: a file changed while it was read",
            hint="wait until it is complete, run again",
        )
    emit(Ended(job))


def _cut(
    job: Job, source: Source, windows: Windows, emit: Callable[[Message], None], plan: Planner | None
) -> None:
    """Prepare the case where its windows want that, and emit them."""
    grid = source.grid
    remarks: tuple[str, ...] = ()
    if _whole(windows):
        remarks = source.remarks if isinstance(source, RemarkedSource) else ()
        prepared = ArraySource(*windows.prepare(source))
        source.close()
        source = prepared
    schedule = Schedule(tuple(windows.plan(source.grid))) if plan is None else plan(source.grid)
    emit(Opened(job, grid, source.grid, schedule))
    for index, region in enumerate(schedule.regions):
        sample = windows.read(source, region)
        input = sample["input"]
        _check_input(job.case, input, region, windows.input_shape)
        emit(Window(job, index, input, (*remarks, *sample.get("flags", ()))))


def _whole(windows: Windows) -> TypeGuard[WholeWindows]:
    return isinstance(windows, WholeWindows) and windows.cuts_prepared


@dataclass(eq=False)
class _Worker:
    thread: threading.Thread | None = None
    job: Job | None = None
    retired: bool = False


@dataclass(eq=False)
class ReadAhead:
    """Threads that read cases into a bounded queue; memory does not grow with a file's length.

    Cases that are prepared whole are prepared and cut one at a time; the others wait as they are stored.

    Args:
        reader: Opens cases; called from all threads.
        windows: Cuts them; called from all threads.
        jobs: What to read, in order.
        workers: Threads.
        timeout_s: Longest time for reading one case, not counting waits for the network.
        room: Windows the queue holds.
        plan: Used instead of the windows' own order.
        working: Around the reading of each case, given its id.
    """

    reader: Reader
    windows: Windows
    jobs: Sequence[Job]
    workers: int
    timeout_s: float
    room: int
    plan: Planner | None = None
    working: Callable[[Sequence[str]], AbstractContextManager[None]] = lambda _: nullcontext()
    abandoned_threads: int = 0
    waiting_s: float = 0.0
    _hasher: InputHasher = field(default_factory=InputHasher)
    _turn: Turn = field(default_factory=Turn)
    _stopped: bool = False

    def __post_init__(self) -> None:
        self._todo = deque(self.jobs)
        self._open = set(self.jobs)
        self._queue: queue.Queue[Message] = queue.Queue(maxsize=max(1, self.room))
        self._workers: list[_Worker] = []

    def __enter__(self) -> ReadAhead:
        for _ in range(max(1, min(self.workers, len(self.jobs)))):
            self._hire()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        for worker in self._workers:
            if worker.thread is not None and not worker.retired:
                worker.thread.join(timeout=10 * _POLL_S)

    def next(self) -> Message | None:
        """The next message of a case that is still wanted; ``None`` when every case has ended."""
        start = time.perf_counter()
        try:
            while self._open:
                late = self._give_up_late_one()
                if late is not None:
                    return late
                try:
                    message = self._queue.get(timeout=_POLL_S)
                except queue.Empty:
                    continue
                if message.job.abandoned:
                    continue
                if isinstance(message, Ended | Failed):
                    self._open.discard(message.job)
                return message
            return None
        finally:
            self.waiting_s += time.perf_counter() - start

    def give_up(self, job: Job) -> None:
        """Read no more of this case."""
        job.abandoned = True
        self._open.discard(job)

    def give_up_all(self) -> None:
        """Begin no more cases and read no more of those begun."""
        self._todo.clear()
        for job in list(self._open):
            self.give_up(job)

    def _give_up_late_one(self) -> Failed | None:
        for worker in list(self._workers):
            job = worker.job
            if job is None or job.abandoned or worker.retired or job.seconds() <= self.timeout_s:
                continue
            self.give_up(job)
            self._turn.pass_on(job)
            worker.retired = True
            self._workers.remove(worker)
            self.abandoned_threads += 1
            _log.warning("case %s: reading hangs; its thread is left behind", job.case.id)
            self._hire()
            error = DataError(
                f"case {job.case.id}: reading took longer than {self.timeout_s:g} s",
                hint="check file and disk, or raise --timeout and --case-timeout; then --retry-failed",
            )
            return Failed(job, one_line(error))
        return None

    def _hire(self) -> None:
        worker = _Worker()
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name="tessera-reader", daemon=True
        )
        self._workers.append(worker)
        worker.thread.start()

    def _work(self, worker: _Worker) -> None:
        while not (self._stopped or worker.retired):
            try:
                job = self._todo.popleft()
            except IndexError:
                return
            job.resume()
            worker.job = job
            try:
                with self.working([job.case.id]):
                    read_case(
                        job,
                        self.reader,
                        self.windows,
                        self._hasher,
                        self._emit,
                        plan=self.plan,
                        turn=self._turn_of,
                    )
            except _NotWantedError:
                pass
            except BaseException as error:  # a case's failure must never end the thread
                self._report(job, error)
            worker.job = None

    def _report(self, job: Job, error: BaseException) -> None:
        try:
            self._emit(Failed(job, one_line(error), trace_of(error)))
        except _NotWantedError:
            return

    @contextmanager
    def _turn_of(self, job: Job) -> Iterator[None]:
        """Wait, off the clock, until no other case is prepared and cut."""

        def still_wanted() -> None:
            if job.abandoned or self._stopped:
                raise _NotWantedError

        job.pause()
        with self._turn.of(job, go_on=still_wanted):
            job.resume()
            yield

    def _emit(self, message: Message) -> None:
        message.job.pause()
        while not (message.job.abandoned or self._stopped):
            try:
                self._queue.put(message, timeout=_POLL_S)
            except queue.Full:
                continue
            if not isinstance(message, Ended | Failed):
                message.job.resume()
            return
        raise _NotWantedError


def one_line(error: BaseException) -> str:
    """What went wrong, for a row of a table."""
    if isinstance(error, TesseraError):
        return error.one_line()
    if isinstance(error, MemoryError):
        return "MemoryError: not enough memory for this case"
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def trace_of(error: BaseException) -> str:
    """The traceback as text; the error itself would keep the windows' arrays in memory."""
    return "".join(traceback.format_exception(error))


def fingerprint(job: Job) -> None:
    """Stamp and hash of a case that is not read again, as far as they can be found."""
    stamp = stamp_of(job.case)
    job.stamp = stamp if settled(stamp) else ""
    with suppress(Exception):
        job.input_hash = checked_hash(job.case, InputHasher())


def _check_input(case: Case, input: Input, region: Region, shape: tuple[int, ...]) -> None:
    place = f"case {case.id}, elements {region.start} to {region.stop}"
    if tuple(input.shape) != tuple(shape):
        raise DataError(
            f"{place}: the input has another shape", found=tuple(input.shape), expected=tuple(shape)
        )
    values = torch.as_tensor(input)
    if bool(values.sum().isfinite()):  # quicker than to look at each; a sum of finite ones may still overflow
        return
    finite = values.isfinite()
    if not bool(finite.all()):
        raise DataError(
            f"{place}: the input holds values that are not finite",
            found=f"{int((~finite).sum())} of {finite.numel()} values are NaN or infinite",
            expected="numbers",
            hint="repair the file, or leave it out",
        )
