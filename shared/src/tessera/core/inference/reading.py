"""Reading ahead: the next cases are hashed, opened and cut while the network works on earlier ones."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field

import torch

from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case, FileRef, Reader, RemarkedSource, Source
from tessera.core.data.geometry import Geometry, Region
from tessera.core.data.hashing import InputHasher
from tessera.core.data.windows import WholeWindows, Windows
from tessera.core.errors import DataError, TesseraError
from tessera.core.inference.forward import Input
from tessera.core.inference.schedule import Schedule

_POLL_S = 0.1  # how soon a blocked thread notices that it is no longer wanted
_SETTLED_NS = 2_000_000_000  # a file changed so recently may change again within one tick of its clock
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
) -> None:
    """Hash, open and read one case, window by window, and ``emit`` what was found.

    Windows over the whole case get it prepared; the source is closed and forgotten before they flow.
    ``plan`` is used instead of the windows' own order.
    """
    stamp = stamp_of(job.case)
    job.stamp = stamp if _settled(stamp) else ""
    job.input_hash = _hash(job.case, hasher)
    if job.input_hash == job.known_hash:
        emit(Ended(job, unchanged=True))
        return
    grid, source, remarks = _open(job.case, reader, windows)
    try:
        schedule = Schedule(tuple(windows.plan(source.grid))) if plan is None else plan(source.grid)
        emit(Opened(job, grid, source.grid, schedule))
        for index, region in enumerate(schedule.regions):
            sample = windows.read(source, region)
            input = sample["input"]
            _check_input(job.case, input, region, windows.input_shape)
            emit(Window(job, index, input, (*remarks, *sample.get("flags", ()))))
    finally:
        source.close()
    if stamp_of(job.case) != stamp:
        raise DataError(
            f"case {job.case.id}: a file changed while it was read",
            hint="wait until it is complete, run again",
        )
    emit(Ended(job))


def _open(case: Case, reader: Reader, windows: Windows) -> tuple[Geometry, Source, tuple[str, ...]]:
    """The source's own grid, what windows are cut from (itself, or all of it prepared), and its remarks."""
    source = reader.open(case)
    if not (isinstance(windows, WholeWindows) and windows.cuts_prepared):
        return source.grid, source, ()
    remarks = source.remarks if isinstance(source, RemarkedSource) else ()
    try:
        return source.grid, ArraySource(*windows.prepare(source)), remarks
    finally:
        source.close()


@dataclass(eq=False)
class _Worker:
    thread: threading.Thread | None = None
    job: Job | None = None
    retired: bool = False


@dataclass(eq=False)
class ReadAhead:
    """Threads that read cases into a bounded queue; memory does not grow with a file's length.

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
            worker.retired = True
            self._workers.remove(worker)
            self.abandoned_threads += 1
            _log.warning("case %s: reading hangs; its thread is left behind", job.case.id)
            self._hire()
            error = DataError(
                f"case {job.case.id}: reading took longer than {self.timeout_s:g} s",
                hint="check the file and the disk, or raise inference.timeout_s; then --retry-failed",
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
                    read_case(job, self.reader, self.windows, self._hasher, self._emit, plan=self.plan)
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
    job.stamp = stamp if _settled(stamp) else ""
    with suppress(Exception):
        job.input_hash = _hash(job.case, InputHasher())


def stamp_of(case: Case) -> str:
    """Path, size and time of change of each input file, as JSON; ``null`` for a missing one."""
    return json.dumps([_file_stamp(ref) for ref in case.all_files()])


def _file_stamp(ref: FileRef) -> list[str | int | None]:
    if ref.path is None:
        return [ref.sha256, None, None]
    try:
        status = ref.path.stat()
    except OSError:
        return [str(ref.path), None, None]
    return [str(ref.path), status.st_size, status.st_mtime_ns]


def _settled(stamp: str) -> bool:
    """Whether the files are old enough for their time of change to prove that they are unchanged."""
    times = [changed for _, _, changed in json.loads(stamp) if changed is not None]
    return all(time.time_ns() - changed > _SETTLED_NS for changed in times)


def _hash(case: Case, hasher: InputHasher) -> str:
    digest = hasher.hash(case.all_files(), case.select)
    for ref in case.all_files():
        if ref.path is not None and ref.sha256 is not None and (found := hasher.file(ref.path)) != ref.sha256:
            raise DataError(
                f"case {case.id}: {ref.path} is not the file the manifest lists",
                found=f"SHA-256 {found}",
                expected=ref.sha256,
                hint="fetch or copy the file again, or correct the manifest",
            )
    return digest


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
