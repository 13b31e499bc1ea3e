"""Scalogram: continuous wavelet transform with Morlet wavelets.

Torrence and Compo, "A practical guide to wavelet analysis", Bull. Amer. Meteor. Soc. 79, 1998, table 1.
Rows are placed by the frequency at which the wavelet's spectrum peaks, omega / (2 pi scale).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Unpack

import numpy as np

from tessera.audio.bands import log_spaced_hz, morlet_reach, morlet_scale
from tessera.audio.features.filter_bank import Array, ComplexArray, FilterBank, FilterBankOptions, Kernel


class Scalogram(FilterBank):
    """Squared magnitude of the wavelet transform in dB: (B, 1, T) waveform -> (B, 1, n_bands, frames).

    The wavelets have energy 1 at each scale, so that white noise reads the same in all rows.

    Args:
        n_bands: Number of scales.
        f_min_hz: Frequency of the largest scale.
        f_max_hz: Frequency of the smallest scale; 0.45 times the sample rate when None.
        omega: Radians under the wavelet's Gaussian deviation; from 5 on it has no mean to speak of.
        options: Those of `FilterBank`.
    """

    def __init__(
        self,
        *,
        n_bands: int = 96,
        f_min_hz: float = 50.0,
        f_max_hz: float | None = None,
        omega: float = 6.0,
        **options: Unpack[FilterBankOptions],
    ) -> None:
        sample_rate_hz = options["sample_rate_hz"]
        centres_hz = log_spaced_hz(f_min_hz, f_max_hz or 0.45 * sample_rate_hz, n_bands)
        kernels = [_kernel(f, sample_rate_hz=sample_rate_hz, omega=omega) for f in centres_hz]
        super().__init__(kernels, **options)
        self.centres_hz = centres_hz


def _kernel(frequency_hz: float, *, sample_rate_hz: int, omega: float) -> Kernel:
    scale = morlet_scale(frequency_hz, sample_rate_hz=sample_rate_hz, omega=omega)
    reach = morlet_reach(scale)
    return Kernel(partial(_morlet, scale=scale, omega=omega), -reach, reach)


def _morlet(times: Array, *, scale: float, omega: float) -> ComplexArray:
    """The wavelet at a scale in samples, of energy 1."""
    place = times / scale
    wave: ComplexArray = np.exp(1j * omega * place - place**2 / 2.0) / (math.pi**0.25 * math.sqrt(scale))
    return wave
