"""The output files that a ledger's row vouches for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tessera.core.data.hashing import sha256_file
from tessera.core.errors import TesseraError


def output_digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of each file, by its name relative to the folder."""
    return {name: sha256_file(folder / name) for name in sorted(names)}


def outputs_hold(folder: Path, outputs: Mapping[str, str]) -> bool:
    """Whether all files are there and as they were written."""
    try:
        return all(sha256_file(folder / name) == digest for name, digest in outputs.items())
    except TesseraError:
        return False


def remove_outputs(folder: Path, names: Iterable[str]) -> None:
    """Remove files that no longer have a valid result behind them; never any outside the folder."""
    for name in names:
        if (folder / name).resolve().is_relative_to(folder.resolve()):
            (folder / name).unlink(missing_ok=True)
