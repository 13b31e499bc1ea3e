"""Where the bands of the front ends lie, and how long each one listens (no torch).

Gammatone and ERB scale: Glasberg and Moore 1990; Slaney, Apple Technical Report 35 (1993).
"""

from __future__ import annotations

import math

# ERB(f) = 24.7 (4.37 f / 1000 + 1) Hz; the scale counts 21.4 of them a factor of ten.
_ERB_HZ, _ERB_SLOPE, _ERBS_PER_DECADE = 24.7, 4.37e-3, 21.4
# Bandwidth of a gammatone of order 4 in ERB.
_GAMMATONE_BANDWIDTH = 1.019
# 2 pi b t after which a gammatone of order 4 has fallen under 1e-5 of its peak.
_GAMMATONE_TAIL = 20.5
# Standard deviations after which a Gaussian has fallen under 1e-5.
_GAUSSIAN_TAIL = 4.8


def octave_hz(f_min_hz: float, *, n_bins: int, bins_per_octave: int) -> tuple[float, ...]:
    """Frequencies from the lowest upwards, each a constant factor over the last."""
    return tuple(f_min_hz * 2.0 ** (i / bins_per_octave) for i in range(n_bins))


def log_spaced_hz(f_min_hz: float, f_max_hz: float, n_bands: int) -> tuple[float, ...]:
    """Frequencies equally spaced in their logarithm, both ends included."""
    steps = max(1, n_bands - 1)
    return tuple(f_min_hz * (f_max_hz / f_min_hz) ** (i / steps) for i in range(n_bands))


def erb_hz(frequency_hz: float) -> float:
    """Equivalent rectangular bandwidth of the ear at a frequency, in Hz."""
    return _ERB_HZ * (_ERB_SLOPE * frequency_hz + 1.0)


def erb_number(frequency_hz: float) -> float:
    """Place of a frequency on the ERB-rate scale."""
    return _ERBS_PER_DECADE * math.log10(_ERB_SLOPE * frequency_hz + 1.0)


def erb_spaced_hz(f_min_hz: float, f_max_hz: float, n_bands: int) -> tuple[float, ...]:
    """Frequencies equally spaced on the ERB-rate scale, both ends included."""
    low, high = erb_number(f_min_hz), erb_number(f_max_hz)
    steps = max(1, n_bands - 1)
    numbers = (low + (high - low) * i / steps for i in range(n_bands))
    return tuple((10.0 ** (number / _ERBS_PER_DECADE) - 1.0) / _ERB_SLOPE for number in numbers)


def quality(bins_per_octave: int) -> float:
    """Frequency over bandwidth of a constant-Q bin: its neighbours' mean over half their distance."""
    ratio = 2.0 ** (2.0 / bins_per_octave)
    return (ratio + 1.0) / (ratio - 1.0)


def constant_q_samples(frequency_hz: float, *, sample_rate_hz: int, quality: float) -> float:
    """Length of a constant-Q kernel: as many periods as its quality."""
    return quality * sample_rate_hz / frequency_hz


def morlet_scale(frequency_hz: float, *, sample_rate_hz: int, omega: float) -> float:
    """Scale of the Morlet wavelet with its peak at a frequency: its Gaussian's deviation, in samples."""
    return omega * sample_rate_hz / (2.0 * math.pi * frequency_hz)


def morlet_reach(scale: float) -> float:
    """Samples before and after its centre that a Morlet wavelet covers."""
    return _GAUSSIAN_TAIL * scale


def gammatone_decay(frequency_hz: float, *, sample_rate_hz: int) -> float:
    """The rate 2 pi b of a gammatone's envelope t^3 exp(-2 pi b t), per sample."""
    return 2.0 * math.pi * _GAMMATONE_BANDWIDTH * erb_hz(frequency_hz) / sample_rate_hz


def gammatone_samples(frequency_hz: float, *, sample_rate_hz: int) -> float:
    """Samples until a gammatone's response has died away."""
    return _GAMMATONE_TAIL / gammatone_decay(frequency_hz, sample_rate_hz=sample_rate_hz)


def frame_samples(reach: float, frame: int) -> int:
    """Samples that a frame sees, an even number: ``reach`` on each side of those it averages over."""
    return 2 * math.ceil(reach + frame / 2.0)
