"""Pictures and sounds of recordings, decoded again."""

from __future__ import annotations

import io
import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import soundfile
from matplotlib import image
from numpy.typing import NDArray

from tessera.audio import figures
from tessera.audio.config import SoundConfig
from tessera.audio.figures import SoundFigures
from tessera.audio.filter_bank_config import GammatoneConfig
from tessera.core.config import validate
from tessera.core.data.case import Case, FileRef
from tessera.core.errors import DataError
from tessera.core.report.media import CaseFigures, CaseMedia

WriteSound = Callable[..., Path]
CONFIG = SoundConfig(pipeline="sound", preset="test")


def draw(path: Path) -> CaseMedia:
    return SoundFigures(CONFIG).draw(Case(id=path.name, files={"audio": FileRef(path=path)}, group="g"))


def picture(media: CaseMedia) -> NDArray[np.float32]:
    """Colours of the one picture (height, width, 3)."""
    ((_, png),) = media.images
    return image.imread(io.BytesIO(png), format="png")[..., :3]


def player(media: CaseMedia) -> tuple[NDArray[np.float32], int]:
    assert media.audio is not None
    return soundfile.read(io.BytesIO(media.audio), dtype="float32", always_2d=True)


def tone(
    frequency_hz: float, *, seconds: float = 2.0, rate: int = 16_000, level: float = 0.5
) -> NDArray[np.float64]:
    return level * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate)) / rate)


def test_figures_satisfy_the_core_protocol() -> None:
    assert isinstance(SoundFigures(CONFIG), CaseFigures)


@pytest.mark.parametrize(
    ("rate", "channels", "samples"),
    [
        (16_000, 1, 40_000),
        (16_000, 1, 1),
        (16_000, 7, 5_000),
        (300, 1, 1_000),
        (300, 2, 1),
        (384_000, 1, 400_000),
        (384_000, 1, 1),
        (44_100, 2, 1_023),
    ],
)
def test_any_recording_has_a_picture_and_a_player(
    write_sound: WriteSound, rate: int, channels: int, samples: int
) -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal((samples, channels))
    media = draw(write_sound("a.wav", sound, rate))
    assert picture(media).shape == (264, 600, 3)
    assert [title for title, _ in media.images] == ["Spectrogram"]
    heard, player_rate = player(media)
    assert player_rate == 16_000
    assert heard.shape[1] == 1
    assert len(heard) == pytest.approx(samples * 16_000 / rate, abs=1)


def test_a_tone_of_full_scale_has_zero_decibels_at_its_frequency() -> None:
    for rate, frequency_hz in ((16_000, 2_000), (300, 75), (384_000, 48_000), (44_100, 11_025)):
        levels = figures._levels(tone(frequency_hz, rate=rate, level=1.0).astype(np.float32), rate)
        middle = levels[:, levels.shape[1] // 2]
        bin_hz = rate / 2 / (len(levels) - 1)
        assert middle.argmax() * bin_hz == pytest.approx(frequency_hz, abs=1e-6)
        assert middle.max() == pytest.approx(0.0, abs=0.02)
        far = np.abs(np.arange(len(levels)) * bin_hz - frequency_hz) > 8 * bin_hz
        assert middle[far].max() < -60


def test_a_higher_tone_is_drawn_higher(write_sound: WriteSound) -> None:
    rows = []
    for frequency_hz in (1_000, 4_000, 7_000):
        colours = picture(draw(write_sound(f"{frequency_hz}.wav", tone(frequency_hz))))
        rows.append(int(colours[:, 100:400].sum(axis=(1, 2))[30:190].argmax()))
    assert rows[0] > rows[1] > rows[2]
    assert rows[0] - rows[1] == pytest.approx(rows[1] - rows[2], abs=2)


@pytest.mark.parametrize("kind", ["cqt", "cwt", "gammatone"])
def test_a_bank_is_drawn_on_an_axis_of_octaves(write_sound: WriteSound, kind: str) -> None:
    config = validate(
        SoundConfig,
        {
            "pipeline": "sound",
            "preset": "test",
            "data": {"sample_rate_hz": 22_050},
            "features": {"kind": kind},
        },
        source="",
    )
    rows = []
    for frequency_hz in (500, 1_000, 2_000):
        path = write_sound(f"{frequency_hz}.wav", tone(frequency_hz))
        media = SoundFigures(config).draw(Case(id="a", files={"audio": FileRef(path=path)}, group="g"))
        colours = picture(media)
        assert colours.shape == (264, 600, 3)
        rows.append(int(colours[:, 150:400].sum(axis=(1, 2))[15:200].argmax()))
    assert rows[0] > rows[1] > rows[2]
    assert rows[0] - rows[1] == pytest.approx(rows[1] - rows[2], abs=6)  # as far apart as their octaves


@pytest.mark.parametrize("samples", [1, 100, 400_000])
def test_the_levels_of_a_bank_are_bare_and_their_loudest_frames_kept(samples: int) -> None:
    features = GammatoneConfig(phase="stft", pad_mode="reflect", center=False, hop=64, n_bands=12)
    sound = np.zeros(samples, dtype=np.float32)
    sound[samples // 2] = 1.0
    levels, centres_hz = figures._bank_levels(features, sound, 16_000)
    assert levels.shape[0] == len(centres_hz) == 12
    assert levels.shape[1] <= 640
    if samples > 640 * 64:
        assert np.abs(levels.argmax(axis=1) / levels.shape[1] - 0.5).max() < 0.01
    edges = figures._edges_hz(centres_hz)
    assert len(edges) == 13
    assert (edges[:-1] < centres_hz).all() and (edges[1:] > centres_hz).all()


def test_a_click_of_one_sample_is_seen_in_ten_seconds_at_any_rate() -> None:
    for rate in (8_000, 384_000):
        sound = np.zeros(10 * rate, dtype=np.float32)
        sound[rate * 3 + 17] = 1.0
        levels = figures._levels(sound, rate)
        assert levels.shape[1] <= 640
        loud = np.flatnonzero(levels.max(axis=0) > -70)
        assert loud.mean() / levels.shape[1] == pytest.approx(0.3, abs=0.005)


def test_two_sounds_look_different_and_one_sound_gives_the_same_bytes(write_sound: WriteSound) -> None:
    low, high = write_sound("low.wav", tone(500)), write_sound("high.wav", tone(3000))
    assert draw(low) == draw(low)
    assert draw(low).images != draw(high).images
    assert draw(low).audio != draw(high).audio


def test_silence_is_dark_and_a_quiet_sound_is_not(write_sound: WriteSound) -> None:
    inside = (slice(60, 160), slice(150, 400))
    silent = picture(draw(write_sound("silent.wav", np.zeros(16_000))))
    assert silent[inside].max() < 0.1
    quiet = picture(draw(write_sound("quiet.wav", tone(4_000, level=1e-3))))
    assert quiet[inside].max() > 0.8


def test_the_player_plays_the_sound_itself(write_sound: WriteSound) -> None:
    sound = np.stack([tone(440), tone(1_000)], axis=1)
    heard, _ = player(draw(write_sound("a.wav", sound, subtype="FLOAT")))
    np.testing.assert_allclose(heard[:, 0], sound.mean(axis=1), atol=2 / 32768)


def test_a_sound_above_full_scale_is_made_quieter_not_clipped(write_sound: WriteSound) -> None:
    heard, _ = player(draw(write_sound("a.wav", tone(440, level=4.0), subtype="FLOAT")))
    np.testing.assert_allclose(heard[:, 0], tone(440, level=1.0), atol=1e-3)


def test_of_a_whole_day_only_ten_seconds_are_read(tmp_path: Path) -> None:
    """A sparse file: 24 h of silence after a tone."""
    rate, path = 8_000, tmp_path / "day.wav"
    opening = (tone(1_000, seconds=20, rate=rate) * 32767).astype("<i2").tobytes()
    size = 24 * 3600 * rate * 2
    format_chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    head = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVE" + format_chunk + b"data" + struct.pack("<I", size)
    path.write_bytes(head + opening)
    os.truncate(path, len(head) + size)
    tracemalloc.start()
    started = time.perf_counter()
    media = draw(path)
    elapsed, peak = time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert media.images[0][0] == "Spectrogram, first 10 s"
    heard, player_rate = player(media)
    assert len(heard) / player_rate == 10.0
    assert heard[-16_000:].std() > 0.3
    assert peak < 40e6
    assert elapsed < 5.0


def test_drawing_leaves_no_global_state(write_sound: WriteSound) -> None:
    from matplotlib import pyplot

    before = (dict(matplotlib.rcParams), matplotlib.get_backend(), pyplot.get_fignums())
    draw(write_sound("a.wav", tone(440)))
    assert (dict(matplotlib.rcParams), matplotlib.get_backend(), pyplot.get_fignums()) == before


def test_a_broken_recording_is_refused_and_closed(write_sound: WriteSound, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("nothing to hear", encoding="utf-8")
    broken = write_sound("nan.wav", np.full(1_000, np.nan), subtype="FLOAT")
    for path in (tmp_path / "text.wav", broken, tmp_path / "missing.wav"):
        with pytest.raises(DataError, match=path.name):
            draw(path)
