"""The longest time that one case may take: reading, network and writing together (no torch).

Time is counted while somebody works on the case, not while it waits for others. Between two pieces of work a
case that took too long fails, and nothing else is lost. A piece of work that does not end ends the process
with it, by a signal that needs no Python to run: the process that watches this one starts another, in which
the cases in flight are tried alone, and the one that is too long again fails.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tessera.core.errors import DataError

GRACE, GRACE_S = 1.1, 1.0  # times the limit, and more: a case that can still be told is told first


class CaseLimit:
    """Watches over the time of each case.

    Args:
        limit_s: Of each case; None: any time.
        deadly: End the process, where another one watches it.
    """

    def __init__(self, limit_s: float | None = None, *, deadly: bool = False) -> None:
        self.limit_s = limit_s
        self._deadly = deadly and limit_s is not None and hasattr(signal, "setitimer")

    def reading_s(self, timeout_s: float) -> float:
        """The longest time for reading, which is part of the whole."""
        return timeout_s if self.limit_s is None else min(timeout_s, self.limit_s)

    def check(self, case_id: str, spent_s: float) -> None:
        """Raise for a case that took too long."""
        if self.limit_s is not None and spent_s > self.limit_s:
            raise DataError(
                f"case {case_id}: it took longer than {self.limit_s:g} s",
                hint="look at its size, or raise --case-timeout; then --retry-failed",
            )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around all work, so that there is no moment in which a thread could stop all others for ever."""
        self._begin(0.0)
        try:
            yield
        finally:
            if self._deadly:
                signal.setitimer(signal.ITIMER_REAL, 0.0)

    @contextmanager
    def piece(self, spent_s: float) -> Iterator[None]:
        """The block works on cases, of which one took so long before; or it waits for their reading."""
        self._begin(spent_s)
        try:
            yield
        finally:
            self._begin(0.0)

    def _begin(self, spent_s: float) -> None:
        if self._deadly and self.limit_s is not None:
            left_s = max(0.0, self.limit_s * GRACE - spent_s) + GRACE_S
            signal.setitimer(signal.ITIMER_REAL, left_s)
