"""Reverberant sounds as a data set: targets that belong to the sound, and splits that share nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve

from tessera.audio.room_acoustics import room_acoustics
from tessera.audio.simulate import ReverberantConfig, simulate_reverberant_sounds
from tessera.audio.simulate.dry import DrySounds
from tessera.audio.simulate.reverberant import draw_room, reverberant
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import make_split
from tessera.core.errors import ConfigError, DataError

RATE_HZ = 8000
SHORT = {"duration_s": 1.0, "sample_rate_hz": RATE_HZ, "t60_s": [0.2, 0.8]}
WriteSound = Callable[..., Path]


def simulate(out: Path, n: int = 6, seed: int = 1, **values: Any) -> Manifest:
    return simulate_reverberant_sounds(out, n=n, seed=seed, values=SHORT | values)


@pytest.fixture
def rooms(write_sound: WriteSound, tmp_path: Path) -> Path:
    """Two rooms with two responses each, T30 0.2 and 0.5 s; one has too strong a direct sound to tell."""
    for room, t60_s in (("hall", 0.5), ("studio", 0.2)):
        tail = np.exp(-math.log(1000) * np.arange(RATE_HZ) / RATE_HZ / t60_s)
        for number in range(2):
            write_sound(f"rooms/{room}/{number}.wav", 0.5 * tail, RATE_HZ, subtype="DOUBLE")
    write_sound("rooms/hall/near.wav", np.eye(1, RATE_HZ)[0] + 1e-4 * tail, RATE_HZ, subtype="DOUBLE")
    return tmp_path / "rooms"


@pytest.fixture
def dry(write_sound: WriteSound, tmp_path: Path) -> Path:
    """Recordings that are one value each, their number in hundredths, with zeros around."""
    for number in range(1, 10):
        sound = np.pad(np.full(800, number / 100), 100)
        sound[100::2] *= -1  # not constant
        write_sound(f"dry/{number}.wav", sound, RATE_HZ, subtype="FLOAT")
    return tmp_path / "dry"


def test_the_manifest_loads_back_and_says_that_it_is_simulated(tmp_path: Path) -> None:
    made = simulate(tmp_path / "sims")
    loaded = Manifest.load(tmp_path / "sims")
    assert (loaded.digest, loaded.cases) == (made.digest, made.cases)
    assert loaded.verify() == []
    assert loaded.info.simulated
    assert (loaded.target("t30_s").unit, loaded.target("log10_volume").unit) == ("s", "log10 m3")
    for case in loaded.cases:
        t30_s, log10_volume = case.targets["t30_s"], case.targets["log10_volume"]
        assert isinstance(t30_s, float)
        assert isinstance(log10_volume, float)
        assert 0.7 < t30_s / float(case.meta["t60_s"]) < 1.5
        assert log10_volume == pytest.approx(math.log10(float(case.meta["volume_m3"])), abs=1e-3)
        info = soundfile.info(case.path("audio"))
        assert (info.samplerate, info.frames, info.channels) == (RATE_HZ, RATE_HZ, 1)


def test_same_seed_same_bytes_and_more_clips_begin_with_the_same_ones(tmp_path: Path) -> None:
    made = [
        simulate(tmp_path / name / "sims", n=n, seed=seed)
        for name, n, seed in (("a", 3, 1), ("b", 5, 1), ("c", 3, 2))
    ]
    hashes = [[case.all_files()[0].sha256 for case in one.cases] for one in made]
    assert hashes[0] == hashes[1][:3]
    assert not set(hashes[0]) & set(hashes[2])


def test_rooms_are_folds_and_groups_and_take_turns(tmp_path: Path, rooms: Path) -> None:
    cases = simulate(tmp_path / "sims", n=12, responses=str(rooms), simulated=0.5).cases
    assert Counter(case.split for case in cases) == {"simulated": 6, "hall": 3, "studio": 3}
    measured = [case for case in cases if case.split != "simulated"]
    assert all(case.group == case.split for case in measured)
    assert len({case.group for case in cases}) == 6 + 2
    for case in measured:
        assert case.targets == {"t30_s": pytest.approx({"hall": 0.5, "studio": 0.2}[case.split], rel=1e-3)}
        assert case.meta["response"].startswith(f"{case.split}/")
    hall = Counter(case.meta["response"] for case in cases if case.split == "hall")
    assert sorted(hall.values()) == [1, 2]
    assert "hall/near.wav" not in hall
    split = make_split(cases, fold="hall", val_fraction=0.0, target="t30_s")
    assert {case.split for case in split.cases(cases, "train")} == {"simulated", "studio"}


def test_a_dry_recording_is_used_in_one_fold_alone(dry: Path) -> None:
    sounds = DrySounds(dry, parts=("a", "b", "c"), sample_rate_hz=RATE_HZ, seed=0)
    rng, heard = np.random.default_rng(0), {}
    for part in ("a", "b", "c"):
        drawn = [sounds._sound(rng, part) for _ in range(60)]
        assert all(len(sound) == 800 for sound in drawn)  # without the zeros
        heard[part] = {round(100 * float(np.abs(sound).max())) for sound in drawn}
    assert [len(found) for found in heard.values()] == [3, 3, 3]
    assert set().union(*heard.values()) == set(range(1, 10))


@pytest.mark.parametrize("folder", [False, True])
def test_a_track_has_sounds_and_pauses_and_always_its_length(dry: Path, folder: bool) -> None:
    sounds = DrySounds(dry if folder else None, parts=("a",), sample_rate_hz=RATE_HZ, seed=0)
    for seed in range(5):
        track = sounds.track(np.random.default_rng(seed), part="a", samples=RATE_HZ, pause_s=(0.1, 0.3))
        assert track.shape == (RATE_HZ,)
        assert track.any()
        assert (track == 0).sum() >= 0.05 * RATE_HZ


def test_reverberation_is_a_convolution() -> None:
    rng = np.random.default_rng(0)
    dry, response = rng.standard_normal(500), rng.standard_normal(900)
    np.testing.assert_allclose(reverberant(dry, response), fftconvolve(dry, response)[:500], atol=1e-9)


def test_a_click_in_a_room_decays_as_its_target_says(tmp_path: Path, write_sound: WriteSound) -> None:
    """The clip of a single click is the response itself, as far as the noise and 16 bits let it be heard."""
    for number in range(5):
        write_sound(f"clicks/{number}.wav", [0.9, -0.9], RATE_HZ)
    made = simulate(
        tmp_path / "sims",
        dry=str(tmp_path / "clicks"),
        pause_s=[3.0, 3.0],
        snr_db=[80.0, 80.0],
        level_dbfs=[0.0, 0.0],
        duration_s=2.0,
        slope=[0.0, 0.0],
        distance_m=[3.0, 3.0],
        volume_m3=[100.0, 200.0],
    )
    compared = 0
    for case in made.cases:
        sound, _ = soundfile.read(case.path("audio"))
        onset = int(np.argmax(np.abs(sound) > 1e-3))
        if 0 < onset < RATE_HZ:  # else the clip begins within the decay, or ends within it
            compared += 1
            assert room_acoustics(sound, RATE_HZ).t30_s == pytest.approx(case.targets["t30_s"], rel=0.05)
    assert compared >= 2


def test_drawn_rooms_are_possible_ones() -> None:
    config = ReverberantConfig()
    drawn = [draw_room(np.random.default_rng(seed), config) for seed in range(200)]
    assert all(0.02 <= room.absorption <= 0.7 for room in drawn)
    assert all(0.2 <= room.t60_s <= 6.0 for room in drawn)
    assert all(room.distance_m <= max(0.5, 0.7 * room.volume_m3 ** (1 / 3)) for room in drawn)
    assert min(room.t60_s for room in drawn) < 0.4
    assert max(room.t60_s for room in drawn) > 4.0
    with pytest.raises(ConfigError, match="reverberation time"):
        draw_room(np.random.default_rng(0), ReverberantConfig(volume_m3=(30.0, 40.0), t60_s=(20.0, 30.0)))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"duration_s": 0.1}, "duration_s"),
        ({"t60_s": [2.0, 1.0]}, "t60_s"),
        ({"volume_m3": [0.0, 1.0]}, "volume_m3"),
        ({"pause_s": [-1.0, 1.0]}, "pause_s"),
        ({"level_dbfs": [-3.0, 3.0]}, "level_dbfs"),
        ({"room": 3}, "room"),
    ],
)
def test_a_bad_value_is_named_and_nothing_is_written(
    tmp_path: Path, values: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        simulate(tmp_path / "sims", **values)
    assert not (tmp_path / "sims").exists()


def test_too_few_dry_recordings_and_silent_ones_are_refused(tmp_path: Path, write_sound: WriteSound) -> None:
    write_sound("few/a.wav", np.zeros(100), RATE_HZ)
    with pytest.raises(DataError, match="too few dry recordings"):
        simulate(tmp_path / "sims", dry=str(tmp_path / "few"))
    for number in range(5):
        write_sound(f"silent/{number}.wav", np.zeros(100), RATE_HZ)
    with pytest.raises(DataError, match="silent"):
        simulate(tmp_path / "sims", dry=str(tmp_path / "silent"))


def test_no_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="n >= 1"):
        simulate(tmp_path / "sims", n=0)
