"""Simulated impulse responses against the laws they are made from, and folders of measured ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from tessera.audio.room_acoustics import room_acoustics
from tessera.audio.simulate.responses import (
    SOUND_SPEED,
    Room,
    find_responses,
    read_response,
    reflections_per_s,
    simulate_response,
)
from tessera.core.errors import DataError

RATE_HZ = 16_000
WriteSound = Callable[..., Path]


def room(**changes: float) -> Room:
    values = {"volume_m3": 500.0, "t60_s": 0.8, "slope": 0.0, "distance_m": 3.0} | changes
    return Room(**values)


@pytest.mark.parametrize(
    ("volume_m3", "t60_s", "distance_m"), [(50.0, 0.4, 1.0), (500.0, 0.8, 3.0), (10_000.0, 2.5, 12.0)]
)
def test_the_reverberation_has_barrons_energy_and_sabines_time(
    volume_m3: float, t60_s: float, distance_m: float
) -> None:
    """Barron and Lee 1988: after the direct sound comes 312 r^2 T / V exp(-13.8 t / T) of its energy."""
    rng = np.random.default_rng(0)
    place = room(volume_m3=volume_m3, t60_s=t60_s, distance_m=distance_m)
    found = [simulate_response(rng, place, sample_rate_hz=RATE_HZ) for _ in range(12)]
    energy = np.mean([np.sum(one.waveform[1:] ** 2) for one in found])
    arrival_s = distance_m / SOUND_SPEED
    expected = 312 * distance_m**2 * t60_s / volume_m3 * math.exp(-6 * math.log(10) * arrival_s / t60_s)
    assert energy == pytest.approx(expected, rel=0.15)
    assert np.mean([one.acoustics.t30_s for one in found]) == pytest.approx(t60_s, rel=0.02)
    assert all(one.waveform[0] == 1.0 for one in found)


def test_reflections_grow_dense_with_the_square_of_time_and_thin_with_the_volume() -> None:
    """4 pi c^3 t^2 / V: a hall of 10,000 m3 has 507 a second after 0.1 s."""
    times = np.array([0.1, 0.2])
    np.testing.assert_allclose(reflections_per_s(times, volume_m3=1e4), [507.1, 2028.3], rtol=1e-3)
    hall = simulate_response(
        np.random.default_rng(0), room(volume_m3=1e4, distance_m=3.43), sample_rate_hz=RATE_HZ
    ).waveform
    early = hall[1 : round(0.04 * RATE_HZ)]  # 10 to 50 ms after the sound left: 21 reflections
    expected = 4 * math.pi * SOUND_SPEED**3 / 1e4 * (0.05**3 - 0.01**3) / 3
    assert np.sum(np.abs(early) > 0.02 * np.abs(early).max()) == pytest.approx(expected, abs=4 * 21**0.5 + 20)
    studio = simulate_response(
        np.random.default_rng(0), room(volume_m3=50.0, distance_m=3.43), sample_rate_hz=RATE_HZ
    ).waveform[1 : round(0.04 * RATE_HZ)]
    kurtosis = [float(np.mean(x**4) / np.mean(x**2) ** 2) for x in (early, studio)]
    assert kurtosis[0] > 2 * kurtosis[1]


def test_high_frequencies_decay_faster_where_the_walls_say_so() -> None:
    rng = np.random.default_rng(1)
    response = simulate_response(rng, room(t60_s=1.0, slope=0.4), sample_rate_hz=RATE_HZ).waveform[1:]
    for centre_hz, t60_s in ((1000.0, 1.0), (4000.0, 4**-0.4)):
        edges = (0.95 * centre_hz, 1.05 * centre_hz)
        band = sosfilt(butter(2, edges, "bandpass", fs=RATE_HZ, output="sos"), response)
        assert room_acoustics(band, RATE_HZ).t20_s == pytest.approx(t60_s, rel=0.12)
    assert room(t60_s=1.0, slope=0.4).band_t60_s(125.0) == 1.5  # at most


def test_absorption_is_sabines() -> None:
    """A cube of 10 m: 600 m2 of walls that take a tenth leave 0.161 x 1000 / 60 s."""
    assert room(volume_m3=1000.0, t60_s=0.161 * 1000 / 60).absorption == pytest.approx(0.1)


def test_responses_are_found_by_room_and_read_at_their_own_rate(
    write_sound: WriteSound, tmp_path: Path
) -> None:
    decay = np.exp(-math.log(1000) * np.arange(24_000) / 48_000 / 0.3)
    for name in ("hall/near/a.wav", "hall/b.wav", "kitchen/c.wav"):
        write_sound(f"rooms/{name}", 0.5 * decay, 48_000, subtype="FLOAT")
    found = find_responses(tmp_path / "rooms")
    assert {name: [file.name for file in files] for name, files in found.items()} == {
        "hall": ["b.wav", "a.wav"],
        "kitchen": ["c.wav"],
    }
    response = read_response(found["kitchen"][0])
    assert response.sample_rate_hz == 48_000
    assert response.acoustics.t30_s == pytest.approx(0.3, rel=1e-3)
    np.testing.assert_allclose(response.waveform, 0.5 * decay, atol=1e-6)


@pytest.mark.parametrize(
    ("names", "message"), [(["a.wav"], "no folder of a room"), (["x/a.wav"], "one room")]
)
def test_folders_that_name_no_rooms_are_refused(
    write_sound: WriteSound, tmp_path: Path, names: list[str], message: str
) -> None:
    for name in names:
        write_sound(f"rooms/{name}", np.eye(1, 100)[0])
    with pytest.raises(DataError, match=message):
        find_responses(tmp_path / "rooms")


def test_a_file_that_is_no_response_is_named(write_sound: WriteSound) -> None:
    with pytest.raises(DataError, match=r"silent\.wav"):
        read_response(write_sound("silent.wav", np.zeros(1000)))
