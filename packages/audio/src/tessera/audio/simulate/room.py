"""Background noise, reverberation and levels: what a room and a microphone add to a dry source.

Units: time in s, levels in dB. Waveforms are float64 of shape (T,).

Sources:
    Coloured noise by shaping the spectrum of Gaussian noise: Timmer and König, Astron. Astrophys. 300 (1995),
    707. Reverberation as exponentially decaying Gaussian noise: Polack's model (thesis, Le Mans, 1988). T60:
    Sabine's time in which the energy falls by 60 dB.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from tessera.audio.simulate.sources import DECAY_60_DB, Waveform

Colour = Literal["white", "pink", "brown"]
COLOURS: tuple[Colour, ...] = get_args(Colour)

SLOPE_DB_PER_DECADE: dict[Colour, float] = {"white": 0.0, "pink": -10.0, "brown": -20.0}
"""Slope of the power spectral density: power falls as f^0, f^-1, f^-2."""

LOWEST_HZ = 50.0
"""Below this the background is empty, as behind a recorder's high-pass; brown noise would be all rumble."""


def coloured_noise(
    rng: np.random.Generator, *, samples: int, sample_rate_hz: int, slope_db_per_decade: float
) -> Waveform:
    """Gaussian noise above ``LOWEST_HZ`` with a straight power spectrum and mean square 1, (samples,)."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency_hz = np.fft.rfftfreq(samples, 1 / sample_rate_hz)
    heard = frequency_hz >= LOWEST_HZ
    spectrum[~heard] = 0
    spectrum[heard] *= 10 ** (slope_db_per_decade / 20 * np.log10(frequency_hz[heard] / LOWEST_HZ))
    out = np.fft.irfft(spectrum, samples)
    return out / np.sqrt(mean_square(out))


def reverberation_tail(rng: np.random.Generator, *, sample_rate_hz: int, t60_s: float) -> Waveform:
    """Echo of a diffuse room without the direct sound: energy 1, cut after 60 dB, (T60 * rate,)."""
    samples = max(1, round(t60_s * sample_rate_hz))
    t = np.arange(samples) / sample_rate_hz
    tail = rng.standard_normal(samples) * np.exp(-DECAY_60_DB * t / t60_s)
    return tail / np.sqrt(np.sum(tail**2))


def add_reverberation(dry: Waveform, tail: Waveform, *, direct_to_reverberant_db: float) -> Waveform:
    """Direct sound (T,) plus its echo one sample later: (T + tail,), the first sample unchanged.

    Args:
        dry: Source (T,).
        tail: Impulse response of energy 1.
        direct_to_reverberant_db: Energy of the direct sound above that of the tail.
    """
    size = dry.size + tail.size - 1
    echo = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(tail, size), size)
    wet = np.zeros(size + 1)
    wet[: dry.size] = dry
    wet[1:] += 10 ** (-direct_to_reverberant_db / 20) * echo
    return wet


def mean_square(waveform: Waveform) -> float:
    """Power of (T,) in squared units of the waveform."""
    return float(np.mean(np.square(waveform)))


def gain_for_snr(active: Waveform, *, noise_power: float, snr_db: float) -> float:
    """Factor that lifts the samples of an event (N,) to ``snr_db`` above noise of the given mean square."""
    return float(np.sqrt(noise_power * 10 ** (snr_db / 10) / mean_square(active)))
