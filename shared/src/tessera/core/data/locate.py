"""Where manifests and their files are looked for, in a fixed order (no torch)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.errors import DataError

DATASET_YAML = "dataset.yaml"
SAMPLES_CSV = "samples.csv"
MANIFESTS_FOLDER = "data_manifests"


def data_root() -> Path | None:
    """The folder of local copies of data sets, from ``TESSERA_DATA_ROOT``."""
    text = os.environ.get("TESSERA_DATA_ROOT", "")
    return Path(text).expanduser() if text else None


def cache_folder() -> Path:
    """Where fetched and prepared data is kept: ``TESSERA_CACHE`` or the platform's user cache."""
    text = os.environ.get("TESSERA_CACHE", "")
    if text:
        return Path(text).expanduser()
    import pooch

    return Path(pooch.os_cache("tessera"))


def fetch_folder(info: DatasetInfo) -> Path:
    """Where ``fetch`` puts the files of a data set."""
    return cache_folder() / "data" / info.id


@dataclass(frozen=True)
class FileFinder:
    """Finds the files of one data set.

    Args:
        roots: Folders tried in order.
    """

    roots: tuple[Path, ...]

    @classmethod
    def of(cls, info: DatasetInfo, folder: Path) -> FileFinder:
        """The finder of a manifest that lies in ``folder``."""
        root = Path(info.root).expanduser()
        if root.is_absolute():
            return cls((root, fetch_folder(info)))
        below = data_root()
        named = below is not None and ".." not in root.parts and root != Path()
        first = (below / root,) if named and below is not None else ()
        return cls((*first, folder / root, fetch_folder(info)))

    def find(self, relative: str) -> Path | None:
        """The local path of a listed file, or ``None``; a link that leads out of its root is refused."""
        for root in self.roots:
            candidate = root / PurePosixPath(relative)
            try:
                if not candidate.is_file():
                    continue
            except OSError:  # a folder on the way may not be entered
                continue
            if not candidate.resolve().is_relative_to(root.resolve()):
                raise DataError(
                    f"{candidate} is a link that leaves the data root",
                    found=candidate.resolve(),
                    expected=f"a file below {root.resolve()}",
                    hint="copy the file into the root, or point the root at the real folder",
                )
            return candidate
        return None

    def describe(self) -> str:
        """The roots as text for a person."""
        return ", ".join(str(root) for root in self.roots)


def manifest_folders() -> Iterator[Path]:
    """Folders that hold manifests, the nearest first; packages are asked only when reached."""
    yield Path(MANIFESTS_FOLDER)
    for text in os.environ.get("TESSERA_MANIFESTS", "").split(os.pathsep):
        if text:
            yield Path(text).expanduser()
    from tessera.core.pipeline import discover

    for domain in sorted({pipeline.domain for pipeline in discover().values()}):
        yield Path(str(files(f"tessera.{domain}"))) / MANIFESTS_FOLDER


def manifest_ids() -> list[str]:
    """The ids that can be used instead of a path, sorted."""
    return sorted(
        {entry.parent.name for place in manifest_folders() for entry in place.glob(f"*/{DATASET_YAML}")}
    )


def find_manifest(name_or_path: str | Path) -> Path:
    """The folder of a manifest, given by folder, by its dataset.yaml, or by id."""
    given = Path(name_or_path).expanduser()
    if given.name == DATASET_YAML and given.is_file():
        return given.parent
    if (given / DATASET_YAML).is_file():
        return given
    is_id = isinstance(name_or_path, str) and name_or_path == given.name
    looked = [str(given)]
    for place in manifest_folders() if is_id else ():
        looked.append(str(place / given))
        if (place / given / DATASET_YAML).is_file():
            return place / given
    known = manifest_ids()
    raise DataError(
        f"there is no manifest '{name_or_path}'",
        found=f"no {DATASET_YAML} in {', '.join(looked)}",
        expected=f"a folder with {DATASET_YAML}, or one of these ids: {', '.join(known) or '(none known)'}",
        hint="tessera data make builds one from a folder of files; TESSERA_MANIFESTS adds places to look",
    )
