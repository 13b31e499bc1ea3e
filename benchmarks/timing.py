"""Fair times on a machine that others use too: jobs take turns, and the median counts."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median


def median_seconds(jobs: Mapping[str, Callable[[], object]], *, repeats: int = 10) -> dict[str, float]:
    """Median wall-clock seconds of each job, after one run that is not counted.

    The jobs run in turns, so that a slow minute of the machine meets all of them.
    """
    for job in jobs.values():
        job()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in seconds.items()}


def cpu_name() -> str:
    """The processor's name as the operating system gives it."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
