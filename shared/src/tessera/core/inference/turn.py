"""One at a time: whose turn it is among threads that each hold much memory once it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_POLL_S = 0.1  # how soon a waiting thread notices that it is no longer wanted


class Turn:
    """Belongs to one holder at a time; what a thread that hangs holds can be taken from it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holder: object | None = None

    @contextmanager
    def of(self, holder: object, *, go_on: Callable[[], None]) -> Iterator[None]:
        """Wait for the turn and keep it for the block.

        Args:
            holder: Whose turn it will be.
            go_on: Called while waiting; raises to end it.
        """
        with self._changed:
            while self._holder is not None:
                go_on()
                self._changed.wait(_POLL_S)
            self._holder = holder
        try:
            yield
        finally:
            self.pass_on(holder)

    def pass_on(self, holder: object) -> None:
        """End a holder's turn, if it is still his."""
        with self._changed:
            if self._holder is holder:
                self._holder = None
                self._changed.notify()
