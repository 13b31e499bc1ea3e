"""Reading recordings: every format in blocks against one whole read, damaged files, folders."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tessera.audio import readers
from tessera.audio.geometry import TimeAxis
from tessera.audio.readers import SoundReader, SoundSource
from tessera.core.data.case import Case, FileRef, Reader, Source
from tessera.core.data.geometry import Region
from tessera.core.errors import DataError

WriteSound = Callable[..., Path]
RATE = 16_000
LOSSLESS = ("short.wav", "long.wav", "float.wav", "a.flac", "b.flac", "a.aiff")
LOSSY = ("a.ogg", "a.opus", "a.mp3")
FORMATS = LOSSLESS + LOSSY


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(readers, "BLOCK_VALUES", 2 * 3000)
    return 3000


def case_of(path: Path) -> Case:
    return Case(id=path.name, files={"audio": FileRef(path=path)}, group=path.stem)


def opened(path: Path) -> SoundSource:
    return SoundReader().open(case_of(path))


def whole(path: Path) -> NDArray[np.float32]:
    """All samples (channels, T), read at once by soundfile."""
    return soundfile.read(path, dtype="float32", always_2d=True)[0].T


# Formats


def test_reader_and_source_satisfy_the_core_protocols(write_sound: WriteSound) -> None:
    assert isinstance(SoundReader(), Reader)
    assert isinstance(opened(write_sound("a.wav", np.zeros(100))), Source)


def test_sixteen_bit_samples_are_integers_over_32768(tmp_path: Path) -> None:
    counts = np.arange(-32768, 32768, 7, dtype=np.int16)
    scipy.io.wavfile.write(tmp_path / "ramp.wav", RATE, counts)
    sample = opened(tmp_path / "ramp.wav").read()
    np.testing.assert_array_equal(sample["input"].numpy(), counts[None] / np.float32(32768))
    assert sample["geometry"] == TimeAxis(RATE, len(counts))
    assert sample["case_id"] == "ramp.wav"


@pytest.mark.parametrize("name", FORMATS)
def test_blocks_in_order_equal_the_whole_exactly(every_format: Path, name: str, small_blocks: int) -> None:
    source = opened(every_format / name)
    expected = whole(every_format / name)
    assert source.grid == TimeAxis(RATE, expected.shape[1])
    step = small_blocks - 1001  # windows across the borders of the blocks
    starts = range(0, expected.shape[1], step)
    parts = [source.samples(start, min(start + step, expected.shape[1])) for start in starts]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, rtol=0, atol=tolerance(name))


@pytest.mark.parametrize("name", FORMATS)
def test_random_regions_equal_slices_of_the_whole(every_format: Path, name: str, small_blocks: int) -> None:
    source = opened(every_format / name)
    expected = whole(every_format / name)
    length = expected.shape[1]
    assert length > 20 * small_blocks

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.integers(0, length), st.integers(0, 3 * small_blocks))
    def check(start: int, width: int) -> None:
        stop = min(length, start + width)
        found = source.read(Region((start,), (stop,)))["input"].numpy()
        np.testing.assert_allclose(found, expected[:, start:stop], rtol=0, atol=tolerance(name))

    check()


def tolerance(name: str) -> float:
    return 0.0 if name in LOSSLESS else 1e-6  # mpg123's last bit depends on where it began


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_formats_keep_time_and_level(every_format: Path, name: str) -> None:
    source = opened(every_format / name)
    original = np.load(every_format / "original.npy")[:, 0]
    found = source.samples(0, len(original))[0]
    error = np.mean((found - original) ** 2) / np.mean(original**2)
    assert error < 0.02  # one sample late would already be 0.03
    source.close()


def test_region_outside_the_recording_is_refused(write_sound: WriteSound) -> None:
    with pytest.raises(ValueError, match="samples 50 to 101 of a recording of 100"):
        opened(write_sound("a.wav", np.zeros(100))).samples(50, 101)


@pytest.mark.parametrize("rate", [300, 8_000, 22_051, 192_000, 384_000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_any_rate_and_seven_channels_are_read(write_sound: WriteSound, rate: int, suffix: str) -> None:
    sound = np.tile(np.arange(7) / 8, (rate // 10, 1))
    source = opened(write_sound(f"a.{suffix}", sound, rate))
    assert (source.grid.rate_hz, source.channels) == (rate, 7)
    np.testing.assert_array_equal(source.samples(3, 5), sound[3:5].T)


def sparse_wav(path: Path, n_samples: int, rate: int, marks: dict[int, int]) -> Path:
    """Sixteen-bit mono zeros with single samples set; the zeros take no space on the disk."""
    n_bytes = 2 * n_samples
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    header = struct.pack("<4sI4s", b"RIFF", 36 + n_bytes, b"WAVE") + form
    with path.open("wb") as file:
        file.write(header + struct.pack("<4sI", b"data", n_bytes))
        for place, value in marks.items():
            file.seek(44 + 2 * place)
            file.write(struct.pack("<h", value))
        file.truncate(44 + n_bytes)
    return path


def traced(windows: Iterator[NDArray[np.float32]]) -> tuple[dict[int, float], int]:
    """Non-zero values found, by number of the window, and the peak of memory in bytes."""
    tracemalloc.start()
    try:
        found = {number: float(window.max()) for number, window in enumerate(windows) if window.any()}
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_day_long_file_needs_no_more_memory_than_a_few_blocks(tmp_path: Path) -> None:
    rate, hour = 8000, 3600 * 8000
    marks = {0: 16384, 7 * hour + 1: 8192, 24 * hour - 1: 4096}
    source = opened(sparse_wav(tmp_path / "day.wav", 24 * hour, rate, marks))
    starts = [*range(0, 24 * hour, hour), 24 * hour - 3 * rate]
    found, peak = traced(source.samples(start, start + 3 * rate) for start in starts)
    assert found == {0: 0.5, 7: 0.25, 24: 0.125}
    assert peak < 8 * 4 * readers.BLOCK_VALUES


@pytest.mark.slow
def test_reading_a_whole_day_in_order_keeps_memory_flat(tmp_path: Path) -> None:
    rate, n_samples = 8000, 24 * 3600 * 8000
    source = opened(sparse_wav(tmp_path / "day.wav", n_samples, rate, {n_samples - 1: 16384}))
    step = 3 * rate
    found, peak = traced(source.samples(start, start + step) for start in range(0, n_samples, step))
    assert found == {n_samples // step - 1: 0.5}
    assert peak < 8 * 4 * readers.BLOCK_VALUES


# What a folder holds


def test_find_takes_capital_letters_nested_folders_spaces_and_accents(
    write_sound: WriteSound, tmp_path: Path
) -> None:
    names = ["B.WAV", "Réserve Été/site 1/a b.Flac", "nested/deeper/x.oGG", "ночь/鳥.wav"]
    for name in names:
        write_sound(name, np.full(100, 0.5))
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    (tmp_path / "._B.WAV").write_bytes(b"no sound")
    cases = SoundReader().find(tmp_path)
    assert [case.id for case in cases] == sorted(names)
    assert [case.group for case in cases] == [Path(name).stem for name in sorted(names)]
    for case in cases:
        assert SoundReader().open(case).grid.n_samples >= 100


def test_find_of_one_file_is_that_file(write_sound: WriteSound) -> None:
    path = write_sound("deep/a b.wav", np.zeros(100))
    (case,) = SoundReader().find(path)
    assert (case.id, case.path("audio"), case.group) == ("a b.wav", path, "a b")


def test_find_follows_linked_folders_once(write_sound: WriteSound, tmp_path: Path) -> None:
    write_sound("disk/a.wav", np.zeros(100))
    project = tmp_path / "project"
    project.mkdir()
    (project / "site").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "round").symlink_to(project)
    assert [case.id for case in SoundReader().find(project)] == ["site/a.wav"]


def test_folder_that_cannot_be_listed_is_left_out_with_a_warning(
    write_sound: WriteSound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_sound("a.wav", np.zeros(100))
    (tmp_path / "lost+found").mkdir()
    scan = os.scandir

    def deny(path: str) -> object:
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", deny)
    assert [case.id for case in SoundReader().find(tmp_path)] == ["a.wav"]
    assert "lost+found is left out: Permission denied" in caplog.text


def test_folder_without_recordings_and_missing_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="no recordings in") as caught:
        SoundReader().find(tmp_path)
    assert ".flac" in str(caught.value.expected)
    with pytest.raises(DataError, match="no file or folder"):
        SoundReader().find(tmp_path / "missing")
