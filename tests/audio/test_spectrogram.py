"""Linear bands, the Gabor window and the normalisation to 0 and 1, against numpy and scipy."""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np
import pytest
import scipy.signal
import torch

from tessera.audio.features import LinearBands, MelSpectrogram, Spectrogram
from tessera.core.errors import ConfigError


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(1, 1, samples, generator=torch.Generator().manual_seed(seed))


def power(front_end: Spectrogram, clip: torch.Tensor) -> torch.Tensor:
    return 10 ** (front_end(clip)[0, 0].double() / 10)


def test_linear_bands_are_means_of_neighbouring_bins() -> None:
    clip = noise(4000)
    options: dict[str, Any] = {"sample_rate_hz": 8000, "n_fft": 190, "hop": 80}
    bins = power(Spectrogram(**options), clip)
    bands = power(LinearBands(n_bands=32, **options), clip)
    torch.testing.assert_close(bands, bins.reshape(32, 3, -1).mean(1), rtol=1e-4, atol=0)


@pytest.mark.parametrize("frequency_hz", [500.0, 2000.0, 3900.0])
def test_a_tone_is_in_the_part_of_the_spectrum_that_holds_it(frequency_hz: float) -> None:
    tone = torch.cos(2 * np.pi * frequency_hz * torch.arange(8000) / 8000).reshape(1, 1, -1)
    bands = LinearBands(sample_rate_hz=8000, n_fft=1024, n_bands=96)(tone)[0, 0, :, 8]
    assert int(bands.argmax()) == int(frequency_hz / 4000 * 96)


@pytest.mark.parametrize("n_bands", [0, 514])
def test_more_bands_than_bins_are_refused(n_bands: int) -> None:
    with pytest.raises(ConfigError, match="too many linear bands"):
        LinearBands(sample_rate_hz=8000, n_bands=n_bands)


def test_the_gauss_window_is_scipys_and_falls_to_one_hundredth() -> None:
    window = Spectrogram(sample_rate_hz=8000, n_fft=200, window="gauss").window.numpy()
    deviation = 100 / np.sqrt(2 * np.log(100))
    expected = scipy.signal.windows.gaussian(200, deviation, sym=False)
    np.testing.assert_allclose(window, expected, atol=1e-6)
    assert window[0] == pytest.approx(0.01)


def test_the_gabor_transform_equals_librosas_with_that_window() -> None:
    clip = noise(8000)
    window = scipy.signal.windows.gaussian(512, 256 / np.sqrt(2 * np.log(100)), sym=False)
    spectrum = librosa.stft(clip[0, 0].numpy(), n_fft=512, hop_length=100, window=window)
    found = power(Spectrogram(sample_rate_hz=8000, n_fft=512, hop=100, window="gauss"), clip)
    expected = np.abs(spectrum) ** 2
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-6 * expected.max())


def test_minmax_gives_each_clip_least_zero_and_greatest_one() -> None:
    clips = torch.cat([noise(8000), 1e-3 * noise(8000, 1), torch.zeros(1, 1, 8000)])
    plain = MelSpectrogram(sample_rate_hz=8000, n_mels=20)(clips)
    scaled = MelSpectrogram(sample_rate_hz=8000, n_mels=20, normalize="per_clip_minmax")(clips)
    torch.testing.assert_close(scaled.amin((1, 2, 3)), torch.zeros(3))
    torch.testing.assert_close(scaled.amax((1, 2, 3)), torch.tensor([1.0, 1.0, 0.0]))
    span = plain[0].max() - plain[0].min()
    torch.testing.assert_close(scaled[0].diff(dim=-1) * span, plain[0].diff(dim=-1), atol=1e-3, rtol=0)
