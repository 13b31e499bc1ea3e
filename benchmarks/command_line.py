"""How soon the command line answers: ``tessera --help`` and ``tessera list`` beside a bare Python.

Processor time is given too: unlike the wall clock it hardly changes when others use the machine.
Run: python benchmarks/command_line.py [--repeats 10] [--json]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

from fresh_process import TESSERA
from machine import Record, show
from timing import median_seconds

MOST_S = 0.5  # the goal
COMMANDS = {
    "python -c pass": ([sys.executable, "-c", "pass"], ""),
    "tessera --help": ([TESSERA, "--help"], "predict"),
    "tessera list": ([TESSERA, "list"], "sound"),
}


def measure(*, repeats: int) -> Record:
    """Check what each command says, then take turns; median seconds each."""
    for name, (command, word) in COMMANDS.items():
        if word not in _output(command):
            sys.exit(f"{name} does not speak of '{word}'")
    processor_s = {name: _processor_s(command) for name, (command, _) in COMMANDS.items()}
    wall_s = median_seconds(
        {name: lambda command=command: _output(command) for name, (command, _) in COMMANDS.items()},  # type: ignore[misc]
        repeats=repeats,
    )
    return {
        "repeats": repeats,
        **{f"{name}, s": seconds for name, seconds in wall_s.items()},
        **{f"{name}, processor s": seconds for name, seconds in processor_s.items()},
        "most_s_allowed": MOST_S,
        "fulfilled": str(max(wall_s.values()) <= MOST_S),
    }


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _processor_s(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _output(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    show([measure(repeats=options.repeats)], as_json=options.json)


if __name__ == "__main__":
    main()
