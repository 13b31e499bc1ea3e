"""The front ends against librosa, closed forms and the frame counts of the papers."""

from __future__ import annotations

import warnings
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

from tessera.audio.features import (
    MFCC,
    MelSpectrogram,
    Spectrogram,
)
from tessera.core.errors import ConfigError, DataError

Wave = NDArray[np.float32]
PARITY_DB = 1e-3
FRONT_ENDS: list[type[Spectrogram]] = [Spectrogram, MelSpectrogram, MFCC]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def wave(seconds: float, rate: int, seed: int = 0) -> Wave:
    """A rising tone in noise, peak about 1."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    tone = 0.5 * np.sin(2 * np.pi * (0.05 * rate + 0.05 * rate * time) * time)
    return (tone + 0.1 * generator.standard_normal(time.size)).astype(np.float32)


def batch(*clips: Wave) -> Tensor:
    return torch.from_numpy(np.stack(clips))[:, None]


def picture(front_end: Spectrogram, clip: Wave) -> NDArray[np.float32]:
    return front_end(batch(clip))[0, 0].numpy()


# Parity with librosa


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
@pytest.mark.parametrize(
    ("rate", "n_fft", "hop"), [(12_000, 512, 256), (22_050, 1024, 256), (44_100, 1000, 441)]
)
def test_spectrogram_equals_librosa(rate: int, n_fft: int, hop: int, pad_mode: Any, center: bool) -> None:
    clip = wave(1.0, rate)
    front_end = Spectrogram(sample_rate_hz=rate, n_fft=n_fft, hop=hop, pad_mode=pad_mode, center=center)
    spectrum = librosa.stft(
        clip.astype(np.float64), n_fft=n_fft, hop_length=hop, center=center, pad_mode=pad_mode
    )
    expected = librosa.power_to_db(np.abs(spectrum) ** 2, top_db=None)
    found = picture(front_end, clip)
    assert found.shape == expected.shape == (n_fft // 2 + 1, front_end.frames(clip.size))
    # A bin far under the frame's peak is rounding noise in any float32 transform.
    loud = expected > expected.max() - 60.0
    assert loud.mean() > 0.9
    np.testing.assert_allclose(found[loud], expected[loud], atol=PARITY_DB, rtol=0)


@pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
@pytest.mark.parametrize("mel_norm", ["slaney", None])
@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
@pytest.mark.parametrize(
    ("rate", "n_fft", "hop", "n_mels", "f_min_hz", "f_max_hz"),
    [
        (12_000, 512, 256, 96, 0.0, None),
        (22_050, 1024, 512, 128, 0.0, None),
        (32_000, 1024, 320, 64, 50.0, 14_000.0),
        (16_000, 400, 160, 40, 20.0, 7_600.0),
    ],
)
def test_mel_spectrogram_equals_librosa(
    rate: int,
    n_fft: int,
    hop: int,
    n_mels: int,
    f_min_hz: float,
    f_max_hz: float | None,
    mel_scale: Any,
    mel_norm: Any,
    pad_mode: Any,
) -> None:
    clip = wave(1.0, rate)
    front_end = MelSpectrogram(
        sample_rate_hz=rate,
        n_fft=n_fft,
        hop=hop,
        n_mels=n_mels,
        f_min_hz=f_min_hz,
        f_max_hz=f_max_hz,
        mel_scale=mel_scale,
        mel_norm=mel_norm,
        pad_mode=pad_mode,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # librosa says that narrow bands are empty
        power = librosa.feature.melspectrogram(
            y=clip,
            sr=rate,
            n_fft=n_fft,
            hop_length=hop,
            pad_mode=pad_mode,
            n_mels=n_mels,
            fmin=f_min_hz,
            fmax=f_max_hz,
            htk=mel_scale == "htk",
            norm=mel_norm,
        )
    expected = librosa.power_to_db(power, top_db=None)
    np.testing.assert_allclose(picture(front_end, clip), expected, atol=PARITY_DB, rtol=0)


def test_magnitude_mel_hamming_window_and_reference_equal_librosa() -> None:
    clip = wave(0.5, 16_000)
    front_end = MelSpectrogram(
        sample_rate_hz=16_000,
        n_fft=512,
        hop=160,
        n_mels=40,
        window="hamming",
        power=1.0,
        ref=0.01,
        top_db=60.0,
    )
    magnitude = librosa.feature.melspectrogram(
        y=clip, sr=16_000, n_fft=512, hop_length=160, n_mels=40, window="hamming", power=1.0
    )
    expected = librosa.amplitude_to_db(magnitude, ref=0.1, amin=1e-5, top_db=60.0)
    np.testing.assert_allclose(picture(front_end, clip), expected, atol=PARITY_DB, rtol=0)


@pytest.mark.parametrize("n_mfcc", [13, 40])
def test_mfcc_equals_librosa(n_mfcc: int) -> None:
    clip = wave(1.0, 22_050)
    clip[:8000] *= 1e-6  # so that the 80 dB limit matters
    front_end = MFCC(sample_rate_hz=22_050, n_fft=2048, hop=512, n_mels=128, n_mfcc=n_mfcc, top_db=80.0)
    expected = librosa.feature.mfcc(y=clip, sr=22_050, n_mfcc=n_mfcc)
    np.testing.assert_allclose(picture(front_end, clip), expected, atol=PARITY_DB, rtol=0)


@settings(max_examples=30, deadline=None)
@given(
    n_fft=st.integers(16, 600),
    hop=st.integers(1, 400),
    n_mels=st.integers(1, 40),
    n_samples=st.integers(1, 3000),
    clips=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_any_size_equals_librosa(
    n_fft: int, hop: int, n_mels: int, n_samples: int, clips: int, seed: int
) -> None:
    rate = 8000
    waves = np.random.default_rng(seed).normal(0, 0.1, (clips, n_samples)).astype(np.float32)
    found = MelSpectrogram(sample_rate_hz=rate, n_fft=n_fft, hop=hop, n_mels=n_mels)(batch(*waves))[:, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        power = librosa.feature.melspectrogram(y=waves, sr=rate, n_fft=n_fft, hop_length=hop, n_mels=n_mels)
    expected = librosa.power_to_db(power, top_db=None)
    assert found.shape == expected.shape
    # Bands near the peak are exact to 1e-3 dB; weak ones (one bin of noise) carry float32's rounding.
    loud = expected > expected.max() - 50.0
    np.testing.assert_allclose(found.numpy()[loud], expected[loud], atol=PARITY_DB, rtol=0)


# Closed forms


def test_unit_impulse_gives_the_squared_window_in_every_bin() -> None:
    clip = np.zeros(1024, dtype=np.float32)
    clip[512] = 1.0
    levels = Spectrogram(sample_rate_hz=22_050, n_fft=1024, hop=256)(batch(clip))[0, 0]
    # Hann at 0, 1/4, 1/2, 3/4 and 1 of its length, squared.
    expected = torch.tensor([0.0, 0.25, 1.0, 0.25, 0.0])
    power = 10.0 ** (levels / 10.0)
    torch.testing.assert_close(power, expected.expand(513, 5), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("n_samples", "n_fft", "hop", "center", "expected"),
    [
        (349_440, 512, 256, True, 1366),  # 29.12 s at 12 kHz, CRNN
        (348_000, 512, 256, True, 1360),  # 29.0 s
        (110_250, 1024, 512, True, 216),  # 5 s at 22.05 kHz
        (110_250, 1024, 256, True, 431),
        (110_250, 1024, 256, False, 427),
        (48_000, 512, 160, True, 301),  # 3 s at 16 kHz
    ],
)
def test_frame_counts_are_those_of_the_papers(
    n_samples: int, n_fft: int, hop: int, center: bool, expected: int
) -> None:
    front_end = MelSpectrogram(sample_rate_hz=16_000, n_fft=n_fft, hop=hop, n_mels=8, center=center)
    assert front_end.frames(n_samples) == expected
    assert front_end(torch.zeros(1, 1, n_samples)).shape == (1, 1, 8, expected)


def test_double_square_doubles_the_levels_above_the_floor() -> None:
    clip = batch(wave(0.5, 12_000))
    options: dict[str, Any] = {"sample_rate_hz": 12_000, "n_fft": 512, "hop": 256, "n_mels": 40}
    once, twice = MelSpectrogram(**options)(clip), MelSpectrogram(legacy_double_square=True, **options)(clip)
    torch.testing.assert_close(twice, (2.0 * once).clamp_min(-100.0), atol=1e-4, rtol=0)


def test_per_clip_normalization_gives_mean_zero_and_variance_one() -> None:
    clips = batch(wave(0.5, 16_000), 0.001 * wave(0.5, 16_000, seed=1))
    pictures = MelSpectrogram(sample_rate_hz=16_000, n_mels=40, normalize="per_clip")(clips)
    torch.testing.assert_close(pictures.mean((1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(pictures.std((1, 2, 3), correction=0), torch.ones(2), atol=1e-5, rtol=0)


def test_fixed_normalization_applies_one_number_or_one_a_row() -> None:
    clips = batch(wave(0.5, 16_000))
    options: dict[str, Any] = {"sample_rate_hz": 16_000, "n_mels": 4}
    plain = MelSpectrogram(**options)(clips)
    scalar = MelSpectrogram(normalize="fixed", mean=-20.0, std=4.0, **options)(clips)
    rows = MelSpectrogram(normalize="fixed", mean=[0.0, 1.0, 2.0, 3.0], std=[1.0, 1.0, 1.0, 2.0], **options)(
        clips
    )
    torch.testing.assert_close(scalar, (plain + 20.0) / 4.0)
    torch.testing.assert_close(rows[:, :, 3], (plain[:, :, 3] - 3.0) / 2.0)


# Batches


def test_a_loud_clip_does_not_change_its_neighbour() -> None:
    quiet, loud = 0.03 * wave(0.5, 16_000), wave(0.5, 16_000, seed=1)
    quiet[4000:] = 0.0
    front_end = MelSpectrogram(sample_rate_hz=16_000, n_mels=40, top_db=80.0)
    together = front_end(batch(quiet, loud))[0, 0].numpy()
    power = librosa.feature.melspectrogram(y=quiet, sr=16_000, n_fft=1024, hop_length=512, n_mels=40)
    np.testing.assert_allclose(together, librosa.power_to_db(power, top_db=80.0), atol=PARITY_DB, rtol=0)
    assert together.min() == pytest.approx(together.max() - 80.0, abs=1e-4)


@pytest.mark.parametrize("build", FRONT_ENDS)
def test_batch_of_two_equals_two_batches_of_one(build: type[Spectrogram]) -> None:
    clips = batch(wave(0.7, 16_000), wave(0.7, 16_000, seed=1))
    front_end = build(sample_rate_hz=16_000, top_db=80.0, normalize="per_clip")
    apart = torch.cat([front_end(clips[:1]), front_end(clips[1:])])
    torch.testing.assert_close(front_end(clips), apart, atol=1e-5, rtol=0)


def test_work_in_blocks_equals_work_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = batch(wave(1.0, 16_000), wave(1.0, 16_000, seed=1), wave(1.0, 16_000, seed=2))
    front_end = MelSpectrogram(sample_rate_hz=16_000, n_fft=512, hop=100, n_mels=40)
    whole = front_end(clips)
    for samples in (512, 512 * 50, 512 * 200):  # one frame, part of a clip, one clip and a bit
        monkeypatch.setattr("tessera.audio.features.spectrogram._BLOCK_SAMPLES", samples)
        torch.testing.assert_close(front_end(clips), whole, atol=1e-4, rtol=0)


# Awkward input


@pytest.mark.parametrize("normalize", ["none", "per_clip"])
@pytest.mark.parametrize("n_samples", [1, 2, 700, 4000])
@pytest.mark.parametrize("build", FRONT_ENDS)
def test_silence_of_any_length_is_finite(build: type[Spectrogram], n_samples: int, normalize: Any) -> None:
    front_end = build(sample_rate_hz=8000, top_db=80.0, normalize=normalize)
    pictures = front_end(torch.zeros(2, 1, n_samples))
    assert pictures.shape[-1] == front_end.frames(n_samples) == 1 + n_samples // 512
    assert pictures.isfinite().all()
    if normalize == "per_clip" and build is not MFCC:
        torch.testing.assert_close(pictures, torch.zeros_like(pictures), atol=1e-3, rtol=0)


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("normalize", ["none", "per_clip"])
@pytest.mark.parametrize("build", FRONT_ENDS)
def test_gradients_are_finite_on_silence(build: type[Spectrogram], normalize: Any, power: float) -> None:
    clip = torch.zeros(2, 1, 4000, requires_grad=True)
    build(sample_rate_hz=8000, top_db=80.0, normalize=normalize, power=power)(clip).sum().backward()
    assert clip.grad is not None
    assert clip.grad.isfinite().all()


def test_gradient_equals_the_difference_quotient() -> None:
    front_end = MelSpectrogram(
        sample_rate_hz=8000, n_fft=16, hop=5, n_mels=3, top_db=80.0, normalize="per_clip"
    )
    clip = torch.randn(2, 1, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(front_end.double(), clip.requires_grad_())


@pytest.mark.parametrize(
    ("options", "n_samples", "least"),
    [({}, 0, 1), ({"pad_mode": "reflect"}, 512, 513), ({"center": False}, 1023, 1024)],
)
def test_too_short_a_clip_says_how_long_it_must_be(
    options: dict[str, Any], n_samples: int, least: int
) -> None:
    front_end = MelSpectrogram(sample_rate_hz=22_050, n_mels=40, **options)
    assert front_end.least_samples == least
    with pytest.raises(DataError, match=f"at least {least}"):
        front_end(torch.zeros(1, 1, n_samples))
    assert front_end(torch.zeros(1, 1, least)).shape == (
        1,
        1,
        40,
        1 + (0 if "center" in options else least // 512),
    )


def test_two_channels_are_refused() -> None:
    with pytest.raises(DataError, match="one channel"):
        Spectrogram(sample_rate_hz=8000)(torch.zeros(1, 2, 4000))


@pytest.mark.parametrize(
    "build",
    [
        lambda: MelSpectrogram(sample_rate_hz=8000, f_max_hz=5000.0),
        lambda: MelSpectrogram(sample_rate_hz=8000, f_min_hz=4000.0),
        lambda: MFCC(sample_rate_hz=8000, n_mels=20, n_mfcc=21),
        lambda: Spectrogram(sample_rate_hz=8000, power=3.0),
        lambda: Spectrogram(sample_rate_hz=8000, amin=0.0),
        lambda: Spectrogram(sample_rate_hz=8000, normalize="fixed", std=0.0),
        lambda: Spectrogram(sample_rate_hz=8000).bfloat16()(torch.zeros(1, 1, 4000)),
    ],
)
def test_impossible_settings_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        build()


def test_autocast_does_not_touch_the_features() -> None:
    clip = batch(wave(0.3, 16_000))
    front_end = MFCC(sample_rate_hz=16_000, n_mels=40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = front_end(clip)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, front_end(clip), atol=0, rtol=0)


# State and export


def test_state_dict_carries_bank_window_and_transform() -> None:
    options: dict[str, Any] = {"sample_rate_hz": 16_000, "n_mels": 40, "normalize": "fixed"}
    written = MFCC(mean=-20.0, std=3.0, f_max_hz=4000.0, window="hamming", **options)
    read = MFCC(**options)
    assert set(written.state_dict()) == {"window", "filter_bank", "dct", "mean", "std"}
    read.load_state_dict(written.state_dict())
    clip = batch(wave(0.3, 16_000))
    torch.testing.assert_close(read(clip), written(clip), atol=0, rtol=0)


def test_exported_mel_spectrogram_takes_any_batch() -> None:
    front_end = MelSpectrogram(sample_rate_hz=16_000, n_mels=40, top_db=80.0, normalize="per_clip").eval()
    clips = batch(*(wave(0.5, 16_000, seed) for seed in range(5)))
    shapes = {"waveform": {0: torch.export.Dim("batch", min=1, max=64)}}
    exported = torch.export.export(front_end, (clips[:2],), dynamic_shapes=shapes).module()
    torch.testing.assert_close(exported(clips), front_end(clips), atol=1e-5, rtol=0)
