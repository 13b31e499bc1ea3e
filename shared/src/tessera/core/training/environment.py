"""What a run was made with: versions, machine type and code, but no names of hosts or people."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from tessera.core.data.atomic import write_atomic

ENVIRONMENT = "environment.json"
_PACKAGES = ("tessera-core", "torch", "lightning", "numpy", "scikit-learn", "safetensors")


def describe_environment() -> dict[str, Any]:
    """Versions, platform, devices, threads and the commit of the code."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {name: _version(name) for name in _PACKAGES},
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or ["cpu"],
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "commit": code_commit(),
    }


def write_environment(path: Path, extra: dict[str, Any]) -> None:
    """Write environment.json with more sections."""
    text = json.dumps(describe_environment() | extra, indent=2, sort_keys=True)
    write_atomic(path, text + "\n")


def code_commit() -> str | None:
    """Commit of this file's checkout, ``+changes`` when tracked files differ; ``None`` outside."""
    here = Path(__file__).resolve()
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    commit = _git(here.parent, "rev-parse", "HEAD")
    changes = _git(here.parent, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if commit and changes else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
