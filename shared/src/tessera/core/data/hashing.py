"""The hash of a case's input: SHA-256 once, then remembered by size and time of change (no torch)."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tessera.core.data.case import FileRef
from tessera.core.errors import DataError

_BLOCK = 1 << 20
_SETTLED_NS = 2_000_000_000  # coarsest time stamp in use (FAT): a younger file may still change unseen
_log = logging.getLogger(__name__)

_Stamp = tuple[int, int]  # size in bytes, time of change in ns


def sha256_file(path: Path, *, progress: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file's content as 64 hex digits, read in blocks.

    Args:
        path: The file.
        progress: Called with the number of bytes of each block.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                if progress is not None:
                    progress(len(block))
    except OSError as error:
        raise DataError(
            f"cannot read {path}", found=error.strerror or error, expected="a readable file"
        ) from None
    return digest.hexdigest()


class InputHasher:
    """Hashes inputs; an unchanged (size, mtime_ns) stands for an unchanged content.

    Args:
        memory: SQLite file that remembers digests between runs; ``None`` remembers within this object.
        verify: Read every file again, once a call, and correct the memory.
    """

    def __init__(self, memory: Path | None = None, *, verify: bool = False) -> None:
        self.memory = memory
        self.verify = verify
        self._known: dict[str, tuple[_Stamp, str]] = {}

    def hash(self, files: Iterable[FileRef], select: Mapping[str, Any]) -> str:
        """SHA-256 over the contents of the files, in order, and the selection."""
        digests = [self.file(ref.path) if ref.path is not None else _listed(ref) for ref in files]
        text = json.dumps([digests, dict(select)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def file(self, path: Path) -> str:
        """SHA-256 of one file's content."""
        name = str(path.absolute())
        stamp = _stamp(path)
        if not self.verify:
            known = self._known.get(name) or self._recall(name)
            if known is not None and known[0] == stamp:
                self._known[name] = known
                return known[1]
        digest = sha256_file(path)
        if _stamp(path) == stamp and time.time_ns() - stamp[1] > _SETTLED_NS:
            self._known[name] = (stamp, digest)
            self._remember(name, stamp, digest)
        return digest

    def _recall(self, name: str) -> tuple[_Stamp, str] | None:
        rows = self._query("SELECT size, mtime_ns, sha256 FROM files WHERE path = ?", (name,))
        return ((rows[0][0], rows[0][1]), rows[0][2]) if rows else None

    def _remember(self, name: str, stamp: _Stamp, digest: str) -> None:
        self._query("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (name, *stamp, digest))

    def _query(self, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """Ask the memory; it is only a shortcut, so a broken one is put aside and a read-only one ignored."""
        if self.memory is None:
            return []
        try:
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.memory, timeout=30.0)) as connection, connection:
                connection.execute("PRAGMA synchronous = OFF")  # a lost memory is rebuilt
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS files"
                    " (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT)"
                )
                return connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            _log.warning("not remembering hashes in %s: %s", self.memory, error)
            self.memory = None
        except sqlite3.DatabaseError as error:
            _log.warning("starting the hash memory %s anew: %s", self.memory, error)
            self.memory.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("not remembering hashes in %s: %s", self.memory, error)
            self.memory = None
        return []


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(
            f"cannot read {path}", found=error.strerror or error, expected="a readable file"
        ) from None
    return status.st_size, status.st_mtime_ns


def _listed(reference: FileRef) -> str:
    if reference.sha256 is None:
        raise DataError(
            "a file has neither a local path nor a hash", found=reference, hint="fetch the data first"
        )
    return reference.sha256
