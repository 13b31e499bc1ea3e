"""Dry sound sources from elementary acoustics: calls, impulses, tones, chirps and noise bursts.

Each function turns named physical parameters into a waveform; ``draws`` chooses the parameters. The generator
gives only what no parameter describes: phases, mode amplitudes, the noise itself.

Units: frequency in Hz, time in s, levels in dB, phases in rad. Waveforms are float64 of shape (T,), without a
fixed level (the scene sets it), and sound from their first sample to their last.

Sources:
    Struck bodies as sums of damped modes: Fletcher and Rossing, *The Physics of Musical Instruments* (2nd
    ed., 1998), chapter 1. Exponential sweep: Farina, AES 108th Convention (2000), preprint 5093.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tessera.core.errors import ConfigError

Waveform = NDArray[np.float64]

RAMP_S = 0.005
"""Raised-cosine edge of a sustained source: short against a syllable, long enough not to click."""

TOP_OF_BAND = 0.45
"""Highest frequency rendered, in units of the sample rate: a tenth below Nyquist."""

DECAY_60_DB = float(np.log(1000.0))
"""exp(-DECAY_60_DB) is an amplitude ratio of 1/1000, which is 60 dB."""


def call(
    rng: np.random.Generator,
    *,
    sample_rate_hz: int,
    duration_s: float,
    f0_hz: float,
    sweep: float,
    vibrato_depth: float,
    vibrato_rate_hz: float,
    harmonics: int,
    rolloff_db_per_octave: float,
    syllables: int,
    duty: float,
) -> Waveform:
    """Animal call: equal syllables of a frequency-modulated harmonic stack, silent between them, (T,).

    Inside a syllable of length S the fundamental runs through
    ``f0 * (1 + sweep * (t / S - 1/2) + vibrato_depth * sin(2 pi vibrato_rate t))``.

    Args:
        rng: Phases of the harmonics.
        sample_rate_hz: Samples a second.
        duration_s: First to last sounding sample.
        f0_hz: Mean fundamental.
        sweep: Rise (or fall, if negative) of the fundamental over a syllable, as a fraction of ``f0_hz``.
        vibrato_depth: Amplitude of the sinusoidal modulation, as a fraction of ``f0_hz``.
        vibrato_rate_hz: Rate of that modulation.
        harmonics: Partials, the fundamental included; those above the band are left out.
        rolloff_db_per_octave: Fall of the partials' level with frequency.
        syllables: Number of syllables.
        duty: Sounding part of a syllable's period, above 0 and up to 1.
    """
    total = _samples(duration_s, sample_rate_hz)
    # The pause after the last syllable is not part of the call: N syllables take N - 1 + duty periods.
    period = total / (syllables - 1 + duty)
    length = min(total, max(1, round(duty * period)))
    t = (np.arange(length) + 0.5) / sample_rate_hz
    progress = (np.arange(length) + 0.5) / length
    modulation = sweep * (progress - 0.5) + vibrato_depth * np.sin(2 * np.pi * vibrato_rate_hz * t)
    phase = _phase(f0_hz * (1 + modulation), sample_rate_hz)
    limit_hz = TOP_OF_BAND * sample_rate_hz / (1 + abs(sweep) / 2 + abs(vibrato_depth))
    syllable = _stack(rng, phase, f0_hz, harmonics, rolloff_db_per_octave, limit_hz=limit_hz)
    syllable *= np.sin(np.pi * progress)
    out = np.zeros(total)
    for start in np.round(np.linspace(0, total - length, syllables)).astype(int):
        out[start : start + length] += syllable
    return out


def impulse(
    rng: np.random.Generator,
    *,
    sample_rate_hz: int,
    duration_s: float,
    resonances_hz: Sequence[float],
    decays_s: Sequence[float],
    strikes: int,
) -> Waveform:
    """Click or knock: equally spaced strikes of a body whose modes ring and decay exponentially, (T,).

    Args:
        rng: Amplitudes and phases of the modes, one draw for all strikes of the same body.
        sample_rate_hz: Samples a second.
        duration_s: First strike to the end of the last one's ringing, which is cut there.
        resonances_hz: Frequency of each mode.
        decays_s: Time in which each mode falls by 60 dB.
        strikes: Number of strikes, ``duration_s / strikes`` apart.
    """
    total = _samples(duration_s, sample_rate_hz)
    t = np.arange(total) / sample_rate_hz
    body = np.zeros(total)
    for frequency_hz, decay_s in zip(resonances_hz, decays_s, strict=True):
        amplitude, phase = rng.uniform(0.3, 1.0), rng.uniform(0, 2 * np.pi)
        body += amplitude * np.exp(-DECAY_60_DB * t / decay_s) * np.cos(2 * np.pi * frequency_hz * t + phase)
    out = np.zeros(total)
    for strike in range(strikes):
        start = strike * total // strikes
        out[start:] += body[: total - start]
    return out


def tone(
    rng: np.random.Generator,
    *,
    sample_rate_hz: int,
    duration_s: float,
    f0_hz: float,
    harmonics: int,
    rolloff_db_per_octave: float,
) -> Waveform:
    """Steady harmonic hum, such as a motor's or a transformer's, with soft edges, (T,).

    Args:
        rng: Phases of the harmonics.
        sample_rate_hz: Samples a second.
        duration_s: Length.
        f0_hz: Fundamental.
        harmonics: Partials, the fundamental included; those above the band are left out.
        rolloff_db_per_octave: Fall of the partials' level with frequency.
    """
    phase = _phase(np.full(_samples(duration_s, sample_rate_hz), f0_hz), sample_rate_hz)
    limit_hz = TOP_OF_BAND * sample_rate_hz
    stack = _stack(rng, phase, f0_hz, harmonics, rolloff_db_per_octave, limit_hz=limit_hz)
    return stack * _edges(phase.size, sample_rate_hz)


def chirp(
    rng: np.random.Generator,
    *,
    sample_rate_hz: int,
    duration_s: float,
    start_hz: float,
    end_hz: float,
    shape: Literal["linear", "exponential"],
) -> Waveform:
    """Sine sweep of one partial from ``start_hz`` to ``end_hz``, up or down, with soft edges, (T,).

    Args:
        rng: Starting phase.
        sample_rate_hz: Samples a second.
        duration_s: Length.
        start_hz: Instantaneous frequency at the first sample.
        end_hz: Instantaneous frequency at the end.
        shape: Equal steps in Hz, or equal ratios, in equal times.
    """
    total = _samples(duration_s, sample_rate_hz)
    progress = (np.arange(total) + 0.5) / total
    if shape == "linear":
        frequency_hz = start_hz + (end_hz - start_hz) * progress
    else:
        frequency_hz = start_hz * (end_hz / start_hz) ** progress
    phase = _phase(frequency_hz, sample_rate_hz) + rng.uniform(0, 2 * np.pi)
    return np.cos(phase) * _edges(total, sample_rate_hz)


def noise(
    rng: np.random.Generator, *, sample_rate_hz: int, duration_s: float, low_hz: float, high_hz: float
) -> Waveform:
    """Burst of Gaussian noise, flat between two frequencies and zero outside, with soft edges, (T,).

    Args:
        rng: The noise.
        sample_rate_hz: Samples a second.
        duration_s: Length.
        low_hz: Lower edge of the band.
        high_hz: Upper edge of the band.
    """
    total = _samples(duration_s, sample_rate_hz)
    spectrum = np.fft.rfft(rng.standard_normal(total))
    frequency_hz = np.fft.rfftfreq(total, 1 / sample_rate_hz)
    in_band = (frequency_hz >= low_hz) & (frequency_hz <= high_hz)
    if not in_band.any():
        raise ConfigError(
            "this noise burst is silent",
            found=f"no frequency between {low_hz} and {high_hz} Hz in {duration_s} s at {sample_rate_hz} Hz",
            hint="widen the band, lengthen the burst or raise the sample rate",
        )
    spectrum[~in_band] = 0
    return np.fft.irfft(spectrum, total) * _edges(total, sample_rate_hz)


def _samples(duration_s: float, sample_rate_hz: int) -> int:
    return max(1, round(duration_s * sample_rate_hz))


def _phase(frequency_hz: Waveform, sample_rate_hz: int) -> Waveform:
    """Integral of an instantaneous frequency given at the middle of each sample, in rad, 0 at the start."""
    return 2 * np.pi * (np.cumsum(frequency_hz) - frequency_hz / 2) / sample_rate_hz


def _stack(
    rng: np.random.Generator,
    phase: Waveform,
    f0_hz: float,
    harmonics: int,
    rolloff_db_per_octave: float,
    *,
    limit_hz: float,
) -> Waveform:
    """Sum of the partials of a fundamental's phase (T,); those above ``limit_hz`` are left out."""
    out = np.zeros_like(phase)
    for partial in range(1, harmonics + 1):
        if partial > 1 and partial * f0_hz > limit_hz:
            break
        level_db = -rolloff_db_per_octave * np.log2(partial)
        out += 10 ** (level_db / 20) * np.cos(partial * phase + rng.uniform(0, 2 * np.pi))
    return out


def _edges(total: int, sample_rate_hz: int) -> Waveform:
    """Raised-cosine fade in and out over ``RAMP_S``, never exactly zero, (T,)."""
    ramp = min(RAMP_S * sample_rate_hz, total / 2)
    nearest = np.minimum(np.arange(total) + 0.5, total - np.arange(total) - 0.5)
    return np.sin(np.pi / 2 * np.minimum(nearest / ramp, 1.0)) ** 2
