"""Damaged and missing recordings: each is refused with a sentence that names the file."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tessera.audio import readers
from tessera.audio.readers import SoundReader, SoundSource
from tessera.core.data.case import Case, FileRef
from tessera.core.errors import DataError

WriteSound = Callable[..., Path]
FORMATS = ("short.wav", "long.wav", "float.wav", "a.flac", "b.flac", "a.aiff", "a.ogg", "a.opus", "a.mp3")


def case_of(path: Path) -> Case:
    return Case(id=path.name, files={"audio": FileRef(path=path)}, group=path.stem)


def opened(path: Path) -> SoundSource:
    return SoundReader().open(case_of(path))


def read_all(path: Path) -> None:
    source = opened(path)
    try:
        for start in range(0, source.grid.n_samples, 10_000):
            source.samples(start, min(start + 10_000, source.grid.n_samples))
    finally:
        source.close()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_truncated_file_is_refused(every_format: Path, tmp_path: Path, name: str, share: float) -> None:
    content = (every_format / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"ends early|cannot read .* after") as caught:
        read_all(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_truncated_rf64_is_refused(write_sound: WriteSound) -> None:
    path = write_sound("big.wav", np.zeros((30_000, 2)), format="RF64")
    read_all(path)
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(DataError, match="ends early"):
        opened(path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0xFFFFFFFF - 36, 0x7FFFFFFF, 0x80000000, 0x7FFFF000])
def test_wav_written_to_a_pipe_has_the_length_of_the_file(write_sound: WriteSound, size: int) -> None:
    path = write_sound("pipe.wav", np.zeros(1000))
    content = bytearray(path.read_bytes())
    place = content.find(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    assert opened(path).grid.n_samples == 1000


def test_flac_without_a_length_is_refused(write_sound: WriteSound) -> None:
    path = write_sound("stream.flac", np.zeros(1000))
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # 36 bits of STREAMINFO say the number of samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(DataError, match="does not say how long it is"):
        opened(path)


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    with pytest.raises(DataError, match=r"a\.wav is empty") as caught:
        opened(tmp_path / "a.wav")
    assert caught.value.found == "0 bytes"


@pytest.mark.parametrize("name", ["notes.wav", "notes.mp3", "notes.flac", "notes.ogg", "notes.aiff"])
def test_text_named_like_a_recording_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Monday: nothing but rain.\n" * 50, encoding="utf-8")
    with pytest.raises(DataError, match=f"cannot read .*{name}") as caught:
        read_all(tmp_path / name)
    assert caught.value.expected == "WAV, FLAC, OGG, MP3 or AIFF"


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.ogg"])
def test_recording_without_samples_is_refused(write_sound: WriteSound, name: str) -> None:
    with pytest.raises(DataError, match=r"holds no samples|is empty"):
        opened(write_sound(name, np.zeros(0)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_numbers_are_refused_with_the_time_of_the_first(
    write_sound: WriteSound, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    monkeypatch.setattr(readers, "BLOCK_VALUES", 2 * 3000)
    sound = np.zeros((20_000, 2))
    sound[[10_004, 10_500], 1] = value  # 10,004 / 16,000 Hz = 0.62525 s
    source = opened(write_sound("a.wav", sound, subtype="FLOAT"))
    source.samples(0, 9_000)
    with pytest.raises(DataError, match="not numbers") as caught:
        source.samples(9_000, 20_000)
    assert "0.625 s" in str(caught.value.found)


def test_a_single_sample_is_read(write_sound: WriteSound) -> None:
    source = opened(write_sound("a.wav", [0.5]))
    assert source.read()["input"].tolist() == [[0.5]]


def test_folder_named_like_a_recording_is_refused_and_looked_into(
    write_sound: WriteSound, tmp_path: Path
) -> None:
    write_sound("x.wav/inside.wav", np.zeros(100))
    assert [case.id for case in SoundReader().find(tmp_path)] == ["x.wav/inside.wav"]
    with pytest.raises(DataError, match=r"x\.wav is a folder or device"):
        opened(tmp_path / "x.wav")


def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(DataError, match="folder or device"):
        opened(tmp_path / "pipe.wav")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_read_permission_is_refused(write_sound: WriteSound) -> None:
    path = write_sound("a.wav", np.zeros(100))
    path.chmod(0)
    with pytest.raises(DataError, match="cannot open") as caught:
        opened(path)
    assert caught.value.found == "Permission denied"


@pytest.mark.parametrize("call", ["stat", "open"])
def test_denied_access_is_said_in_words(
    write_sound: WriteSound, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    case = case_of(write_sound("a.wav", np.zeros(100)))
    monkeypatch.setattr("soundfile.SoundFile", deny)
    monkeypatch.setattr(Path, call, deny)
    with pytest.raises(DataError, match=r"cannot open .*a\.wav") as caught:
        SoundReader().open(case)
    assert caught.value.found == "Permission denied"


def test_file_that_vanished_after_find_is_named(write_sound: WriteSound, tmp_path: Path) -> None:
    path = write_sound("a.wav", np.zeros(100))
    (case,) = SoundReader().find(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"there is no file .*a\.wav$"):
        SoundReader().open(case)


def test_broken_link_is_found_and_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to(tmp_path / "gone.wav")
    (case,) = SoundReader().find(tmp_path)
    with pytest.raises(DataError, match=r"there is no file .*a\.wav \(a broken link\)"):
        SoundReader().open(case)


def test_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to(tmp_path / "a.wav")
    (case,) = SoundReader().find(tmp_path)
    with pytest.raises(DataError, match=r"cannot open .*a\.wav"):
        SoundReader().open(case)


@pytest.mark.parametrize("name", FORMATS)
def test_flipped_bytes_give_sound_or_a_data_error(every_format: Path, tmp_path: Path, name: str) -> None:
    content = (every_format / name).read_bytes()

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=5))
    def check(changes: list[tuple[int, int]]) -> None:
        damaged = bytearray(content)
        for place, value in changes:
            damaged[place] = value
        path = tmp_path / name
        path.write_bytes(damaged)
        try:
            source = opened(path)
            sound = source.samples(0, min(source.grid.n_samples, 10_000))
        except DataError as error:
            assert str(path) in str(error)
        else:
            assert np.isfinite(sound).all()

    check()
