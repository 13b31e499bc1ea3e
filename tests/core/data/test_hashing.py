from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import pytest

from tessera.core.data.case import FileRef
from tessera.core.data.hashing import InputHasher, sha256_file
from tessera.core.errors import DataError

LONG_AGO = 1_600_000_000


def settled(path: Path, text: str, *, seconds: int = LONG_AGO) -> Path:
    path.write_text(text, encoding="utf-8")
    os.utime(path, (seconds, seconds))
    return path


def test_a_file_is_hashed_like_the_published_example(tmp_path: Path) -> None:
    # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(settled(tmp_path / "abc", "abc")) == expected


def test_a_large_file_is_hashed_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"tessera" * 400_000)
    told: list[int] = []
    assert sha256_file(path, progress=told.append) == hashlib.sha256(b"tessera" * 400_000).hexdigest()
    assert sum(told) == 2_800_000
    assert len(told) == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.wav"):
        sha256_file(tmp_path / "gone.wav")
    with pytest.raises(DataError, match=r"gone\.wav"):
        InputHasher().hash([FileRef(path=tmp_path / "gone.wav")], {})


def test_the_hash_depends_on_contents_order_and_selection_and_not_on_names(tmp_path: Path) -> None:
    a, b, c = (
        FileRef(path=settled(tmp_path / name, text)) for name, text in (("a", "1"), ("b", "2"), ("c", "1"))
    )
    hasher = InputHasher()
    base = hasher.hash([a, b], {"hdu": 1})
    assert hasher.hash([c, b], {"hdu": 1}) == base
    assert (
        len({base, hasher.hash([b, a], {"hdu": 1}), hasher.hash([a, b], {"hdu": 2}), hasher.hash([a], {})})
        == 4
    )


def test_a_file_that_is_not_here_counts_by_its_listed_hash(tmp_path: Path) -> None:
    here = FileRef(path=settled(tmp_path / "a", "abc"))
    listed = FileRef(sha256=hashlib.sha256(b"abc").hexdigest())
    assert InputHasher().hash([listed], {}) == InputHasher().hash([here], {})
    with pytest.raises(DataError, match="neither a local path nor a hash"):
        InputHasher().hash([FileRef()], {})


@pytest.mark.parametrize("kept", [True, False])
def test_an_unchanged_stamp_is_trusted_unless_verifying(tmp_path: Path, kept: bool) -> None:
    memory = tmp_path / "memory.sqlite" if kept else None
    path = settled(tmp_path / "a", "old")
    first = InputHasher(memory)
    old = first.file(path)
    settled(path, "new")  # same size, same time: only reading it tells
    again = InputHasher(memory) if kept else first
    assert again.file(path) == old
    new = hashlib.sha256(b"new").hexdigest()
    assert InputHasher(memory, verify=True).file(path) == new
    assert InputHasher(memory).file(path) == new


@pytest.mark.parametrize(("text", "seconds"), [("newer", LONG_AGO), ("new", LONG_AGO + 1)])
def test_another_size_or_time_is_read_again(tmp_path: Path, text: str, seconds: int) -> None:
    memory = tmp_path / "memory.sqlite"
    path = settled(tmp_path / "a", "old")
    hasher = InputHasher(memory)
    hasher.file(path)
    settled(path, text, seconds=seconds)
    assert hasher.file(path) == InputHasher(memory).file(path) == hashlib.sha256(text.encode()).hexdigest()


def test_a_file_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old", encoding="utf-8")
    stamp = path.stat().st_mtime_ns
    hasher = InputHasher(tmp_path / "memory.sqlite")
    hasher.file(path)
    path.write_text("new", encoding="utf-8")
    os.utime(path, ns=(stamp, stamp))
    assert hasher.file(path) == hashlib.sha256(b"new").hexdigest()


@pytest.mark.parametrize(
    "broken", ["no database at all, only text, long enough to be read as a header" * 9, "dir"]
)
def test_a_broken_memory_costs_time_only(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    memory = tmp_path / "memory.sqlite"
    if broken == "dir":
        memory.mkdir()
    else:
        memory.write_text(broken, encoding="utf-8")
    path = settled(tmp_path / "a", "abc")
    with caplog.at_level(logging.WARNING):
        assert InputHasher(memory).file(path) == hashlib.sha256(b"abc").hexdigest()
    assert "memory.sqlite" in caplog.text
