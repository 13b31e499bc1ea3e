"""Places and lengths of bands against published values and their own definitions."""

from __future__ import annotations

import math

import librosa
import numpy as np
import pytest

from tessera.audio import bands

# 20 bands from 50 Hz to 2 kHz, equally spaced on the ERB-rate scale.
ERB_SPACED = (
    50, 82.24, 118.2, 158.32, 203.08, 253.01, 308.72, 370.86, 440.19, 517.54,
    603.83, 700.09, 807.48, 927.29, 1060.95, 1210.06, 1376.41, 1561.99, 1769.03, 2000,
)  # fmt: skip


def test_the_ear_at_one_kilohertz_has_the_published_bandwidth_and_place() -> None:
    assert bands.erb_hz(1000.0) == pytest.approx(132.639, abs=1e-9)
    assert bands.erb_number(1000.0) == pytest.approx(15.6214, abs=5e-5)


def test_erb_spaced_bands_are_those_of_the_room_volume_notes() -> None:
    np.testing.assert_allclose(bands.erb_spaced_hz(50.0, 2000.0, 20), ERB_SPACED, atol=0.006)


def test_log_spaced_bands_hold_both_ends_and_one_ratio() -> None:
    found = np.array(bands.log_spaced_hz(50.0, 3200.0, 7))
    np.testing.assert_allclose(found, [50, 100, 200, 400, 800, 1600, 3200])


@pytest.mark.parametrize("bins_per_octave", [3, 12, 36])
def test_constant_q_bins_and_lengths_are_librosas(bins_per_octave: int) -> None:
    found = bands.octave_hz(40.0, n_bins=20, bins_per_octave=bins_per_octave)
    expected = librosa.cqt_frequencies(20, fmin=40.0, bins_per_octave=bins_per_octave)
    np.testing.assert_allclose(found, expected)
    lengths, _ = librosa.filters.wavelet_lengths(freqs=expected, sr=22_050, filter_scale=1.5)
    quality = 1.5 * bands.quality(bins_per_octave)
    ours = [bands.constant_q_samples(f, sample_rate_hz=22_050, quality=quality) for f in found]
    np.testing.assert_allclose(ours, lengths, rtol=1e-9)


def test_nothing_of_a_wavelet_or_gammatone_is_cut_off_above_minus_100_decibels() -> None:
    scale = bands.morlet_scale(100.0, sample_rate_hz=8000, omega=6.0)
    assert scale == pytest.approx(6.0 / (2 * math.pi * 100.0 / 8000))
    assert math.exp(-((bands.morlet_reach(scale) / scale) ** 2) / 2) <= 1e-5
    decay = bands.gammatone_decay(100.0, sample_rate_hz=8000)
    assert decay == pytest.approx(2 * math.pi * 1.019 * bands.erb_hz(100.0) / 8000)
    length = bands.gammatone_samples(100.0, sample_rate_hz=8000)
    peak = (3 / decay) ** 3 * math.exp(-3)
    assert length**3 * math.exp(-decay * length) <= 1e-5 * peak


def test_a_frame_sees_the_filters_reach_on_both_sides_of_what_it_averages() -> None:
    assert bands.frame_samples(10.2, 1) == 22
    assert bands.frame_samples(10.0, 128) == 148
