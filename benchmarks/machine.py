"""What stands beside every figure: the machine, its load, the versions and the commit."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence

from timing import cpu_name

from tessera.core.training.environment import describe_environment

Record = dict[str, str | float]


def machine() -> Record:
    """The machine and the code, as plain values."""
    found = describe_environment()
    versions = {name: text for name, text in found["versions"].items() if text}
    return {
        "cpu": cpu_name(),
        "processors": os.cpu_count() or 0,
        "load_of_the_last_minute": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else "unknown",
        "device": ", ".join(found["devices"]),
        "python": platform.python_version(),
        **versions,
        "commit": found["commit"] or "not committed",
    }


def show(records: Sequence[Record], *, as_json: bool) -> None:
    """Print records and the machine: one JSON object for scripts, else a block of lines each."""
    if as_json:
        print(json.dumps({"records": list(records), "machine": machine()}))
        return
    for record in (*records, machine()):
        for name, value in record.items():
            print(f"{name:40}{value:.4g}" if isinstance(value, float) else f"{name:40}{value}")
        print()
