"""The command line inside the process that another one watches; started by that one only."""

from __future__ import annotations

import _thread
import faulthandler
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

from tessera.core.cli.invocation import Invocation
from tessera.core.inference.exit_codes import INTERRUPTED
from tessera.core.inference.flight import Death
from tessera.core.inference.supervisor import INTERRUPT, REGULAR

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Run the command line; what the watching process says comes in on standard input."""
    asked = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if asked.is_set():  # a terminal sends Ctrl-C to both processes; only the other one's word counts
            asked.clear()
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    _die_with_parent()
    lines = _lines(_take_standard_input())
    orders = json.loads(next(lines, b"null"))
    if orders is None:
        return  # nobody watches any more
    threading.Thread(target=_obey, args=(lines, asked), name="tessera-watch", daemon=True).start()
    death = None if orders["death"] is None else Death(**orders["death"])
    with Path(orders["trace"]).open("w", encoding="utf-8") as trace:
        faulthandler.enable(trace)
        if hasattr(signal, "SIGALRM"):  # of a case that takes too long
            faulthandler.register(signal.SIGALRM, trace, chain=True)
        code = _call(Invocation(tuple(sys.argv[1:]), watched=True, death=death))
        faulthandler.disable()
    sys.exit(REGULAR + code)


def _call(invocation: Invocation) -> int:
    try:
        from tessera.core.cli.app import app

        app(args=list(invocation.arguments), prog_name="tessera", obj=invocation)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _die_with_parent() -> None:
    """Ask Linux to end this process with the other one, even while no Python runs here."""
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _take_standard_input() -> int:
    """Keep the pipe to this process alone: what it starts must not read from it."""
    pipe = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return pipe


def _lines(pipe: int) -> Iterator[bytes]:
    """What comes in, until the other process is no more."""
    rest = b""
    while block := os.read(pipe, 65536):
        *whole, rest = (rest + block).split(b"\n")
        yield from whole


def _obey(lines: Iterator[bytes], asked: threading.Event) -> None:
    for line in lines:
        if line + b"\n" == INTERRUPT:
            asked.set()
            _wake_main_thread()
    os._exit(1)  # nobody watches any more, and another run may begin at any moment


def _wake_main_thread() -> None:
    """Ctrl-C for the main thread, also while it waits for a lock, which a flag alone would not end."""
    if sys.platform == "win32":
        _thread.interrupt_main()
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


if __name__ == "__main__":
    main()
