"""A person's table of labels: which columns are meant, and which file each row means (no torch)."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from tessera.core.data.case import Target
from tessera.core.errors import DataError

_MEANINGS = {
    "file": ("file", "filename", "file_name", "path", "filepath", "file_path", "recording", "name"),
    "label": ("label", "labels", "class", "category", "target", "tags", "tag", "species"),
    "group": ("group", "groups"),
    "split": ("split", "fold"),
}
_DELIMITERS = ",;\t"
_TAG_BREAK = re.compile(r"\s*[|;]\s*")

Kind = Literal["class", "tags", "number"]


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """One label.

    Args:
        file: As written: a path, a name or a stem.
        label: The value.
        group: As written, or empty.
        split: As written, or empty.
        where: Place in the table, for errors.
        part: Added to the id of the case when the label is of a part of the file.
        select: Which part.
    """

    file: str
    label: Target
    group: str = ""
    split: str = ""
    where: str = ""
    part: str = ""
    select: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """All labels.

    Args:
        rows: In the order of the table; empty cells are not in it.
        columns: Which columns were taken, as {meaning: name}.
        kind: What the labels are.
    """

    rows: tuple[LabelRow, ...]
    columns: Mapping[str, str]
    kind: Kind

    @property
    def has_group(self) -> bool:
        """Whether the table says which files belong together."""
        return "group" in self.columns

    @property
    def has_split(self) -> bool:
        """Whether the table says which part or fold a file belongs to."""
        return "split" in self.columns

    def match(self, paths: Iterable[str], folder: Path) -> tuple[dict[str, LabelRow], tuple[str, ...]]:
        """Files with a label, and labels without a file of their own.

        A row's file is tried as a path below ``folder``, as a file name, and as a name without ending.
        """
        by_path: dict[str, list[str]] = {}
        by_name: dict[str, list[str]] = {}
        by_stem: dict[str, list[str]] = {}
        for path in paths:
            pure = PurePosixPath(path)
            by_path[path] = [path]
            by_name.setdefault(pure.name, []).append(path)
            by_stem.setdefault(pure.stem, []).append(path)
            by_stem.setdefault(str(pure.with_suffix("")), []).append(path)
        found: dict[str, LabelRow] = {}
        lost = []
        for row in self.rows:
            name = _below(row.file, folder)
            fits = set(by_path.get(name) or by_name.get(name) or by_stem.get(name) or ())
            if len(fits) != 1:
                lost.append(f"{row.file} (fits {len(fits)} files)" if fits else row.file)
                continue
            path = fits.pop()
            found[path] = _joined(found[path], row, self.kind) if path in found else row
        return found, tuple(lost)


def _below(file: str, folder: Path) -> str:
    path = Path(file)
    if path.is_absolute() and path.resolve().is_relative_to(folder):
        return path.resolve().relative_to(folder).as_posix()
    return file.replace("\\", "/").removeprefix("./")


def _joined(first: LabelRow, second: LabelRow, kind: Kind) -> LabelRow:
    """Two rows of one file: tags add up, anything else must agree."""
    label = first.label
    if kind == "tags" and isinstance(label, tuple) and isinstance(second.label, tuple):
        label = tuple(dict.fromkeys((*label, *second.label)))
    elif label != second.label:
        raise DataError(
            f"{second.where}: {second.file} has two labels",
            found=f"{label} and {second.label}",
            expected="one label a file",
            hint="keep one row, or say that files carry several tags (--kind tags)",
        )
    if (first.group, first.split) != (second.group, second.split):
        raise DataError(
            f"{second.where}: {second.file} has two groups or splits",
            found=f"{(first.group, first.split)} and {(second.group, second.split)}",
        )
    return LabelRow(file=first.file, label=label, group=first.group, split=first.split, where=first.where)


def read_labels(
    path: Path, *, file_column: str | None = None, label_column: str | None = None, kind: Kind | None = None
) -> LabelTable:
    """Read a CSV with a header; cells are separated by ',', ';' or tabs.

    Args:
        path: The table.
        file_column: Column that names the file; guessed when not given.
        label_column: Column that holds the label; guessed when not given.
        kind: What the labels are; when not given, tags if a cell holds several ('a|b', 'a;b'), else classes.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}", found=error, expected="a CSV file in UTF-8") from None
    header = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=header.count))
    names = [name for name in reader.fieldnames or () if name]
    columns = _choose(names, {"file": file_column, "label": label_column}, source=str(path))
    raw = []
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        raw.append((where, {meaning: (row[name] or "").strip() for meaning, name in columns.items()}))
    several = any(_TAG_BREAK.search(cells["label"]) for _, cells in raw)
    kind = kind or ("tags" if several else "class")
    rows = [
        LabelRow(
            file=cells["file"],
            label=_value(cells["label"], kind, where=where),
            group=cells.get("group", ""),
            split=cells.get("split", ""),
            where=where,
        )
        for where, cells in raw
        if cells["file"] and (cells["label"] or kind == "tags")
    ]
    if not rows:
        raise DataError(f"{path} holds no labels", found=f"columns {', '.join(names)}")
    for label in rows:
        if "group" in columns and not label.group:
            raise DataError(
                f"{label.where}: {label.file} has no group", found=f"empty cell in {columns['group']}"
            )
    return LabelTable(rows=tuple(rows), columns=columns, kind=kind)


def _choose(names: list[str], given: Mapping[str, str | None], *, source: str) -> dict[str, str]:
    chosen: dict[str, str] = {}
    lowered = {name.strip().lower(): name for name in reversed(names)}
    for meaning, guesses in _MEANINGS.items():
        wanted = given.get(meaning)
        fits = [lowered[guess] for guess in guesses if guess in lowered] if wanted is None else [wanted]
        if fits and fits[0] in names:
            chosen[meaning] = fits[0]
        elif wanted is not None or meaning in given:
            raise DataError(
                f"{source}: no column names the {meaning}",
                found=f"columns {', '.join(names) or '(none)'}",
                expected=wanted or f"one of {', '.join(guesses)}",
                hint="rename the column" if wanted is None else "correct the name, or rename the column",
            )
    return chosen


def _value(text: str, kind: Kind, *, where: str) -> Target:
    if kind == "tags":
        return tuple(dict.fromkeys(part for part in _TAG_BREAK.split(text) if part))
    if kind == "class":
        return text
    try:
        value = float(text.replace(",", "."))  # a decimal comma, where ';' separates the cells
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: this is no number", found=repr(text), expected="for instance 0.62")
    return value
