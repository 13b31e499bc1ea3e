"""Reads the files of a run or prediction folder; what is missing or broken becomes absent, with a remark."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tessera.core.config import load_yaml
from tessera.core.errors import ConfigError
from tessera.core.report.page import NOT_RECORDED

Row = dict[str, str]


def read_rows(path: Path) -> list[Row]:
    """Rows of a CSV file by column name, without a line that a kill cut short; none when it is missing."""
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            return [dict(zip(header, row, strict=True)) for row in reader if len(row) == len(header)]
    except (OSError, csv.Error):
        return []


def read_object(path: Path) -> dict[str, Any]:
    """A JSON or YAML object; empty when it is missing or not readable."""
    try:
        is_json = path.suffix == ".json"
        value = json.loads(path.read_text(encoding="utf-8")) if is_json else load_yaml(path)
    except (OSError, ValueError, ConfigError):
        return {}
    return value if isinstance(value, dict) else {}


def read_text(path: Path) -> str | None:
    """A text file, ``None`` when it is missing."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def as_rows(value: Any) -> list[dict[str, Any]]:
    """A stored list of rows; empty when it is something else."""
    return [dict(row) for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def number(value: Any) -> float | None:
    """A finite number, ``None`` for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def pick(source: Mapping[str, Any], *names: str) -> Any:
    """The first of these entries that is there."""
    return next((source[name] for name in names if source.get(name) is not None), None)


def words(value: Any) -> str:
    """A value for a person."""
    if value is None or value == "":
        return NOT_RECORDED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return show_number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {words(entry)}" for name, entry in value.items()) or NOT_RECORDED
    if isinstance(value, list | tuple):
        return ", ".join(words(entry) for entry in value) or NOT_RECORDED
    return str(value)


def count(value: Any) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else words(value)


def show_number(value: float) -> str:
    """Three decimals for everyday sizes, else four significant digits."""
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size == 0:
        return "0"
    if 0.001 <= size < 1000:
        return f"{value:.3f}".rstrip("0").rstrip(".") if size >= 100 else f"{value:.3f}"
    if 1000 <= size < 1e7:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.3g}"
