"""The pipeline of masks with a reader that dies of some files as a decoder in C does (no torch)."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case
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
        return super().open(case)


DEADLY = replace(MASKS, name="deadly-masks", reader="tessera.minimal_masks.deadly:DeadlyReader")
PIPELINES = (DEADLY,)
