"""A part of a prediction, and where its results lie (no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tessera.core.errors import DataError

SHARDS = "shards"


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 1) of ``count``."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise DataError(f"there is no shard {self.index} of {self.count}", expected="1/n to n/n")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``2/8``."""
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal()):
            raise DataError(f"--shard {text}", expected="i/n", hint="--shard 2/8")
        return cls(int(index), int(count))


def shard_folder(out: Path, shard: Shard) -> Path:
    """Where a shard keeps its ledger and outputs until they are merged."""
    return out / SHARDS / f"{shard.index}-of-{shard.count}"
