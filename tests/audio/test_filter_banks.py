"""Constant-Q and wavelets against librosa, direct sums and closed forms; then what every bank must keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from tessera.audio.bands import quality
from tessera.audio.features import ConstantQ, FilterBank, Gammatone, Scalogram, features_in_chunks
from tessera.audio.simulate import SceneConfig, simulate_scene
from tessera.core.errors import ConfigError, DataError

Wave = NDArray[np.float32]
Build = Callable[..., FilterBank]
RATE = 22_050
LOWEST_HZ = 32.7032
PARITY = 1e-4  # of the loudest magnitude, -80 dB; spectra of kernels end at -90 dB


def constant_q(**options: Any) -> FilterBank:
    return ConstantQ(**{"f_min_hz": 200.0, "n_bins": 20, **options})


def scalogram(**options: Any) -> FilterBank:
    return Scalogram(**{"f_min_hz": 150.0, "n_bands": 20, **options})


def gammatone(**options: Any) -> FilterBank:
    return Gammatone(**{"f_min_hz": 100.0, "n_bands": 20, **options})


BANKS: list[Build] = [constant_q, scalogram, gammatone]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def sweep(seconds: float, rate: int, seed: int = 0) -> Wave:
    """A rising tone in noise, peak about 1."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    tone = 0.5 * np.sin(2 * np.pi * (0.05 * rate + 0.05 * rate * time) * time)
    return (tone + 0.1 * generator.standard_normal(time.size)).astype(np.float32)


def scene(seconds: float) -> Wave:
    """Simulated events in a room, over noise."""
    config = SceneConfig(sample_rate_hz=RATE, duration_s=seconds, events_per_scene=(3, 3))
    return simulate_scene(np.random.default_rng(5), config=config).waveform.astype(np.float32)


def batch(*clips: Wave) -> Tensor:
    return torch.from_numpy(np.stack(clips))[:, None]


def picture(front_end: FilterBank, clip: Wave) -> NDArray[np.float64]:
    return front_end(batch(clip))[0, 0].double().numpy()


def assert_same_levels(found: Tensor, expected: Tensor) -> None:
    """Equal magnitudes; the decibels of a deep dip tell rounding apart, and nothing else."""
    assert found.shape == expected.shape
    loudest = expected.max()
    difference = 10 ** ((found - loudest) / 20) - 10 ** ((expected - loudest) / 20)
    assert float(difference.abs().max()) < PARITY


def tone(frequency_hz: float, *, rate: int = RATE, seconds: float = 1.0) -> Wave:
    return np.cos(2 * np.pi * frequency_hz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


def direct_constant_q(
    clip: Wave, *, hop: int, f_min_hz: float, n_bins: int, rate: int
) -> NDArray[np.float64]:
    """Brown's sum as it stands: magnitudes (bins, frames), float64."""
    found = []
    side = round(quality(12) * rate / f_min_hz)
    padded = np.pad(clip.astype(np.float64), side)
    for k in range(n_bins):
        turns = f_min_hz * 2 ** (k / 12) / rate
        length = quality(12) / turns
        n = np.arange(np.ceil(-length / 2), np.floor(length / 2) + 1)
        window = np.cos(np.pi * n / length) ** 2
        kernel = window * np.exp(-2j * np.pi * turns * n) / window.sum() * np.sqrt(length)
        starts = side + np.arange(0, len(clip) + 1, hop) + int(n[0])
        found.append([abs(padded[i : i + len(n)] @ kernel) for i in starts])
    return np.array(found)


# Constant-Q


@pytest.mark.parametrize("sound", [sweep(1.0, RATE), scene(1.0)], ids=["sweep", "scene"])
def test_constant_q_equals_the_sum_that_defines_it(sound: Wave) -> None:
    found = picture(ConstantQ(sample_rate_hz=RATE, n_bins=96, hop=700), sound)
    magnitude = direct_constant_q(sound, hop=700, f_min_hz=LOWEST_HZ, n_bins=96, rate=RATE)
    expected = 20 * np.log10(magnitude)
    loud = expected > expected.max() - 40
    assert loud.mean() > 0.5
    np.testing.assert_allclose(found[loud], expected[loud], atol=0.1)
    assert np.corrcoef(10 ** (found / 20).ravel(), magnitude.ravel())[0, 1] > 0.999999


@pytest.mark.parametrize("hop", [512, 1024])
@pytest.mark.parametrize("sound", [sweep(2.0, RATE), scene(2.0)], ids=["sweep", "scene"])
def test_constant_q_agrees_with_librosa(sound: Wave, hop: int) -> None:
    found = picture(ConstantQ(sample_rate_hz=RATE, n_bins=96, hop=hop), sound)
    magnitude = np.abs(librosa.cqt(sound, sr=RATE, hop_length=hop, fmin=LOWEST_HZ, n_bins=96))
    expected = librosa.amplitude_to_db(magnitude, amin=1e-5, top_db=None)
    assert found.shape == expected.shape
    assert np.corrcoef(10 ** (found / 20).ravel(), magnitude.ravel())[0, 1] >= 0.999
    loud = expected > expected.max() - 40
    assert np.median(np.abs(found - expected)[loud]) <= 0.3


@pytest.mark.parametrize("k", [0, 1, 40, 83])
@pytest.mark.parametrize("frame", [1, 512])
def test_a_tone_at_bin_k_peaks_at_bin_k_with_the_magnitude_of_the_closed_form(k: int, frame: int) -> None:
    frequency_hz = LOWEST_HZ * 2 ** (k / 12)
    levels = picture(ConstantQ(sample_rate_hz=RATE, frame=frame), tone(frequency_hz))
    middle = levels[:, levels.shape[1] // 2]
    assert middle.argmax() == k
    length = quality(12) * RATE / frequency_hz
    assert middle.max() == pytest.approx(20 * np.log10(np.sqrt(length) / 2), abs=0.02)


def test_white_noise_is_level_and_averaging_makes_it_steady() -> None:
    noise = np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32)
    point = picture(ConstantQ(sample_rate_hz=RATE, hop=1024), noise)
    mean = picture(ConstantQ(sample_rate_hz=RATE, hop=1024, frame=1024), noise)
    # E|C|^2 = N sum(w^2) / sum(w)^2 = 1.5 for a Hann window.
    np.testing.assert_allclose(10 * np.log10((10 ** (mean[36:] / 10)).mean(1)), 10 * np.log10(1.5), atol=0.6)
    assert point[72:].std() > 4.5  # the logarithm of an exponential variable: 5.6 dB
    assert mean[72:].std() < 0.4 * point[72:].std()


# Wavelets


def test_a_tone_gives_the_gaussian_of_the_closed_form_in_every_row() -> None:
    rate, omega, frequency_hz = 8000, 6.0, 700.0
    front_end = Scalogram(sample_rate_hz=rate, n_bands=40, f_min_hz=100.0, f_max_hz=3000.0, omega=omega)
    levels = picture(front_end, tone(frequency_hz, rate=rate))
    scale = omega * rate / (2 * np.pi * np.geomspace(100.0, 3000.0, 40))
    phase = 2 * np.pi * frequency_hz / rate * scale - omega
    gain = np.pi**-0.25 * np.sqrt(2 * np.pi * scale) / 2 * np.exp(-(phase**2) / 2)
    expected = 20 * np.log10(gain)
    near = expected > expected.max() - 60
    assert near.sum() > 10
    np.testing.assert_allclose(levels[near, levels.shape[1] // 2], expected[near], atol=0.05)


def test_an_impulse_shows_the_envelope_of_every_wavelet() -> None:
    rate, omega, centre = 8000, 6.0, 4000
    clip = np.zeros(8000, dtype=np.float32)
    clip[centre] = 1.0
    front_end = Scalogram(sample_rate_hz=rate, n_bands=12, f_min_hz=100.0, f_max_hz=2000.0, hop=16)
    levels = picture(front_end, clip)
    scale = omega * rate / (2 * np.pi * np.geomspace(100.0, 2000.0, 12))[:, None]
    place = (np.arange(levels.shape[1]) * 16 - centre) / scale
    expected = 20 * np.log10(np.pi**-0.25 / np.sqrt(scale)) - 10 * np.log10(np.e) * place**2
    loud = expected > expected.max() - 50
    np.testing.assert_allclose(levels[loud], expected[loud], atol=0.05)


# Averages


@pytest.mark.parametrize("build", BANKS)
@pytest.mark.parametrize(("hop", "frame"), [(128, 128), (100, 256), (64, 301)])
def test_a_frames_energy_is_the_mean_over_its_samples(build: Build, hop: int, frame: int) -> None:
    clip = sweep(0.5, 8000)
    options: dict[str, Any] = {"sample_rate_hz": 8000}
    if build is not constant_q:
        options["f_max_hz"] = 2500.0
    dense = 10 ** (picture(build(hop=1, **options), clip) / 10)
    side = frame / 2
    weights = np.minimum(np.arange(-(frame // 2), frame // 2 + 1) + 0.5 + side, 1.0)
    weights = np.minimum(weights, weights[::-1])  # half a sample at both ends where the frame is even
    found = picture(build(hop=hop, frame=frame, **options), clip)
    inside = np.arange(4, found.shape[1] - 4)
    expected = np.stack(
        [dense[:, t * hop - frame // 2 : t * hop + frame // 2 + 1] @ weights / weights.sum() for t in inside],
        axis=1,
    )
    difference = found[:, inside] - 10 * np.log10(expected)
    assert np.abs(difference).mean() < 0.2
    assert abs(difference.mean()) < 0.1


# What every bank must keep


@pytest.mark.parametrize("frame", [1, 300])
@pytest.mark.parametrize("build", BANKS)
def test_batch_of_two_equals_two_batches_of_one(build: Build, frame: int) -> None:
    clips = batch(sweep(0.7, 16_000), sweep(0.7, 16_000, seed=1))
    front_end = build(sample_rate_hz=16_000, frame=frame, top_db=80.0, normalize="per_clip")
    apart = torch.cat([front_end(clips[:1]), front_end(clips[1:])])
    torch.testing.assert_close(front_end(clips), apart, atol=1e-5, rtol=0)


@pytest.mark.parametrize("build", BANKS)
def test_work_in_blocks_equals_work_in_one_piece(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = batch(*(sweep(3.0, 16_000, seed) for seed in range(3)))
    front_end = build(sample_rate_hz=16_000, hop=100, frame=100, top_db=60.0)
    whole = front_end(clips)
    for samples in (1, 2**15, 2**20):
        monkeypatch.setattr("tessera.audio.features.filter_bank._BLOCK_SAMPLES", samples)
        assert_same_levels(front_end(clips), whole)
    monkeypatch.setattr("tessera.audio.features.filter_bank.at_once", lambda _: True)
    assert_same_levels(front_end(clips), whole)


@settings(max_examples=40, deadline=None)
@given(
    n_samples=st.integers(1, 20_000),
    chunk_samples=st.integers(1, 25_000),
    hop=st.integers(50, 500),
    frame=st.integers(1, 600),
    pad_mode=st.sampled_from(["constant", "reflect"]),
    center=st.booleans(),
    build=st.sampled_from(BANKS),
)
def test_any_cut_equals_one_piece(
    n_samples: int, chunk_samples: int, hop: int, frame: int, pad_mode: Any, center: bool, build: Build
) -> None:
    front_end = build(
        sample_rate_hz=8000, hop=hop, frame=frame, pad_mode=pad_mode, center=center, top_db=60.0
    )
    samples = np.random.default_rng(n_samples).normal(0, 0.1, n_samples).astype(np.float32)

    def read(start: int, stop: int) -> Tensor:
        assert 0 <= start < stop <= n_samples
        return torch.from_numpy(samples[start:stop])[None]

    if n_samples < front_end.least_samples:
        with pytest.raises(DataError, match=f"at least {front_end.least_samples}"):
            features_in_chunks(front_end, read, n_samples, chunk_samples=chunk_samples)
        return
    pieces = features_in_chunks(front_end, read, n_samples, chunk_samples=chunk_samples)
    assert_same_levels(pieces, front_end(batch(samples)))


@pytest.mark.parametrize("normalize", ["none", "per_clip", "per_clip_minmax"])
@pytest.mark.parametrize("n_samples", [1, 700, 4000])
@pytest.mark.parametrize("build", BANKS)
def test_silence_of_any_length_is_finite(build: Build, n_samples: int, normalize: Any) -> None:
    front_end = build(sample_rate_hz=8000, top_db=80.0, normalize=normalize, frame=512)
    clip = torch.zeros(2, 1, n_samples, requires_grad=True)
    pictures = front_end(clip)
    assert pictures.shape == (2, 1, 20, 1 + n_samples // 512)
    assert pictures.isfinite().all()
    pictures.sum().backward()
    assert clip.grad is not None
    assert clip.grad.isfinite().all()


@pytest.mark.parametrize("build", BANKS)
def test_gradient_equals_the_difference_quotient(build: Build) -> None:
    front_end = build(
        sample_rate_hz=8000, hop=20, frame=30, **({} if build is constant_q else {"f_max_hz": 3000.0})
    )
    clip = torch.randn(1, 1, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(front_end.double(), clip.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("build", BANKS)
def test_autocast_does_not_touch_the_features_and_half_precision_is_refused(build: Build) -> None:
    clip = batch(sweep(0.3, 16_000))
    front_end = build(sample_rate_hz=16_000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = front_end(clip)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, front_end(clip), atol=0, rtol=0)
    with pytest.raises(ConfigError, match="half precision"):
        front_end.bfloat16()(clip)


@pytest.mark.parametrize("build", BANKS)
def test_constants_are_no_weights(build: Build) -> None:
    front_end = build(sample_rate_hz=16_000)
    assert not front_end.state_dict()
    assert not list(front_end.parameters())


@pytest.mark.parametrize("build", BANKS)
def test_exported_front_end_takes_any_batch(build: Build) -> None:
    front_end = build(sample_rate_hz=16_000, frame=512, top_db=80.0, normalize="per_clip").eval()
    clips = batch(*(sweep(0.5, 16_000, seed) for seed in range(5)))
    shapes = {"waveform": {0: torch.export.Dim("batch", min=1, max=64)}}
    exported = torch.export.export(front_end, (clips[:2],), dynamic_shapes=shapes).module()
    torch.testing.assert_close(exported(clips), front_end(clips), atol=1e-5, rtol=0)
