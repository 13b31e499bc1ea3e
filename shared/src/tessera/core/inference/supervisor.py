"""A small process that starts the real run, and starts it again when a case kills it (no torch)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from tessera.core.errors import TesseraError
from tessera.core.inference.exit_codes import INTERRUPTED
from tessera.core.inference.flight import Death, read_flight

REGULAR = 64  # added to its exit code by a run that ended well; a C library's exit() does not do so
INTERRUPT = b"interrupt\n"
_RUN = "tessera.core.cli.watched"
_IDLE_DEATHS = 2
_TRACE_BYTES = 20_000
_NAMES = {"SIGSEGV": "segmentation fault", "SIGBUS": "bus error", "SIGABRT": "aborted",
          "SIGFPE": "arithmetic error", "SIGILL": "illegal instruction"}  # fmt: skip


def supervise(arguments: Sequence[str], folder: Path, *, say: Callable[[str], None]) -> int:
    """Run the command in a process of its own until it ends by itself; returns its exit code.

    When the process dies, another one goes on: the cases in flight are tried alone, and the one during
    which it dies again becomes a failed row. Ctrl-C is passed on, and the process ends when this one does.

    Args:
        arguments: Of the command line.
        folder: Where the run keeps its ledger.
        say: Told when the process died.
    """
    death: Death | None = None
    seen, idle = read_flight(folder).process, 0
    while True:
        end = _run(arguments, death)
        if isinstance(end, int):
            return end
        flight = read_flight(folder)
        opened = flight.process != seen
        idle = 0 if opened and flight.worked else idle + 1
        if idle == _IDLE_DEATHS:
            raise TesseraError(
                f"the predicting process {end.cause}, twice before it began a case",
                hint="--no-isolation runs everything in one process, which shows more of the reason",
            )
        if opened:  # the file is about this death; otherwise an earlier one is still to be dealt with
            seen, death = flight.process, end
        names = ", ".join(flight.suspects[:5]) + (" ..." if len(flight.suspects) > 5 else "")
        say(f"The predicting process {end.cause}; starting another one." + (names and f" In flight: {names}"))


def _run(arguments: Sequence[str], death: Death | None) -> int | Death:
    """Start the process and wait for its end: an exit code of its own choice, or its death."""
    with tempfile.TemporaryDirectory(prefix="tessera-", ignore_cleanup_errors=True) as scratch:
        trace = Path(scratch) / "trace.txt"
        orders = {"death": None if death is None else asdict(death), "trace": str(trace)}
        safe = [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]  # find modules where this process does
        command = [sys.executable, *safe, "-m", _RUN, *arguments]
        with _passing_interrupts_on() as interrupts:
            child = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)
            interrupts.child = child
            interrupts.send(json.dumps(orders).encode() + b"\n")
            code, peak = _wait(child)
        assert child.stdin is not None
        child.stdin.close()
        if code >= REGULAR and code - REGULAR <= INTERRUPTED:
            return code - REGULAR
        if interrupts.count:
            return INTERRUPTED
        return Death(_cause(code, peak), _tail(trace))


@dataclass(eq=False)
class _Interrupts:
    """Ctrl-C for a process: the first is passed on as a message, the second ends it."""

    child: subprocess.Popen[bytes] | None = None
    count: int = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.child is None:
            raise KeyboardInterrupt
        self.count += 1
        if self.count == 1:
            self.send(INTERRUPT)
        else:
            self.child.kill()

    def send(self, message: bytes) -> None:
        """Write to the process's standard input."""
        if self.child is not None and self.child.stdin is not None:
            with suppress(OSError):  # it is dead; its exit code says how
                self.child.stdin.write(message)


@contextmanager
def _passing_interrupts_on() -> Iterator[_Interrupts]:
    interrupts = _Interrupts()
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # nohup, and shells' background jobs
        signal.signal(signal.SIGINT, interrupts)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


def _wait(child: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Exit code, negative for a signal, and the most memory the process held, 0 when unknown."""
    if sys.platform == "win32":
        while child.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout=0.2)
        return child.returncode, 0
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _cause(code: int, peak_bytes: int) -> str:
    """How a process ended, to be read after the word ``process``."""
    if code >= 0:
        return f"ended by itself with exit code {code}"
    number = -code
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = ""
    if name == "SIGKILL":
        total = _memory_bytes()
        of = f" of {total / 1e9:.1f} GB" if total else ""
        return f"was killed by signal 9 (probably out of memory: {peak_bytes / 1e9:.1f} GB in use{of})"
    if name == "SIGALRM":  # which only a limit of time sends
        return "was ended after more time than --case-timeout allows"
    meaning = _NAMES.get(name, name)
    return f"was killed by signal {number}" + (meaning and f" ({meaning})")


def _memory_bytes() -> int:
    """Memory this process may use; 0 when unknown."""
    limits = []
    with suppress(ValueError, OSError, AttributeError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # a container's
        with suppress(ValueError, OSError):
            limits.append(int((Path("/sys/fs/cgroup") / name).read_text(encoding="ascii")))
    return min(limits, default=0)


def _tail(trace: Path) -> str:
    try:
        return trace.read_bytes()[:_TRACE_BYTES].decode(errors="replace")
    except OSError:
        return ""
