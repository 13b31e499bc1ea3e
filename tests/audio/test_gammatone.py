"""The gammatone front end, magnitude and phase, against scipy's filters and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray

from tessera.audio.bands import erb_spaced_hz
from tessera.audio.features import Gammatone, features_in_chunks

Array = NDArray[np.float64]
RATE = 16_000
ROOM: dict[str, Any] = {
    "sample_rate_hz": RATE,
    "n_bands": 20,
    "f_min_hz": 50.0,
    "f_max_hz": 2000.0,
    "frame": 128,
    "hop": 32,
    "center": False,
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def picture(front_end: Gammatone, clip: NDArray[np.float32]) -> Array:
    return front_end(torch.from_numpy(clip)[None, None])[0, 0].double().numpy()


def scipy_filtered(clip: NDArray[np.float32], centres_hz: tuple[float, ...]) -> Array:
    """The clip behind scipy's FIR gammatones (bands, samples)."""
    filters = [scipy.signal.gammatone(f, "fir", order=4, numtaps=4000, fs=RATE)[0] for f in centres_hz]
    return np.stack([scipy.signal.fftconvolve(clip.astype(float), taps)[: len(clip)] for taps in filters])


@pytest.mark.parametrize("hop", [32, 75])
def test_output_of_the_filters_is_that_of_scipy(hop: int) -> None:
    clip = noise(8000)
    front_end = Gammatone(
        **{**ROOM, "center": True, "frame": 1, "hop": hop}, phase="gammatone", phase_rows=20
    )
    rows = picture(front_end, clip)
    output = 10 ** (rows[:20] / 20) * np.cos(rows[20:40])
    expected = scipy_filtered(clip, front_end.centres_hz)[:, ::hop]
    error = np.abs(output[:, : expected.shape[1]] - expected).max(axis=1)
    assert (error < 2e-3 * np.abs(expected).max(axis=1)).all()


def test_energy_is_the_mean_square_of_scipys_output_and_of_its_quadrature() -> None:
    clip = noise(16_000)
    front_end = Gammatone(**ROOM)
    levels = picture(front_end, clip)
    analytic = scipy.signal.hilbert(scipy_filtered(clip, front_end.centres_hz))
    frames = np.lib.stride_tricks.sliding_window_view(np.abs(analytic) ** 2, 128, axis=-1)[:, ::32]
    expected = 10 * np.log10(frames.mean(axis=-1))
    assert levels.shape == expected.shape
    inside = slice(40, -40)  # the analytic signal of a cut-off sound rings at its ends
    difference = np.abs(levels - expected)[3:, inside]  # under 160 Hz its quadrature is not the filter's own
    assert np.median(difference) < 0.05
    assert np.quantile(difference, 0.99) < 0.5


@pytest.mark.parametrize("band", [0, 7, 19])
def test_a_tone_of_amplitude_one_reads_zero_decibels_in_its_band(band: int) -> None:
    frequency_hz = erb_spaced_hz(50.0, 2000.0, 20)[band]
    tone = np.cos(2 * np.pi * frequency_hz * np.arange(RATE) / RATE).astype(np.float32)
    levels = picture(Gammatone(**ROOM), tone)[:, 400]
    assert levels.argmax() == band
    assert levels.max() == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("phase", ["gammatone", "stft"])
def test_the_picture_has_the_size_of_the_room_volume_paper(phase: Any) -> None:
    pictures = Gammatone(**ROOM, phase=phase)(torch.from_numpy(noise(64_000))[None, None])
    assert pictures.shape == (1, 1, 30, 1997)


def test_stft_phase_is_numpys() -> None:
    clip = noise(4000)
    rows = picture(Gammatone(**ROOM, phase="stft"), clip)
    frames = np.lib.stride_tricks.sliding_window_view(clip.astype(float), 128)[::32]
    window = scipy.signal.get_window("hann", 128)
    expected = np.fft.rfft(frames * window)[:, :5].T
    turned = np.exp(1j * rows[20:25]) - expected / np.abs(expected)
    assert np.abs(turned)[np.abs(expected) > 0.05].max() < 1e-3


@pytest.mark.parametrize("frequency_hz", [60.0, 200.0])
def test_the_change_of_a_tones_phase_is_its_frequency(frequency_hz: float) -> None:
    hop = 150  # 60 Hz turn by 0.5625, 200 Hz by 1.875 = -0.125 of a circle
    tone = np.cos(2 * np.pi * frequency_hz * np.arange(RATE) / RATE).astype(np.float32)
    front_end = Gammatone(**{**ROOM, "hop": hop}, phase="gammatone", phase_rows=20)
    rows = picture(front_end, tone)
    band = int(rows[:20, 50].argmax())
    turns = frequency_hz * hop / RATE
    expected = 2 * np.pi * (turns - round(turns))
    np.testing.assert_allclose(rows[40 + band, 40:60], expected, atol=0.02)
    assert np.abs(rows[20:]).max() <= np.pi + 1e-5
    assert (rows[40:, 0] == 0).all()


@pytest.mark.parametrize("phase", ["gammatone", "stft"])
def test_range_and_normalisation_treat_the_kinds_of_rows_apart(phase: Any) -> None:
    clip = noise(8000)
    plain = picture(Gammatone(**ROOM, phase=phase), clip)
    ranged = picture(Gammatone(**ROOM, phase=phase, top_db=10.0), clip)
    assert ranged[:20].min() == pytest.approx(plain[:20].max() - 10.0, abs=1e-4)
    np.testing.assert_array_equal(ranged[20:], plain[20:])
    normal = picture(Gammatone(**ROOM, phase=phase, normalize="per_clip"), clip)
    for rows in (slice(0, 20), slice(20, 25), slice(25, 30)):
        assert normal[rows].mean() == pytest.approx(0.0, abs=1e-4)
        assert normal[rows].std() == pytest.approx(1.0, abs=1e-4)
    mean, std = list(np.arange(30.0)), list(np.arange(1.0, 31.0))
    fixed = picture(Gammatone(**ROOM, phase=phase, normalize="fixed", mean=mean, std=std), clip)
    np.testing.assert_allclose(fixed[29], (plain[29] - 29.0) / 30.0, atol=1e-5)


@pytest.mark.parametrize("phase", ["gammatone", "stft"])
def test_phases_of_a_recording_in_pieces_equal_those_of_one_piece(phase: Any) -> None:
    clip = torch.from_numpy(noise(30_000))[None]
    front_end = Gammatone(**ROOM, phase=phase, top_db=60.0)
    pieces = features_in_chunks(
        front_end, lambda start, stop: clip[:, start:stop], 30_000, chunk_samples=4321
    )
    whole = front_end(clip[None])
    torch.testing.assert_close(pieces[:, :, :20], whole[:, :, :20], atol=0.01, rtol=0)
    apart = torch.exp(1j * pieces[:, :, 20:]) - torch.exp(1j * whole[:, :, 20:])
    assert float(apart.abs().quantile(0.999)) < 1e-3


@pytest.mark.parametrize("phase", ["gammatone", "stft"])
def test_silence_and_its_gradient_are_finite(phase: Any) -> None:
    clip = torch.zeros(1, 1, 4000, requires_grad=True)
    pictures = Gammatone(**ROOM, phase=phase, top_db=80.0, normalize="per_clip")(clip)
    assert pictures.isfinite().all()
    pictures.sum().backward()
    assert clip.grad is not None
    assert clip.grad.isfinite().all()


@pytest.mark.parametrize("phase", ["gammatone", "stft"])
def test_the_phases_are_exported_for_any_batch(phase: Any) -> None:
    front_end = Gammatone(**ROOM, phase=phase).eval()
    clips = torch.from_numpy(np.stack([noise(3000, seed) for seed in range(3)]))[:, None]
    shapes = {"waveform": {0: torch.export.Dim("batch", min=1, max=64)}}
    exported = torch.export.export(front_end, (clips[:2],), dynamic_shapes=shapes).module()
    torch.testing.assert_close(exported(clips), front_end(clips), atol=1e-4, rtol=0)
