"""All benchmarks at small sizes, each in a process of its own, and one table.

Run: python -m benchmarks [--only mel --only command_line] [--full] [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SMALL = {
    "mel": ["--clips", "8", "--repeats", "3"],
    "cqt": ["--clips", "4", "--repeats", "3"],
    "command_line": ["--repeats", "3"],
    "short_files": ["--files", "40"],
    "training_loader": ["--samples", "32", "--pairs", "2"],
    "long_recording": ["--hours", "0.2"],
    "scan": [],
    "timm_plugs": ["--repeats", "10"],
    "elu": ["--repeats", "3"],
    "gpu_training": [],
    "tiling": ["--size", "96", "96", "80", "--classes", "40", "--repeats", "3"],
    "cutouts": ["--cutouts", "500", "--peer", "50", "--side", "2048"],
    "volume_memory": ["--shape", "128", "128", "96", "--classes", "3"],
    "resampling": ["--side", "64", "--repeats", "2"],
    "airway_phantoms": ["--simulator", "airway-small", "--training", "5", "--test", "2", "--budget", "30s"],
}
"""Script to the options that make it quick; the figures of the documents need the full sizes."""


Records = list[dict[str, Any]]


def run_script(name: str, options: list[str]) -> tuple[Records, Records]:
    """The script's records, or one that says why there are none, such as a missing peer; and its machine."""
    script = Path(__file__).with_name(f"{name}.py")
    done = subprocess.run(
        [sys.executable, str(script), *options, "--json"], capture_output=True, text=True, check=False
    )
    try:
        found = json.loads(done.stdout)
    except json.JSONDecodeError:
        return [{"not measured": reason(done.stderr)}], []
    if "records" not in found:  # mel prints its record alone
        return [found], []
    return found["records"], [found["machine"]]


def reason(errors: str) -> str:
    """The last line of what a failed script said; a missing package by its name."""
    last = errors.strip().splitlines()[-1] if errors.strip() else "it said nothing"
    missing = last.removeprefix("ModuleNotFoundError: No module named ")
    return last if missing == last else f"{missing.strip(chr(39))} is not installed"


def table(found: dict[str, Records]) -> str:
    """Lines of benchmark, figure and value."""
    lines = []
    for name, records in found.items():
        for record in records:
            who = f"{name} {record.get('preset') or record.get('plug') or ''}".strip()
            for figure, value in record.items():
                if figure not in ("preset", "plug"):
                    text = f"{value:.4g}" if isinstance(value, float) else str(value)
                    lines.append(f"{who:36}{figure:40}{text}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", action="append", choices=SMALL, help="default: all")
    parser.add_argument("--full", action="store_true", help="the full sizes: hours on a small machine")
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    found: dict[str, Records] = {}
    machine: Records = []
    for name in options.only or SMALL:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found[name], own = run_script(name, [] if options.full else SMALL[name])
        machine = own or machine
    found["machine"] = machine
    print(json.dumps(found) if options.json else table(found))


if __name__ == "__main__":
    main()
