"""The mel scales, the filter bank and the cosine transform against librosa, scipy and known values."""

from __future__ import annotations

import warnings
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.fft
from hypothesis import given
from hypothesis import strategies as st

from tessera.audio.features import dct_matrix, hz_to_mel, mel_filter_bank, mel_to_hz


def test_one_kilohertz_is_fifteen_slaney_mels_and_999_986_htk_mels() -> None:
    assert hz_to_mel(1000.0) == pytest.approx(15.0, abs=1e-12)
    assert hz_to_mel(1000.0, "htk") == pytest.approx(999.986, abs=5e-4)
    assert hz_to_mel(6400.0) == pytest.approx(42.0, abs=1e-12)  # 27 mels a factor of 6.4


@given(frequency_hz=st.floats(0.0, 96_000.0), scale=st.sampled_from(["slaney", "htk"]))
def test_mel_scale_there_and_back(frequency_hz: float, scale: Any) -> None:
    assert mel_to_hz(hz_to_mel(frequency_hz, scale), scale) == pytest.approx(frequency_hz, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", None])
@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels", "f_min_hz", "f_max_hz"),
    [(22_050, 1024, 128, 0.0, None), (44_100, 2048, 60, 0.0, 22_050.0), (32_000, 1024, 64, 50.0, 14_000.0)],
)
def test_filter_bank_equals_librosa(
    rate: int, n_fft: int, n_mels: int, f_min_hz: float, f_max_hz: float | None, norm: Any, scale: Any
) -> None:
    found = mel_filter_bank(
        sample_rate_hz=rate,
        n_fft=n_fft,
        n_mels=n_mels,
        f_min_hz=f_min_hz,
        f_max_hz=f_max_hz,
        mel_scale=scale,
        mel_norm=norm,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = librosa.filters.mel(
            sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=f_min_hz, fmax=f_max_hz, htk=scale == "htk", norm=norm
        )
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


def test_filter_bank_peaks_are_those_of_the_notes() -> None:
    slaney = mel_filter_bank(sample_rate_hz=22_050, n_fft=1024, n_mels=128)
    htk = mel_filter_bank(sample_rate_hz=22_050, n_fft=1024, n_mels=128, mel_scale="htk", mel_norm=None)
    assert slaney.max() == pytest.approx(0.0384, abs=5e-5)
    assert htk.max() == pytest.approx(0.9993, abs=5e-5)


def test_empty_mel_bands_are_announced(caplog: pytest.LogCaptureFixture) -> None:
    bank = mel_filter_bank(sample_rate_hz=44_100, n_fft=256, n_mels=128)
    empty = int((bank.max(axis=1) == 0).sum())
    assert empty > 0
    assert f"{empty} of 128 mel bands" in caplog.text


def test_cosine_transform_equals_scipy() -> None:
    levels = np.random.default_rng(0).normal(size=(40, 7))
    expected = scipy.fft.dct(levels, axis=0, type=2, norm="ortho")[:13]
    np.testing.assert_allclose(dct_matrix(13, 40) @ levels, expected, atol=1e-12)
