"""Mel filter banks and the cosine transform, from their formulas and in numpy.

Written here so that building a network or loading a bundle needs no librosa; librosa is the oracle in the
tests. Scales: Slaney, Auditory Toolbox (1998), linear under 1 kHz; HTK, The HTK Book (2006), equation 5.13.
"""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tessera.core.errors import ConfigError

MelScale = Literal["slaney", "htk"]
MelNorm = Literal["slaney"]
Array = NDArray[np.float64]

_log = logging.getLogger(__name__)

# Slaney's scale: 15 mels of 200/3 Hz up to 1 kHz, then 27 mels for each factor 6.4.
_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0
# HTK's scale.
_HTK_FACTOR, _HTK_BREAK_HZ = 2595.0, 700.0


def hz_to_mel(frequency_hz: Array | float, scale: MelScale = "slaney") -> Array:
    """Mel values of frequencies in hertz."""
    hz = np.asarray(frequency_hz, dtype=np.float64)
    if scale == "htk":
        return _HTK_FACTOR * np.log10(1.0 + hz / _HTK_BREAK_HZ)
    octaves = np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ_PER_MEL, _BREAK_MEL + octaves)


def mel_to_hz(mel: Array | float, scale: MelScale = "slaney") -> Array:
    """Frequencies in hertz of mel values."""
    value = np.asarray(mel, dtype=np.float64)
    if scale == "htk":
        return _HTK_BREAK_HZ * (10.0 ** (value / _HTK_FACTOR) - 1.0)
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(value, _BREAK_MEL) - _BREAK_MEL))
    return np.where(value < _BREAK_MEL, value * _LINEAR_HZ_PER_MEL, above)


def mel_filter_bank(
    *,
    sample_rate_hz: int,
    n_fft: int,
    n_mels: int,
    f_min_hz: float = 0.0,
    f_max_hz: float | None = None,
    mel_scale: MelScale = "slaney",
    mel_norm: MelNorm | None = "slaney",
) -> Array:
    """Triangular filters over the bins of a one-sided spectrum, shape (n_mels, n_fft // 2 + 1).

    Args:
        sample_rate_hz: Sample rate of the waveform.
        n_fft: Length of the Fourier transform in samples.
        n_mels: Number of filters.
        f_min_hz: Lower foot of the first filter.
        f_max_hz: Upper foot of the last filter; half the sample rate when None.
        mel_scale: On which scale the feet are equally spaced.
        mel_norm: "slaney" gives every triangle the area 1 Hz; None gives every triangle the height 1.
    """
    top_hz = sample_rate_hz / 2 if f_max_hz is None else f_max_hz
    if not 0.0 <= f_min_hz < top_hz <= sample_rate_hz / 2:
        raise ConfigError(
            "the mel filters do not fit the sample rate",
            found=f"f_min_hz {f_min_hz:g}, f_max_hz {top_hz:g}",
            expected=f"0 <= f_min_hz < f_max_hz <= {sample_rate_hz / 2:g} (half of {sample_rate_hz} Hz)",
            hint="lower f_max_hz, or leave it out to use half the sample rate",
        )
    ends = hz_to_mel(np.array([f_min_hz, top_hz]), mel_scale)
    feet = mel_to_hz(np.linspace(ends[0], ends[1], n_mels + 2), mel_scale)
    left, peak, right = feet[:-2, None], feet[1:-1, None], feet[2:, None]
    bins = np.arange(n_fft // 2 + 1) * (sample_rate_hz / n_fft)
    rising = (bins - left) / (peak - left)
    falling = (right - bins) / (right - peak)
    bank: Array = np.maximum(0.0, np.minimum(rising, falling))
    empty = int((bank.max(axis=1) == 0.0).sum())
    if empty:
        _log.warning(
            "%d of %d mel bands hold no frequency bin and read silence; use fewer bands or a longer n_fft",
            empty,
            n_mels,
        )
    return bank * (2.0 / (right - left)) if mel_norm == "slaney" else bank


def dct_matrix(n_mfcc: int, n_mels: int) -> Array:
    """Rows of the orthonormal cosine transform (type 2), shape (n_mfcc, n_mels)."""
    if not 1 <= n_mfcc <= n_mels:
        raise ConfigError(
            "too many cepstral coefficients", found=f"n_mfcc {n_mfcc}", expected=f"1 to n_mels ({n_mels})"
        )
    angle = np.pi / n_mels * np.arange(n_mfcc)[:, None] * (np.arange(n_mels) + 0.5)
    matrix: Array = np.sqrt(2.0 / n_mels) * np.cos(angle)
    matrix[0] /= np.sqrt(2.0)
    return matrix
