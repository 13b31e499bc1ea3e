"""Changes of waveforms against librosa, NumPy and closed forms."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from scipy.special import jv
from torch import Tensor

from tessera.audio.waveform_changes import (
    at_pitch,
    at_tempo,
    clipped,
    compressed,
    distorted,
    filtered,
    placed,
    sounding_samples,
    with_noise,
    with_wow,
)

RATE_HZ = 8000


def noise(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("tempo", [0.75, 1.0, 1.3125, 2.0])  # exact in float32, as places of frames
def test_a_change_of_tempo_is_librosas(tempo: float) -> None:
    t = np.arange(6000) / RATE_HZ
    chirp = np.sin(2 * np.pi * (300 * t + 900 * t**2)).astype(np.float32)
    sound = np.stack([chirp, noise(6000).numpy() * 0.1])
    rates = torch.tensor([tempo, tempo])
    changed = at_tempo(torch.from_numpy(sound)[:, None], rates, n_fft=256)[:, 0].numpy()
    for row, found in zip(sound, changed, strict=True):
        expected = librosa.effects.time_stretch(row, rate=tempo, n_fft=256)
        expected = np.pad(expected, (0, 6000))[:6000]
        inside = slice(0, min(6000, int(6000 / tempo)) - 256)  # the last frames see librosa's shorter signal
        error = np.abs(found - expected)[inside]
        assert np.median(error) < 5e-4
        assert error.max() < 0.03  # of 1, where the chirp breaks off


def test_a_tone_at_another_tempo_keeps_its_pitch_and_changes_its_length() -> None:
    sound = torch.zeros(3, 1, RATE_HZ)
    sound[:, 0, :3000] = torch.sin(2 * torch.pi * 440 * torch.arange(3000) / RATE_HZ)
    tempo = torch.tensor([0.5, 1.0, 1.5])
    changed = at_tempo(sound, tempo, n_fft=256)
    assert sounding_samples(changed).tolist() == [6000, 3000, 2000]
    for row, length in zip(changed[:, 0], (6000, 3000, 2000), strict=True):
        part = row[256 : length - 256]
        spectrum = torch.fft.rfft(part * torch.hann_window(len(part)), 32_000).abs()
        assert abs(float(spectrum.argmax()) * RATE_HZ / 32_000 - 440) < 3
        assert abs(10 * np.log10(float(part.square().mean()) / 0.5)) < 1.5


def test_each_row_has_its_own_tempo() -> None:
    sound = noise(3, 2, 4000)
    tempo = torch.tensor([0.8, 1.1, 1.4])
    together = at_tempo(sound, tempo, n_fft=256)
    for i in range(3):
        alone = at_tempo(sound[i : i + 1], tempo[i : i + 1], n_fft=256)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=0)


def test_a_sound_is_placed_within_its_window_whole() -> None:
    sound = torch.zeros(4, 1, 100)
    sound[:, 0, :30] = 1 + torch.arange(30)
    moved = placed(sound, torch.tensor([0.0, 0.5, 0.9999, 1.0]))
    for row, start in zip(moved[:, 0], (0, 35, 70, 70), strict=True):
        assert torch.equal(row[start : start + 30], sound[0, 0, :30])
        assert float(row.sum()) == float(sound[0].sum())
    full = noise(2, 1, 50)
    assert torch.equal(placed(full, torch.tensor([0.3, 1.0])), full)
    assert not placed(torch.zeros(2, 1, 9), torch.tensor([0.3, 1.0])).any()


def test_sounding_samples_are_those_before_the_zeros_at_the_end() -> None:
    sound = torch.tensor([[[0, 1, 0, 2, 0]], [[0, 0, 0, 0, 0]], [[1, 0, 0, 0, 1]]], dtype=torch.float32)
    assert sounding_samples(sound).tolist() == [4, 0, 5]


def test_a_response_changes_each_frequency_by_its_own_gain() -> None:
    curve_db = torch.tensor([[3.0, -2.0, 1.0]])
    top = np.log1p(RATE_HZ / 2 / 700)
    for hertz in (100.0, 700.0, 1500.0, 3500.0):
        tone = torch.sin(2 * torch.pi * hertz * torch.arange(RATE_HZ) / RATE_HZ)[None, None]
        found = filtered(tone, curve_db, sample_rate_hz=RATE_HZ)[..., 1000:-1000]
        place = np.log1p(hertz / 700) / top
        gain_db = 3 * np.cos(np.pi * place) - 2 * np.cos(2 * np.pi * place) + np.cos(3 * np.pi * place)
        expected = 10 ** (gain_db / 20) * tone[..., 1000:-1000]
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_a_flat_response_changes_nothing() -> None:
    sound = noise(2, 3, 501)
    torch.testing.assert_close(filtered(sound, torch.zeros(2, 3), sample_rate_hz=RATE_HZ), sound)


def test_noise_of_any_power_is_scaled_to_the_ratio() -> None:
    sound = 3 * noise(2, 1, 400)
    added = with_noise(sound, 7 * noise(2, 1, 400).flip(-1), torch.tensor([0.0, 20.0])) - sound
    ratio_db = 10 * torch.log10(sound.square().mean(dim=(1, 2)) / added.square().mean(dim=(1, 2)))
    torch.testing.assert_close(ratio_db, torch.tensor([0.0, 20.0]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("percent", [0.0, 5.0, 12.5])
def test_clipping_is_at_numpys_percentile(percent: float) -> None:
    sound = noise(1, 2, 501)
    limit = np.percentile(np.abs(sound.numpy()), 100 - percent)
    found = clipped(sound, torch.tensor([percent]))
    np.testing.assert_allclose(found.numpy(), np.clip(sound.numpy(), -limit, limit), rtol=1e-5)


def test_wow_bends_a_tones_phase_as_the_formula_says() -> None:
    t = np.arange(RATE_HZ) / RATE_HZ
    sound = torch.from_numpy(np.sin(2 * np.pi * 200 * t).astype(np.float32)).expand(2, 1, -1)
    found = with_wow(sound, torch.tensor([0.0, 0.03]), sample_rate_hz=RATE_HZ)
    torch.testing.assert_close(found[0], sound[0])
    bent = t + 0.03 * np.sin(2 * np.pi * 2 * t) / (2 * np.pi * 2)
    inside = bent < t[-1]
    expected = np.sin(2 * np.pi * 200 * bent)
    np.testing.assert_allclose(found[1, 0].numpy()[inside], expected[inside], atol=4e-3)  # straight lines
    assert np.diff(bent).max() * RATE_HZ == pytest.approx(1.03, abs=1e-4)  # the speed swings by the depth


def test_distortion_gives_a_tone_odd_harmonics_after_bessel() -> None:
    tone = torch.sin(2 * torch.pi * 100 * torch.arange(RATE_HZ) / RATE_HZ)[None, None]
    changed = distorted(3.0 * tone, torch.tensor([2.0]))
    power = changed.square().mean()
    torch.testing.assert_close(power, (3.0 * tone).square().mean())
    lines = torch.fft.rfft(changed[0, 0]).abs()
    first, third, fifth = (float(lines[100 * k]) for k in (1, 3, 5))
    assert third / first == pytest.approx(jv(3, 2.0) / jv(1, 2.0), rel=1e-3)
    assert fifth / first == pytest.approx(jv(5, 2.0) / jv(1, 2.0), rel=1e-2)
    assert float(lines[200]) < 1e-3 * first


def test_a_compressor_halves_what_exceeds_the_threshold_in_decibels() -> None:
    decibels = torch.tensor([0.0, -4.0, -10.0, -30.0])
    sound = 5.0 * 10 ** (decibels / 20) * torch.tensor([1.0, -1.0, 1.0, -1.0])
    found = compressed(sound[None, None], torch.tensor([-10.0]))[0, 0]
    level = 20 * torch.log10(found.abs() / 5.0)
    torch.testing.assert_close(level, torch.tensor([-5.0, -7.0, -10.0, -30.0]), atol=1e-4, rtol=0)
    assert torch.equal(found.sign(), sound.sign())


@pytest.mark.parametrize("semitones", [-2.0, 0.0, 2.0])
def test_another_pitch_has_the_same_length(semitones: float) -> None:
    sound = torch.zeros(1, 1, RATE_HZ)
    sound[0, 0, :6000] = torch.sin(2 * torch.pi * 440 * torch.arange(6000) / RATE_HZ)
    changed = at_pitch(sound, torch.tensor([semitones]), n_fft=256)
    assert changed.shape == sound.shape
    assert abs(int(sounding_samples(changed)) - 6000) < 4
    part = changed[0, 0, 500:5500]
    spectrum = torch.fft.rfft(part * torch.hann_window(len(part)), 64_000).abs()
    assert abs(float(spectrum.argmax()) * RATE_HZ / 64_000 - 440 * 2 ** (semitones / 12)) < 2


def test_silence_stays_silence() -> None:
    silence, one = torch.zeros(1, 2, 400), torch.tensor([1.0])
    for changed in (
        clipped(silence, one),
        with_wow(silence, 0.03 * one, sample_rate_hz=RATE_HZ),
        distorted(silence, one),
        compressed(silence, -10 * one),
        at_pitch(silence, one, n_fft=256),
    ):
        assert torch.equal(changed, silence)
