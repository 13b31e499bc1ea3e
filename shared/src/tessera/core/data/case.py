"""A case: one thing a scientist counts (a recording, a scan, a galaxy), its files and what is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tessera.core.data.geometry import Geometry, Region

if TYPE_CHECKING:  # torch stays out of listing files and manifests
    from tessera.core.data.sample import Sample


@dataclass(frozen=True)
class FileRef:
    """A file by local path or by address, with its digest when known.

    Args:
        path: Where the file lies; ``None`` until it is fetched.
        urls: Addresses, tried in order by ``fetch``.
        sha256: 64 hex digits.
        bytes: Size.
    """

    path: Path | None = None
    urls: tuple[str, ...] = ()
    sha256: str | None = None
    bytes: int | None = None


Target = str | int | float | tuple[str, ...] | tuple[float, ...] | FileRef


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case.

    Args:
        id: Unique in its manifest or folder; used in file names of outputs.
        files: Role (``audio``, ``image``) to file or files.
        select: Which part of the files this case is (HDU, series UID, time span).
        targets: Name to known value: a class, a tuple of tags, a number or a tuple of them, or a file.
        group: What must not be split between training and test (recording, patient).
        split: The official fold or part, empty when there is none.
        meta: Anything else, as text.
    """

    id: str
    files: Mapping[str, FileRef | tuple[FileRef, ...]]
    select: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    group: str
    split: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)

    def path(self, role: str) -> Path:
        """The local path of the single file with that role."""
        reference = self.files[role]
        if isinstance(reference, tuple) or reference.path is None:
            raise ValueError(f"case {self.id}: role {role} is not one local file")
        return reference.path

    def all_files(self) -> tuple[FileRef, ...]:
        """Every input file, in the order of the roles' names."""
        refs: list[FileRef] = []
        for _, value in sorted(self.files.items()):
            refs.extend(value if isinstance(value, tuple) else (value,))
        return tuple(refs)

    def target_file(self, name: str) -> FileRef:
        """The file of a mask."""
        value = self.targets.get(name)
        if not isinstance(value, FileRef):
            raise ValueError(f"case {self.id}: target {name} is not a file")
        return value

    def target_files(self) -> tuple[FileRef, ...]:
        """Every file among the targets (masks), in the order of the targets' names."""
        return tuple(value for _, value in sorted(self.targets.items()) if isinstance(value, FileRef))


@runtime_checkable
class Source(Protocol):
    """An opened case; reads regions without loading the whole."""

    @property
    def grid(self) -> Geometry:
        """The source's own grid."""
        ...

    def read(self, region: Region | None = None) -> Sample:
        """The region's (or the whole) data (C, *S), values as stored in physical units."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


@runtime_checkable
class RemarkedSource(Source, Protocol):
    """A ``Source`` with remarks on the whole of it, for a field whose windows need it prepared."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of it; they become flags of its prediction."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Finds and opens cases of one field."""

    def find(self, path: Path) -> Iterable[Case]:
        """Cases below a folder (or of one file), sorted by id, without a manifest."""
        ...

    def open(self, case: Case) -> Source:
        """Open a case; raises ``DataError`` saying what is wrong with the file."""
        ...


@runtime_checkable
class MaskReader(Reader, Protocol):
    """A ``Reader`` of a field whose targets are masks."""

    def open_mask(self, case: Case, target: str) -> Source:
        """Open the mask in ``case.targets[target]``, on the same grid as the case.

        Its ``read`` gives (1, *S): at each element the class's place in the target's list.
        """
        ...
