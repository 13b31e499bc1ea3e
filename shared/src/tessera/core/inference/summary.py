"""What a run did, how long each stage took and how much memory it used."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tessera.core.inference.exit_codes import INTERRUPTED, OK, SOME_FAILED
from tessera.core.inference.ledger import Status


class Progress(NamedTuple):
    """One case ended."""

    done: int
    total: int
    failed: int
    case_id: str
    status: str


ProgressCallback = Callable[[Progress], None]


class Stage(NamedTuple):
    """A line of the stage table; ``share`` is of the time after the start-up, ``None`` in the background."""

    name: str
    seconds: float
    share: float | None


@dataclass
class RunSummary:
    """Counts over the whole output folder, and what this run spent.

    Args:
        out: The output folder.
        ok: Cases with a result.
        suspicious: Cases with a result and a remark.
        empty: Cases without anything to predict.
        failed: Cases without a result.
        skipped: Cases not tried because the run stopped early.
        pending: Cases not yet tried.
        computed: Cases this run computed.
        kept: Cases whose earlier result still holds.
        abandoned_readers: Threads left behind in a read that hangs.
        interrupted: Whether Ctrl-C ended the run.
        stopped: Why the run ended early, or ``None``.
        tables: Files written over all cases.
        cases: Seconds by stage, peak memory and attempts of each case, where asked for.
        startup_s: Seconds by part of the start-up.
        seconds: Seconds by stage of this run.
        peak_bytes: Most memory of the process.
    """

    out: Path
    ok: int = 0
    suspicious: int = 0
    empty: int = 0
    failed: int = 0
    skipped: int = 0
    pending: int = 0
    computed: int = 0
    kept: int = 0
    abandoned_readers: int = 0
    interrupted: bool = False
    stopped: str | None = None
    tables: tuple[str, ...] = ()
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    startup_s: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0

    @property
    def exit_code(self) -> int:
        """0 all ok, 3 some failed or the run stopped early, 130 interrupted."""
        if self.interrupted:
            return INTERRUPTED
        return SOME_FAILED if self.failed or self.skipped or self.stopped else OK

    def stage_table(self) -> list[Stage]:
        """Start-up, then the driver's stages, then reading, which happens in the background."""
        wall = self.seconds.get("total", 0.0)
        driver = [(name, s) for name, s in self.seconds.items() if name not in ("total", "reading")]
        rows = [Stage(f"start-up: {name}", s, None) for name, s in self.startup_s.items()]
        rows += [Stage(name, s, s / wall if wall else 0.0) for name, s in driver]
        rest = max(0.0, wall - sum(s for _, s in driver))
        rows.append(Stage("everything else", rest, rest / wall if wall else 0.0))
        rows.append(Stage("reading (in the background)", self.seconds.get("reading", 0.0), None))
        return rows

    def count(self, counts: Mapping[Status, int]) -> None:
        """Take over the ledger's counts."""
        for status, number in counts.items():
            setattr(self, status, number)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spend(name, time.perf_counter() - start)

    def spend(self, name: str, seconds: float) -> None:
        """Add seconds to a stage."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


def peak_bytes() -> int:
    """Most memory this process has held so far; 0 where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return _peak_by_usage()
    # Not getrusage: on Linux that is never below the peak of the process that started this one.
    lines = (line.split() for line in status.splitlines())
    return next((1024 * int(words[1]) for words in lines if words and words[0] == "VmHWM:"), 0)


def _peak_by_usage() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
