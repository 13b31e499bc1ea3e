"""Stands for the real run in tests of its watching: on its n-th start it does the n-th thing of FAKE_RUN.

``ends:3`` ends with an exit code; ``dies:11:a`` is killed by a signal while it works on ``a``, ``alone:11:a``
while it tries ``a`` alone, ``early:9`` before it begins anything; ``exits:0:a`` is a C library's exit;
``waits`` and ``deaf`` wait for Ctrl-C, and the latter does not care. With ``--watch`` it is the command line
that starts and watches such a run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from tessera.core.cli import watched
from tessera.core.cli.invocation import Invocation
from tessera.core.inference.flight import FlightLog

FOLDER = Path(os.environ["FAKE_RUN_FOLDER"])
STARTS = FOLDER / "starts.jsonl"


def act(invocation: Invocation) -> int:
    """Write down how it was started, then do what it is to do."""
    with STARTS.open("a", encoding="utf-8") as file:
        death = invocation.death
        file.write(json.dumps([invocation.arguments, death and [death.cause, death.trace]]) + "\n")
    number = STARTS.read_text(encoding="utf-8").count("\n") - 1
    action, *words = json.loads(os.environ["FAKE_RUN"])[number].split(":")
    if action == "ends":
        return int(words[0])
    if action == "early":
        os.kill(os.getpid(), int(words[0]))
    if action in ("waits", "deaf"):
        return wait(deaf=action == "deaf")
    log = FlightLog(FOLDER, continued=invocation.death is not None)
    if action == "alone":
        log.alone(words[1])
    with log.working(words[1:]):
        if action == "exits":
            os._exit(int(words[0]))
        os.kill(os.getpid(), int(words[0]))
    return 1


def wait(*, deaf: bool) -> int:
    """Until Ctrl-C, and a deaf one a minute longer."""
    gate = threading.Event()
    try:
        sys.stdout.write(f"{os.getpid()}\n")
        sys.stdout.flush()
        gate.wait(60)
    except KeyboardInterrupt:
        sys.stdout.write("interrupted\n")
        sys.stdout.flush()
        if deaf:
            gate.wait(60)
        return 130
    return 0


if __name__ == "__main__":
    if "--watch" in sys.argv:
        from tessera.core.inference import supervisor

        supervisor._RUN = "tests.core.inference.fake_run"
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from tessera.core.cli.app import main

        sys.argv = ["tessera", *sys.argv[2:]]
        try:
            main()
        finally:
            heavy = {"torch", "numpy", "lightning", "scipy"} & set(sys.modules)
            sys.stdout.write(f"loaded: {sorted(heavy)}\n")
    else:
        watched._call = act
        if "FAKE_RUN_NO_PRCTL" in os.environ:
            watched._die_with_parent = lambda: None
        watched.main()
