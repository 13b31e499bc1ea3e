"""Check sums of a folder, in the format ``sha256sum -c`` reads (no torch)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tessera.core.data.atomic import write_atomic
from tessera.core.data.hashing import sha256_file
from tessera.core.errors import BundleError

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` over all other files."""
    write_atomic(folder / SUMS, _sums(folder))


def check_sums(folder: Path) -> str:
    """Give the text of ``SHA256SUMS``; raises ``BundleError`` naming the first file that differs."""
    try:
        written = (folder / SUMS).read_bytes()
    except OSError:
        raise BundleError(
            f"{folder} is not a bundle",
            expected=f"a folder with {SUMS}, card.json and members/",
            hint="a run keeps its bundle in <run>/bundle",
        ) from None
    found = _sums(folder)
    if written != found.encode():
        raise _difference(folder, written.decode(errors="replace"), found)
    return found


def rewrite(folder: Path, texts: Mapping[str, str]) -> None:
    """Replace the text of some files of a checked folder, and their sums right after.

    Nothing is hashed between the first and the last file, so that a kill hardly ever falls there.
    """
    sums = _by_name(check_sums(folder))
    sums |= {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    for name, text in texts.items():
        write_atomic(folder / name, text)
    write_atomic(folder / SUMS, _listing(sums))


def _sums(folder: Path) -> str:
    files = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()]
    return _listing({name: sha256_file(folder / name) for name in files if name != SUMS})


def _listing(sums: Mapping[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def _difference(folder: Path, written: str, found: str) -> BundleError:
    expected, present = _by_name(written), _by_name(found)
    for name in sorted({*expected, *present}):
        if expected.get(name) == present.get(name):
            continue
        if name not in expected:
            hint = "remove the file, if you know who put it there; otherwise copy the bundle again"
            return BundleError(f"{folder / name} does not belong to the bundle", hint=hint)
        return BundleError(
            f"{folder / name} is not the file the bundle was written with",
            found=present.get(name, "no such file"),
            expected=f"SHA-256 {expected[name]}",
            hint="copy the bundle again from where it was made",
        )
    return BundleError(f"{folder / SUMS} was changed", hint="copy the bundle again from where it was made")


def _by_name(sums: str) -> dict[str, str]:
    lines = (line.partition("  ") for line in sums.split("\n") if line)
    return {name: digest for digest, _, name in lines}
