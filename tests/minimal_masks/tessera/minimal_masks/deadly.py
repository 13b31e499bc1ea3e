"""The pipeline of masks with a reader that dies of some files as a decoder in C does (no torch)."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from pathlib import Path

from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case
from tessera.core.inference.interfaces import CaseResult, Written
from tessera.minimal_masks.outputs import PlaneWriter
from tessera.minimal_masks.pipelines import MASKS
from tessera.minimal_masks.planes import PlaneReader


class DeadlyReader(PlaneReader):
    """A file's name says what it does to the process."""

    def open(self, case: Case) -> ArraySource:
        """The plane (1, H, W), unless the process dies of it."""
        if "segfault" in case.id:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "memory" in case.id:
            os.kill(os.getpid(), signal.SIGKILL)
        if "exits" in case.id:
            os._exit(0)
        if "hangs" in case.id:
            signal.pause()
        if "endless" in case.id:
            re.fullmatch("(a|aa)+", "a" * 99 + "b")  # in C, and no other thread can run
        return super().open(case)


class DeadlyWriter(PlaneWriter):
    """A case's name says that its writing does not end."""

    def write(self, result: CaseResult, out: Path) -> Written:
        """The mask, unless it takes for ever."""
        while "forever" in result.case.id:
            pass
        return super().write(result, out)


DEADLY = replace(
    MASKS,
    name="deadly-masks",
    reader="tessera.minimal_masks.deadly:DeadlyReader",
    writer="tessera.minimal_masks.deadly:DeadlyWriter",
)
PIPELINES = (DEADLY,)
