"""Prepared cases on disk, keyed by content and configuration, read as memory maps (no torch at import)."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import zlib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tessera.core.data.atomic import replacing, write_atomic
from tessera.core.data.case import Case, Reader
from tessera.core.data.geometry import Geometry, Region
from tessera.core.data.hashing import InputHasher
from tessera.core.data.windows import Windows
from tessera.core.errors import DataError
from tessera.core.pipeline import resolve

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample

_log = logging.getLogger(__name__)
_FORMAT = 1
_REFERENCE = re.compile(r"tessera(\.[a-z][a-z0-9_]*)+:[A-Za-z_][A-Za-z0-9_]*")
_BLOCK = 1 << 24
# What an entry raises that was cut, changed, or written when a geometry still had another name.
DAMAGE = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ImportError, DataError)


class ArraySource:
    """A source over an array (C, *S) that is already in memory or mapped.

    Args:
        array: The data.
        geometry: Its grid.
    """

    def __init__(self, array: npt.NDArray[Any], geometry: Geometry) -> None:
        if array.shape[1:] != geometry.shape:
            raise ValueError(f"array {array.shape} does not fit the grid {geometry.shape}")
        self.array = array
        self._grid = geometry

    @property
    def grid(self) -> Geometry:
        """The array's grid."""
        return self._grid

    def read(self, region: Region | None = None) -> Sample:
        """A copy of the region's (or the whole) data (C, *S)."""
        import torch

        shape = self._grid.shape
        region = Region((0,) * len(shape), shape) if region is None else region
        inside = all(
            a >= 0 and b <= size for a, b, size in zip(region.start, region.stop, shape, strict=True)
        )
        if not inside:
            raise ValueError(f"{region} is not inside the grid {shape}")
        part = self.array[:, *(slice(a, b) for a, b in zip(region.start, region.stop, strict=True))]
        values = np.array(part, order="C", copy=True)  # torch wants memory it may write to
        return {"input": torch.from_numpy(values), "geometry": self._grid.crop(region), "region": region}

    def close(self) -> None:
        """Nothing to release: the array goes with its last user."""


class PreparedCache:
    """Opens cases through the cache; safe when several processes prepare the same case.

    Args:
        folder: Where prepared cases are kept.
        reader: Opens a case that is not there yet.
        windows: Prepares it.
        config_digest: Digest of everything ``prepare`` depends on beside the case's content.
        hasher: Hashes the input; one that remembers within this object when not given.
    """

    def __init__(
        self,
        folder: Path,
        reader: Reader,
        windows: Windows,
        config_digest: str,
        *,
        hasher: InputHasher | None = None,
    ) -> None:
        self.folder = folder
        self.reader = reader
        self.windows = windows
        self.config_digest = config_digest
        self.hasher = InputHasher() if hasher is None else hasher
        self._checked: set[str] = set()

    def key(self, case: Case) -> str:
        """Name of the case's entry: the hash of its input and the configuration."""
        text = json.dumps([_FORMAT, self.hasher.hash(case.all_files(), case.select), self.config_digest])
        return hashlib.sha256(text.encode()).hexdigest()

    def open(self, case: Case) -> ArraySource:
        """The prepared case (C, *S), prepared now when it is not there or its entry is damaged."""
        key = self.key(case)
        entry = self.folder / key[:2] / key
        try:
            return self._load(entry, key)
        except FileNotFoundError:
            pass
        except DAMAGE as error:
            _log.warning("preparing %s anew, its cache entry is damaged: %s", case.id, error)
        source = self.reader.open(case)
        try:
            array, geometry = self.windows.prepare(source)
        finally:
            source.close()
        array = np.ascontiguousarray(array, dtype=np.float32)
        head = geometry_to_json(geometry)
        try:
            self._store(entry, array, head)
            return self._load(entry, key)
        except (OSError, ValueError) as error:  # a full disk, an array numpy cannot map
            _log.warning("not caching %s in %s: %s", case.id, self.folder, error)
            return ArraySource(array, geometry)

    def _store(self, entry: Path, array: npt.NDArray[np.float32], geometry: dict[str, Any]) -> None:
        with replacing(entry.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        head = {"shape": array.shape, "crc32": crc32(array), "geometry": geometry}
        write_atomic(entry.with_suffix(".json"), json.dumps(head, sort_keys=True))

    def _load(self, entry: Path, key: str) -> ArraySource:
        head = json.loads(entry.with_suffix(".json").read_text(encoding="utf-8"))
        array = np.load(entry.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        if array.dtype != np.float32 or array.shape != tuple(head["shape"]):
            raise ValueError(f"{array.dtype} {array.shape} instead of float32 {head['shape']}")
        if key not in self._checked:  # reading all of it once a process is the price of a sure content
            if crc32(array) != head["crc32"]:
                raise ValueError("its checksum differs")
            self._checked.add(key)
        return ArraySource(array, geometry_from_json(head["geometry"]))


def crc32(array: npt.NDArray[Any]) -> int:
    """Checksum of an array's bytes."""
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    total = 0
    for start in range(0, len(data), _BLOCK):
        total = zlib.crc32(data[start : start + _BLOCK], total)
    return total


def geometry_to_json(geometry: Geometry) -> dict[str, Any]:
    """A geometry as plain values: its class and its fields (numbers, text, tuples of them)."""
    kind = type(geometry)
    if not is_dataclass(geometry):
        raise DataError(f"{kind.__name__} cannot be cached", expected="a geometry that is a dataclass")
    values = {field.name: getattr(geometry, field.name) for field in fields(geometry) if field.init}
    head = {"class": f"{kind.__module__}:{kind.__qualname__}", "fields": values}
    try:
        same = geometry_from_json(json.loads(json.dumps(head))) == geometry
    except TypeError:
        same = False
    if not same:
        raise DataError(
            f"{kind.__name__} cannot be cached",
            found=geometry,
            expected="fields that are numbers, text or tuples of them",
        )
    return head


def geometry_from_json(head: dict[str, Any]) -> Geometry:
    """The geometry again; only dataclasses of this project that are geometries are built."""
    reference = head["class"]
    if not _REFERENCE.fullmatch(reference):
        raise DataError(
            "not a geometry of this project", found=reference, expected="tessera.<module>:<class>"
        )
    kind = resolve(reference)
    if not (isinstance(kind, type) and issubclass(kind, Geometry) and is_dataclass(kind)):
        raise DataError("not a geometry", found=reference)
    built: Geometry = kind(**{name: _tuples(value) for name, value in head["fields"].items()})
    return built


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
