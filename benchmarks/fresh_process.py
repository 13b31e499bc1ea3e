"""A command in a process of its own: what it printed, how long it took and the most memory it held."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.02  # the peak never falls, so only a rise in the last moment before the end can be missed
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
TESSERA = str(Path(sys.executable).with_name("tessera"))


@dataclass(frozen=True)
class Finished:
    """What a command did.

    Args:
        text: Its standard output.
        seconds: From its start to its end.
        peak_mib: Most resident memory, MiB; 0 where the system has no /proc.
    """

    text: str
    seconds: float
    peak_mib: float


def run_fresh(command: Sequence[str]) -> Finished:
    """Run a command with one numerical thread to its end; ends this program when it fails."""
    start, peak = time.perf_counter(), 0.0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD
    ) as process:
        while True:
            peak = max(peak, high_water_mib(process.pid))
            try:
                text, errors = process.communicate(timeout=POLL_S)
                break
            except subprocess.TimeoutExpired:
                continue
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{errors}")
    return Finished(text, seconds, peak)


def high_water_mib(pid: int) -> float:
    """The most resident memory a running process has held, MiB (VmHWM).

    Unlike getrusage's ru_maxrss it begins anew with the program, not with the process that started it.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
