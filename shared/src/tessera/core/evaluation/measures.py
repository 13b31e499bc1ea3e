"""What a field measures beside the metrics of its task, as tables for a person."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case
from tessera.core.evaluation.predictions import Predictions

MEASURES_FILE = "measures.json"

Cell = str | int | float | None


@dataclass(frozen=True)
class FieldTable:
    """A table of a field's own measures.

    Args:
        title: What it shows.
        columns: Headings, with units.
        rows: One cell a heading; ``None`` where there is no value.
        note: How it is to be read.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


class Measures(Protocol):
    """What a pipeline's ``measures`` points to."""

    def __call__(
        self, predictions: Predictions, cases: Sequence[Case], *, values: Mapping[str, Any]
    ) -> tuple[FieldTable, ...]:
        """Tables of labelled predictions.

        Args:
            predictions: N predictions.
            cases: The same N cases, in the same order.
            values: What a person chose; an unknown name is an error.
        """
        ...


def write_measures(folder: Path, tables: Sequence[FieldTable]) -> None:
    """Write ``measures.json``; NaN becomes null."""
    found = [asdict(table) for table in tables]
    for table in found:
        table["rows"] = [[_known(cell) for cell in row] for row in table["rows"]]
    write_atomic(folder / MEASURES_FILE, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def read_measures(folder: Path) -> tuple[FieldTable, ...]:
    """The tables in a folder; none when there are none, or the file cannot be read."""
    try:
        found = json.loads((folder / MEASURES_FILE).read_text(encoding="utf-8"))
        return tuple(
            FieldTable(
                title=str(table["title"]),
                columns=tuple(map(str, table["columns"])),
                rows=tuple(tuple(row) for row in table["rows"]),
                note=str(table["note"]),
            )
            for table in found
        )
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def _known(cell: Cell) -> Cell:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
