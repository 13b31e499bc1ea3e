"""A manifest: a data set as two small text files, ``dataset.yaml`` and ``samples.csv`` (no torch)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tessera.core.config import dump_yaml, load_yaml, validate
from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo, ListedFile, check_relative
from tessera.core.data.hashing import sha256_file
from tessera.core.data.locate import DATASET_YAML, SAMPLES_CSV, FileFinder, find_manifest
from tessera.core.data.manifest_checks import check_duplicates, check_trainable
from tessera.core.data.manifest_io import FIXED, cases_of, csv_text, parse_rows, rows_of
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError, DataError

__all__ = ["DatasetInfo", "ListedFile", "Manifest", "Problem"]

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Problem:
    """Something wrong with one listed file.

    Args:
        case_id: The case.
        path: The file's place below the root.
        what: What is wrong, for a person.
    """

    case_id: str
    path: str
    what: str


@dataclass(frozen=True)
class Manifest:
    """A data set: its description and its cases.

    Args:
        info: The content of dataset.yaml.
        cases: Sorted by id; every file is a ``ListedFile``.
        folder: Where the manifest lies, or will be saved.
        warnings: Remarks for a person, for instance doubled contents.
    """

    info: DatasetInfo
    cases: tuple[Case, ...]
    folder: Path
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, name_or_path: str | Path) -> Manifest:
        """Read a manifest by folder, by its dataset.yaml, or by id."""
        folder = find_manifest(name_or_path)
        head, table = folder / DATASET_YAML, folder / SAMPLES_CSV
        try:
            info = validate(DatasetInfo, load_yaml(head), source=str(head))
        except ConfigError as error:
            raise DataError(
                error.problem, found=error.found, expected=error.expected, hint=error.hint
            ) from None
        try:
            text = table.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read {table}", found=error, expected="a CSV file in UTF-8") from None
        cases = cases_of(parse_rows(text, info, source=str(table)), info, FileFinder.of(info, folder))
        if not cases:
            raise DataError(f"{table} lists no files", expected="one row a file")
        return cls(info, cases, folder, tuple(check_duplicates(cases)))

    @classmethod
    def create(
        cls, info: DatasetInfo, cases: Iterable[Case], *, folder: Path, progress: Progress | None = None
    ) -> Manifest:
        """Make a manifest from cases with local files below the root; hashes what has no hash yet.

        Args:
            info: The head; a relative ``root`` is taken from ``folder``.
            cases: Cases whose files have a path.
            folder: Where the manifest will be saved.
            progress: Called with the number of bytes of each block hashed.
        """
        root = (folder / Path(info.root).expanduser()).resolve()
        listed = []
        for case in cases:
            files: dict[str, FileRef | tuple[FileRef, ...]] = {}
            for role, value in case.files.items():
                if isinstance(value, tuple):
                    files[role] = tuple(_listed(case.id, ref, root, progress) for ref in value)
                else:
                    files[role] = _listed(case.id, value, root, progress)
            targets = {
                name: _listed(case.id, value, root, progress) if isinstance(value, FileRef) else value
                for name, value in case.targets.items()
            }
            listed.append(replace(case, files=files, targets=targets))
        text = csv_text(_columns(rows := rows_of(info, listed)), rows)
        finder = FileFinder((root,))
        checked = cases_of(parse_rows(text, info, source=f"manifest {info.id}"), info, finder)
        return cls(info, checked, folder, tuple(check_duplicates(checked)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the data is: rows and targets, neither prose nor places."""
        targets = {name: spec.model_dump(mode="json") for name, spec in self.info.targets.items()}
        content = {"targets": targets, "simulated": self.info.simulated, "rows": self._rows}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _rows(self) -> list[dict[str, str]]:
        return rows_of(self.info, self.cases)

    def target(self, name: str) -> TargetSpec:
        """The declaration of a target column."""
        if name not in self.info.targets:
            raise DataError(
                f"manifest {self.info.id} has no target '{name}'",
                expected=f"one of {', '.join(self.info.targets) or '(none declared)'}",
                hint="--set data.target=<name> chooses another target",
            )
        return self.info.targets[name]

    def training_cases(self, name: str) -> tuple[Case, ...]:
        """The cases that have that target; raises when they can teach nothing, as with one class only."""
        check_trainable(self.cases, name, self.target(name))
        return tuple(case for case in self.cases if name in case.targets)

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        """Write dataset.yaml and samples.csv, the same bytes for the same manifest.

        Args:
            folder: Where to; a relative root is meant from here.
            overwrite: Replace a different manifest.
        """
        head = self.info.model_dump(mode="json", exclude_defaults=True)
        head["targets"] = {
            name: spec.model_dump(mode="json", exclude_defaults=True)
            for name, spec in self.info.targets.items()
        }
        texts = {  # the head last: a folder is a manifest when it has one
            SAMPLES_CSV: csv_text(_columns(self._rows), self._rows),
            DATASET_YAML: dump_yaml({"id": self.info.id, "root": self.info.root} | head),
        }
        for name, text in texts.items():
            path = folder / name
            if not overwrite and path.exists() and path.read_bytes() != text.encode():
                raise DataError(
                    f"{folder} holds another manifest",
                    found=f"a different {name}",
                    hint="choose another folder, or overwrite it on purpose",
                )
        for name, text in texts.items():
            write_atomic(folder / name, text)

    def verify(self, progress: Progress | None = None, *, rehash: bool = True) -> list[Problem]:
        """Compare every listed file with its size and hash.

        Args:
            progress: Called with the number of bytes of each block read.
            rehash: Read the contents; without it only sizes are compared.
        """
        places = FileFinder.of(self.info, self.folder).describe()
        problems = []
        known: dict[FileRef, str | None] = {}  # several cases may be parts of one file
        for case in self.cases:
            for reference in (*case.all_files(), *case.target_files()):
                if reference not in known:
                    known[reference] = _wrong(reference, places, progress, rehash=rehash)
                what = known[reference]
                if what is not None:
                    problems.append(Problem(case.id, getattr(reference, "relative", ""), what))
        return problems

    @property
    def total_bytes(self) -> int:
        """Size of all listed files together, each counted once."""
        files = {ref for case in self.cases for ref in (*case.all_files(), *case.target_files())}
        return sum(one.bytes or 0 for one in files)


def _wrong(reference: FileRef, places: str, progress: Progress | None, *, rehash: bool) -> str | None:
    if reference.path is None or not reference.path.is_file():
        return f"not found in {places}"
    size = reference.path.stat().st_size
    if size != reference.bytes:
        return f"{reference.path} has {size} bytes instead of {reference.bytes}"
    if rehash:
        try:
            digest = sha256_file(reference.path, progress=progress)
        except DataError as error:
            return error.one_line()
        if digest != reference.sha256:
            return f"{reference.path} has another content: SHA-256 {digest} instead of {reference.sha256}"
    return None


def _columns(rows: list[dict[str, str]]) -> list[str]:
    return list(rows[0]) if rows else list(FIXED)


def _listed(case_id: str, reference: FileRef, root: Path, progress: Progress | None) -> ListedFile:
    if reference.path is None:
        raise DataError(f"case {case_id}: a file has no local path", found=reference)
    path = reference.path.resolve()
    if not path.is_relative_to(root):
        raise DataError(
            f"case {case_id}: {reference.path} lies outside the data root",
            found=path,
            expected=f"a file below {root}",
            hint="choose a root that holds all files; links out of it are refused",
        )
    relative = path.relative_to(root).as_posix()
    return ListedFile(
        path=reference.path,
        urls=reference.urls,
        sha256=reference.sha256 or sha256_file(path, progress=progress),
        bytes=path.stat().st_size if reference.bytes is None else reference.bytes,
        relative=check_relative(relative, where=f"case {case_id}"),
    )
