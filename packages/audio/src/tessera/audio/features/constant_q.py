"""Constant-Q transform: kernels of equally many periods, equally spaced on the scale of musical pitch.

Brown and Puckette, "An efficient algorithm for the calculation of a constant Q transform", JASA 92, 1992.
Quality and gain follow librosa's `cqt` with its defaults, which decimates octave by octave instead.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Unpack

import numpy as np

from tessera.audio.bands import constant_q_samples, octave_hz, quality
from tessera.audio.features.filter_bank import Array, ComplexArray, FilterBank, FilterBankOptions, Kernel


class ConstantQ(FilterBank):
    """Constant-Q spectrogram in dB: (B, 1, T) waveform -> (B, 1, n_bins, frames).

    A sine of amplitude A at a bin's centre has the magnitude A sqrt(N) / 2, N the samples of the kernel;
    white noise reads the same in all bins.

    Args:
        f_min_hz: Centre of the lowest bin.
        n_bins: Number of bins.
        bins_per_octave: Bins from a frequency to its double.
        filter_scale: Length of the kernels over that at which neighbours just resolve.
        options: Those of `FilterBank`.
    """

    def __init__(
        self,
        *,
        f_min_hz: float = 32.7032,
        n_bins: int = 84,
        bins_per_octave: int = 12,
        filter_scale: float = 1.0,
        **options: Unpack[FilterBankOptions],
    ) -> None:
        sample_rate_hz = options["sample_rate_hz"]
        centres_hz = octave_hz(f_min_hz, n_bins=n_bins, bins_per_octave=bins_per_octave)
        sharpness = filter_scale * quality(bins_per_octave)
        kernels = [_kernel(f, sample_rate_hz=sample_rate_hz, quality=sharpness) for f in centres_hz]
        super().__init__(kernels, **options)
        self.centres_hz = centres_hz


def _kernel(frequency_hz: float, *, sample_rate_hz: int, quality: float) -> Kernel:
    length = constant_q_samples(frequency_hz, sample_rate_hz=sample_rate_hz, quality=quality)
    turn = 2.0 * math.pi * frequency_hz / sample_rate_hz
    return Kernel(partial(_hann_wave, length=length, turn=turn), -length / 2.0, length / 2.0)


def _hann_wave(times: Array, *, length: float, turn: float) -> ComplexArray:
    """A complex oscillation under a Hann window, with gain sqrt(length) at its own frequency."""
    window = 0.5 + 0.5 * np.cos(2.0 * np.pi * times / length)
    wave: ComplexArray = window * np.exp(1j * turn * times) * (math.sqrt(length) / window.sum())
    return wave
