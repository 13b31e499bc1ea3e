"""Which recording a table of selections is about: by the path in its rows, or by the table's own name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tessera.audio.readers import SoundReader
from tessera.audio.writers import safe_name
from tessera.core.data.case import Case
from tessera.core.errors import DataError


@dataclass(frozen=True)
class Recording:
    """A recording's path below the folder, its rate and length."""

    path: str
    rate_hz: float
    n_samples: int


class Recordings:
    """Finds recordings by what tables call them, without regard to capital letters unless two differ by them.

    Args:
        cases: Recordings by their path below the folder.
    """

    def __init__(self, cases: Mapping[str, Case]) -> None:
        self._cases = cases
        self._opened: dict[str, Recording] = {}
        self._by_end: dict[str, list[str]] = {}  # a/b.wav and b.wav
        self._by_stem: dict[str, list[str]] = {}  # what names of tables begin with
        for path in cases:
            parts = PurePosixPath(path).parts
            for i in range(len(parts)):
                self._by_end.setdefault("/".join(parts[i:]).lower(), []).append(path)
            for stem in {parts[-1], PurePosixPath(path).stem, safe_name(cases[path].id)}:
                self._by_stem.setdefault(stem.lower(), []).append(path)

    def named(self, text: str) -> Recording | None:
        """The recording that a path is about.

        The folders above the recordings may have other names than in the path, those below must be the same:
        recorders give files the same names at every site. A path with fewer folders must fit one only.
        """
        parts = PurePosixPath(text.replace("\\", "/")).parts
        for i in range(len(parts)):
            end = "/".join(parts[i:])
            same = [path for path in self._by_end.get(end.lower(), []) if len(path) == len(end)]
            if same:
                return self._open(end if end in same else same[0]) if end in same or len(same) == 1 else None
        within = self._by_end.get("/".join(parts).lower(), [])
        return self._open(within[0]) if len(within) == 1 else None

    def of_file(self, file: Path, place: str) -> Recording | None:
        """The recording whose name the table's begins with; of several the one in the same folder.

        Args:
            file: The table, such as ``night1.Table.1.selections.txt``.
            place: Its folder below the folder of tables.
        """
        name = file.name.lower()
        ends = sorted((i for i, letter in enumerate(name) if letter == "."), reverse=True)
        for end in ends:  # the longest name first: night1.a.txt is about night1.a before night1
            fits = list(dict.fromkeys(self._by_stem.get(name[:end], [])))
            beside = [path for path in fits if PurePosixPath(path).parent == PurePosixPath(place)]
            for chosen in (fits, beside):
                if len(chosen) == 1:
                    return self._open(chosen[0])
        return None

    def _open(self, path: str) -> Recording:
        if path not in self._opened:
            source = SoundReader().open(self._cases[path])
            try:
                self._opened[path] = Recording(path, source.grid.rate_hz, source.grid.n_samples)
            finally:
                source.close()
        return self._opened[path]


def label_files(labels: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Tables below a folder (or the one file) in order, each with its folder below that."""
    if labels.is_file():
        yield labels, ""
        return
    found = False
    for parent, folders, names in os.walk(labels):
        folders.sort()
        place = Path(parent).relative_to(labels).as_posix()
        for name in sorted(names):
            # macOS leaves a ._x.txt, which is no table, beside x.txt on foreign disks
            if name.lower().endswith(suffixes) and not name.startswith("._"):
                found = True
                yield Path(parent, name), place
    if not found:
        raise DataError(
            f"no tables of selections in {labels}",
            expected=f"files ending in {', '.join(suffixes)}",
            hint="save Raven's selection tables or Audacity's labels there",
        )
