"""Windows of sound: exact times, resampling in pieces, standardising and padding against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from tessera.audio.config import SoundConfig
from tessera.audio.geometry import TimeAxis
from tessera.audio.readers import SoundReader
from tessera.audio.windows import SoundWindows, is_still, resample, standardise
from tessera.core.data.cache import ArraySource
from tessera.core.data.geometry import Geometry, Region
from tessera.core.data.windows import Windows
from tessera.core.errors import ConfigError, DataError

WriteSound = Callable[..., Path]


def windows(**data: Any) -> SoundWindows:
    config = {"pipeline": "sound", "preset": "test", "data": data}
    return SoundWindows(SoundConfig.model_validate(config))


def source(sound: NDArray[Any], rate: int) -> ArraySource:
    """A recording in memory, from (T,) or (channels, T)."""
    array = np.atleast_2d(sound).astype(np.float32)
    return ArraySource(array, TimeAxis(rate, array.shape[1]))


def starts(regions: Any) -> list[int]:
    return [region.start[0] for region in regions]


def heard(cutter: SoundWindows, recording: ArraySource, start: int, stop: int) -> NDArray[np.float32]:
    return cutter.read(recording, Region((start,), (stop,)))["input"][0].numpy()


def tone(hz: float, rate: int, seconds: float) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


def test_windows_satisfy_the_core_protocol() -> None:
    assert isinstance(windows(), Windows)


# Plans


@pytest.mark.parametrize(
    ("last", "expected_s"),
    [
        ("drop", [0, 1.5, 3, 4.5, 6]),
        ("pad", [0, 1.5, 3, 4.5, 6, 7.5]),
        ("back", [0, 1.5, 3, 4.5, 6, 7]),
    ],
)
@pytest.mark.parametrize("rate", [8000, 44_100, 96_000])
def test_ten_seconds_in_windows_of_three(last: str, expected_s: list[float], rate: int) -> None:
    plan = windows(window_s=3, hop_s=1.5, last_window=last).plan(TimeAxis(rate, 10 * rate))
    assert [start / rate for start in starts(plan)] == expected_s
    assert {region.stop[0] - region.start[0] for region in plan[:5]} == {3 * rate}
    assert plan[-1].stop[0] == (9 * rate if last == "drop" else 10 * rate)


@pytest.mark.parametrize("overlap", ["1.5", "2.0", "2.9"])
def test_six_hours_do_not_drift(overlap: str) -> None:
    rate, length = 44_100, 6 * 3600 * 44_100
    hop_s = Fraction(3) - Fraction(overlap)
    hop = int(hop_s * rate)
    assert hop == hop_s * rate
    plan = windows(window_s=3, hop_s=float(hop_s), last_window="drop").plan(TimeAxis(rate, length))
    assert starts(plan) == list(range(0, length - 3 * rate + 1, hop))
    assert plan[-1].stop[0] <= length < plan[-1].stop[0] + hop


def test_last_window_moved_back_ends_at_the_last_sample_after_six_hours() -> None:
    rate, length = 44_100, 6 * 3600 * 44_100 - 1
    plan = windows(window_s=3.1, hop_s=1.5, last_window="back").plan(TimeAxis(rate, length))
    assert plan[-1] == Region((length - 136_710,), (length,))


@pytest.mark.parametrize("tenths", [1, 3, 7])
def test_hop_between_samples_stays_exact_for_hours(tenths: int) -> None:
    rate, length = 22_051, 2 * 3600 * 22_051
    plan = windows(window_s=1, hop_s=tenths / 10, last_window="drop").plan(TimeAxis(rate, length))
    number = np.arange((72_000 - 10) // tenths + 1)
    np.testing.assert_array_equal(starts(plan), number * tenths * rate // 10)  # floor, in integers
    assert {region.shape for region in plan} == {(rate,)}


@given(st.integers(1, 400_000), st.integers(100, 50_000), st.sampled_from(["pad", "drop", "back"]))
def test_plan_covers_the_recording_in_order(length: int, rate: int, last: str) -> None:
    plan = windows(window_s=0.7, hop_s=0.3, last_window=last).plan(TimeAxis(rate, length))
    assert plan[0].start == (0,)
    assert all(first.start < second.start <= first.stop for first, second in pairwise(plan))
    if last != "drop" or length <= 0.7 * rate:
        assert plan[-1].stop == (length,)


@pytest.mark.parametrize("last", ["pad", "drop", "back"])
def test_recording_shorter_than_a_window_is_one_region(last: str) -> None:
    cutter = windows(window_s=3, last_window=last)
    assert list(cutter.plan(TimeAxis(16_000, 20_000))) == [Region((0,), (20_000,))]
    assert cutter.draw(TimeAxis(16_000, 20_000), np.random.default_rng(0)) == Region((0,), (20_000,))


def test_drawn_starts_are_uniform_over_every_place() -> None:
    cutter, axis = windows(window_s=0.01), TimeAxis(16_000, 160 + 49)
    rng = np.random.default_rng(0)
    drawn = [cutter.draw(axis, rng) for _ in range(5000)]
    assert {region.shape for region in drawn} == {(160,)}
    counts = np.bincount(starts(drawn), minlength=50)
    assert len(counts) == 50
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


# Resampling


@pytest.mark.parametrize(
    ("rate", "to"), [(44_100, 16_000), (22_050, 8000), (48_000, 44_100), (22_051, 16_000), (8000, 16_000)]
)
def test_window_of_a_long_file_equals_the_whole_resampled_and_cut(rate: int, to: int) -> None:
    recording = source(np.random.default_rng(0).uniform(-1, 1, 12 * rate), rate)
    cutter = windows(window_s=1.5, sample_rate_hz=to, standardise=False)
    whole = soxr.resample(recording.array[0], rate, to, quality="HQ")
    common = gcd(rate, to)
    for seconds in (0, 2, 7):
        start = seconds * rate + (3 * rate // common if seconds else 0)  # on both grids
        first = start * to // rate
        found = heard(cutter, recording, start, start + 3 * rate // 2)
        np.testing.assert_allclose(found, whole[first : first + len(found)], rtol=0, atol=1e-4)
        assert len(found) == 3 * to // 2


@pytest.mark.parametrize("rate", [300, 8000, 22_051, 44_100, 384_000])
@pytest.mark.parametrize("start", [1, 777, 3333])
def test_window_at_any_sample_is_the_tone_at_its_time(rate: int, start: int) -> None:
    to, hz = 16_000, 100.0
    recording = source(tone(hz, rate, 16), rate)
    cutter = windows(window_s=1, sample_rate_hz=to, standardise=False)
    found = heard(cutter, recording, start, start + rate)
    expected = np.sin(2 * np.pi * hz * (start / rate + np.arange(to) / to))
    # the recording's beginning is a step for the filter, 200 samples of the slower rate long
    settled = max(0, round((200 / min(rate, to) - start / rate) * to))
    assert settled < to
    np.testing.assert_allclose(found[settled:], expected[settled:], rtol=0, atol=2e-4)


@pytest.mark.parametrize("rate", [300, 8000, 22_051, 44_100, 192_000, 384_000])
def test_tone_of_100_hz_keeps_its_frequency(rate: int) -> None:
    recording = source(tone(100, rate, 4), rate)
    prepared, axis = windows(sample_rate_hz=16_000).prepare(recording)
    assert axis == TimeAxis(16_000, 64_000, 0.0, rate / 16_000)
    frequencies, power = scipy.signal.periodogram(prepared[0], 16_000, window="hann")
    assert frequencies[np.argmax(power)] == 100.0  # bins are 0.25 Hz wide


def test_ultrasound_does_not_fold_into_the_network_band() -> None:
    prepared, _ = windows(sample_rate_hz=16_000).prepare(source(tone(30_000, 192_000, 1), 192_000))
    assert np.abs(prepared[0, 500:-500]).max() < 1e-4


def test_resampling_to_the_same_rate_changes_nothing() -> None:
    sound = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(resample(sound, 16_000, 16_000), sound)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.integers(300, 96_000),
    to=st.sampled_from([300, 8000, 16_000, 44_100]),
    length=st.integers(1, 40_000),
    last=st.sampled_from(["pad", "drop", "back"]),
)
def test_every_window_has_the_input_shape_and_no_gap(rate: int, to: int, length: int, last: str) -> None:
    cutter = windows(window_s=0.21, hop_s=0.13, sample_rate_hz=to, last_window=last, standardise=False)
    recording = source(np.full(length, 0.5), rate)
    plan = cutter.plan(recording.grid)
    if min(length, length * to / rate) < 8:
        with pytest.raises(DataError, match="too short"):
            cutter.read(recording, plan[0])
        return
    for region in [plan[0], plan[-1], cutter.draw(recording.grid, np.random.default_rng(length))]:
        sample = cutter.read(recording, region)
        assert tuple(sample["input"].shape) == cutter.input_shape == (1, round(0.21 * to))
        assert sample["input"].dtype == torch.float32
        assert sample["geometry"].shape == cutter.input_shape[1:]
        filled = np.count_nonzero(sample["input"].numpy())
        expected = min(round(0.21 * to), (region.stop[0] - region.start[0]) * to / rate)
        assert abs(filled - expected) <= 1


# Channels


def test_mean_and_single_channels_of_seven(write_sound: WriteSound) -> None:
    levels = np.arange(1, 8) / 16
    path = write_sound("seven.wav", np.tile(levels, (1600, 1)))
    reader = SoundReader()
    (case,) = reader.find(path)
    for channel, level in [("mean", 0.25), (0, 1 / 16), (6, 7 / 16)]:
        cutter = windows(window_s=0.1, channel=channel, standardise=False)
        opened = reader.open(case)
        for sound in (cutter.read(opened, Region((0,), (1600,)))["input"], cutter.prepare(opened)[0]):
            np.testing.assert_allclose(sound, np.full((1, 1600), level), rtol=1e-6)


def test_channel_the_recording_does_not_have_is_refused() -> None:
    recording, cutter = source(np.zeros((7, 1600)), 16_000), windows(channel=7)
    with pytest.raises(DataError, match="channel the recording does not have") as caught:
        cutter.read(recording, Region((0,), (1600,)))
    assert caught.value.found == "channel 7 of 7 (the first is 0)"
    with pytest.raises(DataError, match="channel the recording does not have"):
        cutter.prepare(recording)


# Standardising, padding, silence


def test_standardised_tone_is_a_tone_of_amplitude_root_two() -> None:
    recording = source(0.25 + 0.01 * tone(100, 16_000, 1), 16_000)
    found = heard(windows(window_s=1), recording, 0, 16_000)
    np.testing.assert_allclose(found, np.sqrt(2) * tone(100, 16_000, 1), atol=1e-4)


@given(st.floats(-1, 1, width=32), st.integers(1, 3000))
def test_standardised_constant_is_zero_and_never_nan(level: float, length: int) -> None:
    assert not standardise(np.full(length, level, dtype=np.float32)).any()


@given(st.integers(0, 2**32 - 1), st.floats(-7, 0), st.floats(-1, 1), st.integers(100, 5000))
def test_standardised_noise_has_mean_zero_and_variance_one(
    seed: int, magnitude: float, offset: float, length: int
) -> None:
    noise = 10**magnitude * np.random.default_rng(seed).standard_normal(length)
    sound = (noise + offset * 10**magnitude).astype(np.float32)
    found = standardise(sound).astype(np.float64)
    assert abs(found.mean()) < 1e-5
    assert found.std() == pytest.approx(1, abs=1e-5)


def test_short_recording_is_standardised_before_it_is_padded_with_zeros() -> None:
    sound = 0.3 + 0.1 * tone(50, 16_000, 0.5)
    found = heard(windows(window_s=1), source(sound, 16_000), 0, 8000)
    np.testing.assert_allclose(found[:8000], np.sqrt(2) * tone(50, 16_000, 0.5), atol=1e-4)
    assert not found[8000:].any()


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_silent_windows_are_flagged_and_others_are_not(rate: int) -> None:
    sound = np.concatenate([tone(100, rate, 1), np.zeros(3 * rate)])
    cutter = windows(window_s=1)
    flags = [
        cutter.read(source(sound, rate), Region((k * rate,), ((k + 1) * rate,))).get("flags")
        for k in range(4)
    ]
    assert flags[0] is None
    assert flags[2:] == [("silent",)] * 2


def test_microphone_stuck_at_an_offset_is_flagged_whether_resampled_or_not() -> None:
    for rate in (16_000, 44_100):
        sample = windows(window_s=1).read(source(np.full(4 * rate, 0.37), rate), Region((rate,), (2 * rate,)))
        assert sample["flags"] == ("silent",)
        assert not sample["input"].any()


def test_one_quiet_bit_is_not_still() -> None:
    sound = np.zeros(1000, dtype=np.float32)
    assert is_still(sound)
    sound[500] = 2**-15
    assert not is_still(sound)


@pytest.mark.parametrize("n_samples", [1, 7])
@pytest.mark.parametrize("rate", [300, 16_000, 384_000])
def test_recording_of_a_few_samples_is_refused(n_samples: int, rate: int) -> None:
    recording = source(np.ones(n_samples), rate)
    with pytest.raises(DataError, match="too short") as caught:
        heard(windows(), recording, 0, n_samples)
    assert f"{n_samples} samples at {rate} Hz" in str(caught.value.found)
    with pytest.raises(DataError, match="too short"):
        windows().prepare(recording)


@pytest.mark.parametrize("data", [{"window_s": 1e-4}, {"hop_s": 1e-5}])
def test_windows_or_steps_of_no_samples_are_refused(data: dict[str, float]) -> None:
    with pytest.raises((ConfigError, ValidationError), match=next(iter(data))):
        windows(**data)


# Places


def test_geometry_of_a_window_leads_back_to_source_samples() -> None:
    recording = source(np.random.default_rng(0).standard_normal(3 * 48_000), 48_000)
    sample = windows(window_s=1, sample_rate_hz=16_000).read(recording, Region((60_000,), (108_000,)))
    assert sample["region"] == Region((60_000,), (108_000,))
    axis = sample["geometry"]
    assert isinstance(axis, TimeAxis)
    assert (axis.rate_hz, axis.n_samples) == (16_000, 16_000)
    np.testing.assert_array_equal(axis.invert([[0], [1000], [16_000]]), [[60_000], [63_000], [108_000]])


@settings(max_examples=30, deadline=None)
@given(rate=st.integers(1000, 96_000), n_samples=st.integers(500, 30_000), shorter=st.booleans())
def test_prepared_recording_gives_the_same_window_as_the_file(
    rate: int, n_samples: int, shorter: bool
) -> None:
    recording = source(np.random.default_rng(n_samples).uniform(-1, 1, n_samples), rate)
    window_s = round(n_samples / rate * (1.5 if shorter else 1), 3) + 0.001
    cutter = windows(window_s=window_s, sample_rate_hz=8000)
    array, axis = cutter.prepare(recording)
    prepared = ArraySource(array, axis)
    (from_file,), (from_cache,) = cutter.plan(recording.grid), cutter.plan(axis)
    np.testing.assert_array_equal(
        cutter.read(prepared, from_cache)["input"].numpy(), cutter.read(recording, from_file)["input"].numpy()
    )


def test_grid_of_another_field_is_refused() -> None:
    class Other(Geometry):
        shape = (10,)

        def crop(self, region: Region) -> Other:
            return self

        def resample(self, shape: tuple[int, ...]) -> Other:
            return self

        def invert(self, points: Any) -> NDArray[np.float64]:
            return np.asarray(points)

    with pytest.raises(TypeError, match="sound needs a TimeAxis, not Other"):
        windows().plan(Other())
