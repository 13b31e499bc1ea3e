"""A manifest from a person's own folder: classes from subfolders or from a table of labels (no torch)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tessera.core.config import validate
from tessera.core.data.case import Case, FileRef, Reader, Target
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.hashing import sha256_file
from tessera.core.data.label_table import Kind, LabelRow, LabelTable, read_labels
from tessera.core.data.manifest import Manifest
from tessera.core.data.manifest_checks import check_trainable, listing, same_content
from tessera.core.data.part_labels import PartLabels
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError, TesseraError

_DEFAULT_GROUP = (
    "every file is its own group: if several files belong together (one recording, site or individual), "
    "say so with --group-regex, for instance '([^/_]+)_[^/]*$' for what stands before the first '_' of "
    "the name, "
    "or with a column group in the table of labels; else training and test share what they should not"
)


@dataclass(frozen=True, kw_only=True)
class MadeManifest:
    """A manifest and what was found beside its cases; paths are relative to the folder.

    Args:
        manifest: The manifest, saved.
        columns: Which columns of the table were taken, as {meaning: name}.
        unlabelled: Files without a label, left out.
        without_file: Labels whose file is not there, or fits several files.
        unreadable: (file, reason) of files that cannot be opened, left out.
        duplicates: Ids of cases with the same content; they share a group.
        warnings: Remarks for a person.
    """

    manifest: Manifest
    columns: Mapping[str, str]
    unlabelled: tuple[str, ...]
    without_file: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...]


def make_manifest(
    *,
    reader: Reader,
    folder: Path,
    out: Path,
    labels: Path | None = None,
    parts: PartLabels | None = None,
    group_regex: str | None = None,
    target: str = "label",
    kind: Kind | None = None,
    unit: str = "",
    file_column: str | None = None,
    label_column: str | None = None,
    title: str = "",
    licence: str = "",
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> MadeManifest:
    """Build and save the manifest of a folder.

    Args:
        reader: Finds the cases and says which can be opened.
        folder: The files; becomes the root.
        out: Folder of the manifest; its name is the id.
        labels: Table of labels; without it the first subfolder's name is the class.
        parts: Reads labels of the field's own kind, which cut the files into labelled parts.
        group_regex: Searched in the file's path below ``folder``; its group (the one, or the one named
            ``group``) is the case's group.
        target: Name of the target.
        kind: What the labels are; when not given, tags if a cell holds several, else classes.
        unit: Unit of a number.
        file_column: Column of the table that names the file.
        label_column: Column of the table that holds the label.
        title: One line for a person.
        licence: Licence of the data.
        overwrite: Replace another manifest in ``out``.
        progress: Called with the number of bytes of each block hashed.
    """
    folder = folder.resolve()
    pattern = _group_pattern(group_regex)
    found, outside = _inside(reader.find(folder), folder)
    if not found and not outside:
        raise DataError(f"no usable files in {folder}", expected="files this pipeline reads")
    if parts is not None and labels is not None and parts.reads(labels):
        matched = _match_parts(parts, reader, found, labels)
    else:
        table = _folder_labels(found)
        if labels is not None:
            table = read_labels(labels, file_column=file_column, label_column=label_column, kind=kind)
        matched = _match_table(table, reader, found, folder)
    columns, rows = matched.columns, matched.rows
    own_groups = pattern is None and "group" not in columns
    if "group" in columns and pattern is not None:
        raise DataError("groups are given twice", found="--group-regex and a column group", hint="drop one")
    unlabelled, unreadable = matched.unlabelled, (*outside, *matched.unreadable)
    if not rows:
        raise _nothing_left(folder, labels, unlabelled, matched.without_file, unreadable)
    spec = _spec(kind or matched.kind, unit, [row.label for several in rows.values() for row in several])
    hashed = {path: _hashed(found[path], progress) for path in rows}
    named = [
        _labelled(hashed[path], path, row, spec=spec, target=target, pattern=pattern)
        for path, several in rows.items()
        for row in several
    ]
    cases, duplicates = one_group_for_copies(named)
    head = {"title": title, "licence": licence, "role": next(iter(cases[0].files))}
    head["splits"] = "the column split of the table of labels" if "split" in columns else ""
    places = {"id": out.name, "root": root_from(folder, out), "targets": {target: spec}}
    info = validate(DatasetInfo, head | places, source=f"manifest {out.name}")
    manifest = Manifest.create(info, cases, folder=out)
    manifest.save(out, overwrite=overwrite)
    return MadeManifest(
        manifest=manifest,
        columns=columns,
        unlabelled=unlabelled,
        without_file=matched.without_file,
        unreadable=unreadable,
        duplicates=duplicates,
        warnings=(*matched.warnings, *_remarks(manifest, target, own_groups=own_groups)),
    )


@dataclass(frozen=True, kw_only=True)
class _Matched:
    """Labels with their files; ``rows`` are of those that can be opened, by path."""

    rows: Mapping[str, tuple[LabelRow, ...]]
    unlabelled: tuple[str, ...]
    kind: Kind
    columns: Mapping[str, str]
    without_file: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...] = ()


def _match_table(table: LabelTable, reader: Reader, found: Mapping[str, Case], folder: Path) -> _Matched:
    rows, without_file = table.match(found, folder)
    readable, unreadable = _openable(reader, {path: found[path] for path in sorted(rows)})
    return _Matched(
        rows={path: (rows[path],) for path in readable},
        unlabelled=tuple(sorted(set(found) - set(rows))),
        kind=table.kind,
        columns=table.columns,
        without_file=without_file,
        unreadable=unreadable,
    )


def _match_parts(parts: PartLabels, reader: Reader, found: Mapping[str, Case], labels: Path) -> _Matched:
    readable, unreadable = _openable(reader, {path: found[path] for path in sorted(found)})
    found_parts = parts.label(readable, labels)
    return _Matched(
        rows={path: rows for path, rows in sorted(found_parts.rows.items()) if rows},
        unlabelled=tuple(sorted(set(readable) - set(found_parts.rows))),
        kind=found_parts.kind,
        columns={},
        without_file=found_parts.without_file,
        unreadable=unreadable,
        warnings=found_parts.warnings,
    )


def _group_pattern(regex: str | None) -> re.Pattern[str] | None:
    if regex is None:
        return None
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise DataError(f"--group-regex {regex!r} is no regular expression", found=error) from None
    if "group" not in pattern.groupindex and pattern.groups != 1:
        raise DataError(
            f"--group-regex {regex!r} must mark the group",
            found=f"{pattern.groups} pairs of parentheses",
            expected="one pair, or one named (?P<group>...)",
            hint="for instance '([^/_]+)_[^/]*$' takes what stands before the first '_' of the name",
        )
    return pattern


def _group(pattern: re.Pattern[str] | None, path: str, row: LabelRow) -> str:
    if pattern is None:
        return row.group or Path(path).stem
    match = pattern.search(path)
    group = match and match["group" if "group" in pattern.groupindex else 1]
    if group:
        return group
    raise DataError(
        f"--group-regex {pattern.pattern!r} finds no group in {path}",
        expected="a group in the path of every file",
        hint="widen the expression; it is searched in the path below the folder",
    )


def _first_file(case: Case) -> Path:
    path = case.all_files()[0].path
    if path is None:
        raise DataError(f"case {case.id} has no local file")
    return path


def _inside(cases: Iterable[Case], folder: Path) -> tuple[dict[str, Case], tuple[tuple[str, str], ...]]:
    """Cases by their path below the folder, and those whose file is a link that leads out of it."""
    inside: dict[str, Case] = {}
    outside = []
    for case in cases:
        path = _first_file(case).resolve()
        if path.is_relative_to(folder):
            inside[path.relative_to(folder).as_posix()] = case
        else:
            outside.append(
                (case.id, f"a link that leaves the folder, to {path}; copy the file into the folder")
            )
    return inside, tuple(outside)


def _folder_labels(found: Iterable[str]) -> LabelTable:
    inside = [path for path in found if "/" in path]
    rows = [LabelRow(file=path, label=path.split("/")[0]) for path in inside]
    return LabelTable(rows=tuple(rows), columns={}, kind="class")


def _openable(
    reader: Reader, cases: Mapping[str, Case]
) -> tuple[dict[str, Case], tuple[tuple[str, str], ...]]:
    good: dict[str, Case] = {}
    bad = []
    for path, case in cases.items():
        try:
            reader.open(case).close()
        except TesseraError as error:
            bad.append((path, error.one_line()))
        except OSError as error:
            bad.append((path, str(error)))
        else:
            good[path] = case
    return good, tuple(bad)


def _nothing_left(
    folder: Path,
    labels: Path | None,
    unlabelled: tuple[str, ...],
    without_file: tuple[str, ...],
    unreadable: tuple[tuple[str, str], ...],
) -> DataError:
    parts = [
        f"{len(names)} {what}, for instance {names[0]}"
        for names, what in (
            (unlabelled, "files without a label"),
            (without_file, "labels without a file"),
            ([f"{path} ({reason})" for path, reason in unreadable], "unreadable files"),
        )
        if names
    ]
    wanted = f"files of {folder} named in {labels}" if labels else f"subfolders of {folder} named by class"
    return DataError("no file has a label and can be read", found="; ".join(parts), expected=wanted)


def _spec(kind: Kind, unit: str, labels: Iterable[Target]) -> TargetSpec:
    if kind == "number":
        return TargetSpec(kind=kind, unit=unit)
    names = {name for label in labels for name in (label if isinstance(label, tuple) else (str(label),))}
    if not names:
        raise DataError("the table holds no tag at all", expected="tags in some of the cells")
    return validate(TargetSpec, {"kind": kind, "classes": sorted(names)}, source="the labels")


def _labelled(
    case: Case, path: str, row: LabelRow, *, spec: TargetSpec, target: str, pattern: re.Pattern[str] | None
) -> Case:
    label = row.label
    if spec.kind == "tags" and not isinstance(label, tuple):
        label = (str(label),)
    return replace(
        case,
        id=case.id + row.part,
        select={**case.select, **row.select},
        targets={target: label},
        group=_group(pattern, path, row),
        split=row.split,
    )


def _hashed(case: Case, progress: Callable[[int], None] | None) -> Case:
    def one(reference: FileRef) -> FileRef:
        if reference.path is None or reference.sha256 is not None:
            return reference
        return replace(reference, sha256=sha256_file(reference.path, progress=progress))

    files = {
        role: tuple(one(ref) for ref in value) if isinstance(value, tuple) else one(value)
        for role, value in case.files.items()
    }
    return replace(case, files=files)


def one_group_for_copies(cases: list[Case]) -> tuple[list[Case], tuple[tuple[str, ...], ...]]:
    """Join the groups of cases with the same content; chains of copies end in one group."""
    joined: dict[str, str] = {}

    def last(group: str) -> str:
        while group in joined:
            group = joined[group]
        return group

    copies = same_content(cases)
    for members in copies:
        ends = sorted({last(case.group) for case in members})
        joined |= dict.fromkeys(ends[1:], ends[0])
    regrouped = [replace(case, group=last(case.group)) for case in cases]
    return regrouped, tuple(tuple(case.id for case in members) for members in copies)


def root_from(folder: Path, out: Path) -> str:
    """The folder seen from the manifest, so that both can move together."""
    try:
        return Path(os.path.relpath(folder, out.resolve())).as_posix()
    except ValueError:  # another drive
        return str(folder)


def _remarks(manifest: Manifest, target: str, *, own_groups: bool) -> list[str]:
    remarks = [_DEFAULT_GROUP] if own_groups else []
    try:
        check_trainable(manifest.cases, target, manifest.target(target))
    except DataError as error:
        remarks.append(f"not enough to train: {error.one_line()}")
    per_split: dict[str, set[str]] = {}
    for case in manifest.cases:
        per_split.setdefault(case.group, set()).add(case.split)
    torn = sorted(group for group, splits in per_split.items() if len(splits) > 1)
    if torn:
        remarks.append(f"groups on two sides of the given split: {listing(torn)}; training will refuse it")
    return [*remarks, *manifest.warnings]
