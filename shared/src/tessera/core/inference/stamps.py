"""Whether a case's files are still what they were: their times of change, and their content."""

from __future__ import annotations

import json
import time

from tessera.core.data.case import Case, FileRef
from tessera.core.data.hashing import InputHasher
from tessera.core.errors import DataError

_SETTLED_NS = 2_000_000_000  # a file changed so recently may change again within one tick of its clock


def stamp_of(case: Case) -> str:
    """Path, size and time of change of each input file, as JSON; ``null`` for a missing one."""
    return json.dumps([_file_stamp(ref) for ref in case.all_files()])


def settled(stamp: str) -> bool:
    """Whether the files are old enough for their time of change to prove that they are unchanged."""
    times = [changed for _, _, changed in json.loads(stamp) if changed is not None]
    return all(time.time_ns() - changed > _SETTLED_NS for changed in times)


def checked_hash(case: Case, hasher: InputHasher) -> str:
    """Hash of a case's input files; refuses files that are not those the manifest lists."""
    digest = hasher.hash(case.all_files(), case.select)
    for ref in case.all_files():
        if ref.path is not None and ref.sha256 is not None and (found := hasher.file(ref.path)) != ref.sha256:
            raise DataError(
                f"case {case.id}: {ref.path} is not the file the manifest lists",
                found=f"SHA-256 {found}",
                expected=ref.sha256,
                hint="fetch or copy the file again, or correct the manifest",
            )
    return digest


def _file_stamp(ref: FileRef) -> list[str | int | None]:
    if ref.path is None:
        return [ref.sha256, None, None]
    try:
        status = ref.path.stat()
    except OSError:
        return [str(ref.path), None, None]
    return [str(ref.path), status.st_size, status.st_mtime_ns]
