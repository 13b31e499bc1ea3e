"""``samples.csv``: one row a file, read into cases and written back byte for byte (no torch)."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from tessera.core.data.case import Case, FileRef, Target
from tessera.core.data.dataset_info import DatasetInfo, ListedFile, check_relative
from tessera.core.data.locate import FileFinder
from tessera.core.data.targets import TAG_SEPARATOR, TargetSpec, encode_target
from tessera.core.errors import DataError

REQUIRED = ("id", "path", "sha256", "bytes", "group")
FIXED = ("id", "role", "path", "sha256", "bytes", "group", "split")
LIST_MARK = "[]"  # role "slices[]": one of several files, in the order of the rows
_PREFIXES = ("target.", "select.", "meta.")
_SHA256 = re.compile(r"[0-9a-f]{64}")

Row = dict[str, str]


def parse_rows(text: str, info: DatasetInfo, *, source: str) -> list[tuple[str, Row]]:
    """Rows of samples.csv with their place (``samples.csv, line 2``); refuses unknown or missing columns."""
    reader = csv.DictReader(io.StringIO(text), strict=True)
    rows: list[tuple[str, Row]] = []
    try:
        columns = list(reader.fieldnames or ())
        _check_columns(columns, info, source=source)
        for row in reader:
            where = f"{source}, line {reader.line_num}"
            if None in row or None in row.values():
                raise DataError(
                    f"{where}: the row does not fit the header",
                    found=f"{sum(v is not None for v in row.values())} cells",
                    expected=f"{len(columns)} cells",
                    hint="put a cell that contains a comma between double quotes",
                )
            rows.append((where, row))
    except csv.Error as error:
        raise DataError(f"{source}, line {reader.line_num}: not a CSV file", found=error) from None
    return rows


def _check_columns(columns: Sequence[str], info: DatasetInfo, *, source: str) -> None:
    wanted = [*REQUIRED, *target_columns(info)]
    missing = [name for name in wanted if name not in columns]
    unknown = [name for name in columns if name not in FIXED and not name.startswith(_PREFIXES)]
    undeclared = [name for name in columns if name.startswith("target.") and name not in wanted]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    for what, names, hint in (
        ("missing columns", missing, "add them; cells are separated by commas"),
        ("unknown columns", unknown, "call free columns meta.<name>"),
        ("targets that dataset.yaml does not declare", undeclared, "declare them under targets"),
        ("columns given twice", twice, "keep one of them"),
    ):
        if names:
            raise DataError(
                f"{source}: {what} {', '.join(names)}",
                found=f"columns {', '.join(columns) or '(none)'}",
                expected=f"columns {', '.join(wanted)}",
                hint=hint,
            )


def target_columns(info: DatasetInfo) -> list[str]:
    """The columns of the targets; a mask has three, its file's path, hash and size."""
    columns = []
    for name, spec in info.targets.items():
        columns.append(f"target.{name}")
        if spec.kind == "mask":
            columns += [f"target.{name}_sha256", f"target.{name}_bytes"]
    return columns


def cases_of(rows: Iterable[tuple[str, Row]], info: DatasetInfo, finder: FileFinder) -> tuple[Case, ...]:
    """Cases sorted by id; rows of one id are its files and must agree in everything else."""
    cases: dict[str, Case] = {}
    first: dict[str, str] = {}
    for where, row in rows:
        role = row.get("role") or info.role
        case = _case_of(where, row, info, finder)
        reference = _file_of(where, row, info, finder)
        known = cases.get(case.id)
        if known is None:
            first[case.id] = where
            known = case
        elif replace(known, files={}) != case or (role in known.files and not role.endswith(LIST_MARK)):
            raise DataError(
                f"{where}: duplicate id '{case.id}'",
                found=f"first given in {first[case.id]}",
                expected="one id a case; its further files with other roles and the same group and targets",
                hint=f"rename one, or mark a list of files with the role {role}{LIST_MARK}",
            )
        cases[case.id] = replace(known, files=_with_file(known.files, role, reference))
    marked = (_without_marks(case) for _, case in sorted(cases.items()))
    return tuple(marked)


def _with_file(
    known: Mapping[str, FileRef | tuple[FileRef, ...]], role: str, reference: FileRef
) -> dict[str, FileRef | tuple[FileRef, ...]]:
    if not role.endswith(LIST_MARK):
        return {**known, role: reference}
    before = known.get(role, ())
    return {**known, role: (*(before if isinstance(before, tuple) else (before,)), reference)}


def _without_marks(case: Case) -> Case:
    return replace(case, files={role.removesuffix(LIST_MARK): value for role, value in case.files.items()})


def _case_of(where: str, row: Row, info: DatasetInfo, finder: FileFinder) -> Case:
    case_id, group = row["id"], row["group"]
    plain = case_id == case_id.strip() and case_id.isprintable() and "\\" not in case_id
    if not case_id or not plain or case_id.startswith("/") or ".." in case_id.split("/"):
        raise DataError(
            f"{where}: this cannot be an id", found=repr(case_id), expected="plain text without '..' or '\\'"
        )
    if not group:
        raise DataError(
            f"{where}: case {case_id} has no group",
            expected="what must stay on one side of a split: recording, patient, field",
            hint="repeat the id when every case stands alone",
        )
    targets: dict[str, Target] = {}
    for name, spec in info.targets.items():
        text = row[f"target.{name}"]
        if spec.kind == "mask" and text:
            targets[name] = _mask_of(where, row, name, info, finder)
            continue
        value = parse_target(spec, text, where=where, case_id=case_id, name=name)
        if value is not None:
            targets[name] = value
    part = {prefix: _part(row, prefix) for prefix in ("select.", "meta.")}
    return Case(
        id=case_id,
        files={},
        select={key: parse_number(text) for key, text in part["select."].items()},
        targets=targets,
        group=group,
        split=row.get("split", ""),
        meta=part["meta."],
    )


def _part(row: Row, prefix: str) -> Row:
    return {key.removeprefix(prefix): text for key, text in row.items() if key.startswith(prefix) and text}


def parse_number(text: str) -> int | float | str:
    """A number when writing it again gives the same text, else the text; ``007`` and ``no`` stay text."""
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if str(value) == text and math.isfinite(value):
            return value
    return text


def parse_target(spec: TargetSpec, text: str, *, where: str, case_id: str, name: str) -> Target | None:
    """A cell as a target's value; ``None`` for an empty cell of a partial target."""
    if not text and spec.kind != "tags":
        if spec.partial:
            return None
        raise DataError(
            f"{where}: case {case_id} has a file without a label",
            found=f"an empty cell in target.{name}",
            hint=f"fill it in, remove the row, or say 'partial: true' for {name} in dataset.yaml",
        )
    value: Target = text
    if spec.kind == "tags":
        value = tuple(text.split(TAG_SEPARATOR)) if text else ()
    elif spec.is_measured:
        try:
            numbers = tuple(float(part) for part in text.split(TAG_SEPARATOR))
            value = numbers if spec.kind == "numbers" else numbers[0] if len(numbers) == 1 else text
        except ValueError:
            value = text
    try:
        encode_target(spec, value, case_id=case_id)
    except DataError as error:
        raise DataError(
            f"{where}: {error.problem}", found=error.found, expected=error.expected, hint=error.hint
        ) from None
    return value


def _file_of(where: str, row: Row, info: DatasetInfo, finder: FileFinder) -> ListedFile:
    if not row["path"]:
        raise DataError(
            f"{where}: case {row['id']} is a label without a file",
            found="an empty cell in path",
            hint="give the file's path below the root, or remove the row",
        )
    return _listed(where, (row["path"], row["sha256"], row["bytes"]), info, finder)


def _mask_of(where: str, row: Row, name: str, info: DatasetInfo, finder: FileFinder) -> ListedFile:
    cells = (row[f"target.{name}"], row[f"target.{name}_sha256"], row[f"target.{name}_bytes"])
    return _listed(f"{where}, target {name}", cells, info, finder)


def _listed(where: str, cells: tuple[str, str, str], info: DatasetInfo, finder: FileFinder) -> ListedFile:
    path, sha256, size = cells
    relative = check_relative(path, where=where)
    if not _SHA256.fullmatch(sha256):
        raise DataError(
            f"{where}: this is no SHA-256", found=repr(sha256), expected="64 hex digits in lower case"
        )
    if not re.fullmatch(r"[0-9]{1,18}", size):
        raise DataError(f"{where}: this is no size", found=repr(size), expected="bytes as a whole number")
    urls = tuple(f"{base.rstrip('/')}/{quote(relative)}" for base in info.urls)
    return ListedFile(
        path=finder.find(relative),
        urls=urls,
        sha256=sha256,
        bytes=int(size),
        relative=relative,
    )


def rows_of(info: DatasetInfo, cases: Iterable[Case]) -> list[Row]:
    """Cases as rows of text, sorted by id, every row with the same columns in a fixed order."""
    ordered = sorted(cases, key=lambda case: case.id)
    keys = {
        "select.": sorted({key for case in ordered for key in case.select}),
        "meta.": sorted({key for case in ordered for key in case.meta}),
    }
    rows = []
    for case in ordered:
        shared = _target_cells(info, case)
        shared |= {f"select.{key}": _scalar_text(case.select.get(key, "")) for key in keys["select."]}
        shared |= {f"meta.{key}": str(case.meta.get(key, "")) for key in keys["meta."]}
        if not case.files:
            rows.append(_row_of(case, "", ListedFile(sha256="", bytes=0)) | shared)
        for role, value in sorted(case.files.items()):
            mark = LIST_MARK if isinstance(value, tuple) else ""
            for reference in value if isinstance(value, tuple) else (value,):
                rows.append(_row_of(case, role + mark, reference) | shared)
    return rows


def _row_of(case: Case, role: str, reference: FileRef) -> Row:
    path, sha256, size = _file_cells(case, reference)
    listed = {"path": path, "sha256": sha256, "bytes": size}
    return {"id": case.id, "role": role, **listed, "group": case.group, "split": case.split}


def _target_cells(info: DatasetInfo, case: Case) -> Row:
    cells = dict.fromkeys(target_columns(info), "")
    for name in info.targets:
        value = case.targets.get(name)
        if not isinstance(value, FileRef):
            cells[f"target.{name}"] = target_text(value)
            continue
        columns = (f"target.{name}", f"target.{name}_sha256", f"target.{name}_bytes")
        cells |= dict(zip(columns, _file_cells(case, value), strict=True))
    return cells


def _file_cells(case: Case, reference: FileRef) -> tuple[str, str, str]:
    """Path below the root, hash and size."""
    if not isinstance(reference, ListedFile) or reference.sha256 is None or reference.bytes is None:
        raise DataError(
            f"case {case.id}: its file has no place or hash in the manifest",
            found=reference,
            hint="build the manifest with Manifest.create, which hashes the files",
        )
    return reference.relative, reference.sha256, str(reference.bytes)


def target_text(value: Target | None) -> str:
    """A target's value as a cell."""
    if value is None:
        return ""
    return TAG_SEPARATOR.join(map(_scalar_text, value)) if isinstance(value, tuple) else _scalar_text(value)


def _scalar_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    return json.dumps(value, sort_keys=True)


def csv_text(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """Rows as CSV with line feeds as line ends, the same bytes on every platform."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
