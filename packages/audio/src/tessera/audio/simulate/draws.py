"""Classes of sound: the ranges their parameters are drawn from.

The ranges overlap on purpose: a syllable is like a chirp, a ringing body like a tone. Frequencies are in Hz,
drawn uniformly on a logarithmic scale up to 0.4 times the sample rate; times are in s, drawn uniformly up to
``longest_s``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from tessera.audio.simulate.sources import Waveform, call, chirp, impulse, noise, tone

Parameter = float | int | str | tuple[float, ...]
Parameters = dict[str, Parameter]


def draw_call(rng: np.random.Generator, *, sample_rate_hz: int, longest_s: float) -> Parameters:
    """Parameters of a ``call``: two to eight syllables between insect-like chirrs and mammal-like barks."""
    return {
        "duration_s": min(longest_s, rng.uniform(0.5, 2.0)),
        "f0_hz": log_uniform(rng, 400.0, min(3000.0, 0.2 * sample_rate_hz)),
        "sweep": rng.uniform(-0.8, 0.8),
        "vibrato_depth": rng.uniform(0.0, 0.15),
        "vibrato_rate_hz": rng.uniform(5.0, 40.0),
        "harmonics": int(rng.integers(1, 7)),
        "rolloff_db_per_octave": rng.uniform(3.0, 15.0),
        "syllables": int(rng.integers(2, 9)),
        "duty": rng.uniform(0.5, 0.95),
    }


def draw_impulse(rng: np.random.Generator, *, sample_rate_hz: int, longest_s: float) -> Parameters:
    """Parameters of an ``impulse``: one to six strikes of two to five modes that ring out."""
    duration_s = min(longest_s, rng.uniform(0.1, 1.0))
    strikes, modes = int(rng.integers(1, 7)), int(rng.integers(2, 6))
    slot_s = duration_s / strikes
    return {
        "duration_s": duration_s,
        "resonances_hz": tuple(log_uniform(rng, 200.0, 0.4 * sample_rate_hz) for _ in range(modes)),
        "decays_s": tuple(rng.uniform(0.2, 1.0) * slot_s for _ in range(modes)),
        "strikes": strikes,
    }


def draw_tone(rng: np.random.Generator, *, sample_rate_hz: int, longest_s: float) -> Parameters:
    """Parameters of a ``tone``: mains hum to horn, two to ten partials."""
    return {
        "duration_s": min(longest_s, rng.uniform(0.5, 2.4)),
        "f0_hz": log_uniform(rng, 80.0, 1200.0),
        "harmonics": int(rng.integers(2, 11)),
        "rolloff_db_per_octave": rng.uniform(3.0, 15.0),
    }


def draw_chirp(rng: np.random.Generator, *, sample_rate_hz: int, longest_s: float) -> Parameters:
    """Parameters of a ``chirp``: 1 to 3 octaves, up or down, linear or exponential."""
    ratio = 2.0 ** rng.uniform(1.0, 3.0)
    low_hz = log_uniform(rng, 200.0, 0.4 * sample_rate_hz / ratio)
    ends = (low_hz, low_hz * ratio) if rng.random() < 0.5 else (low_hz * ratio, low_hz)
    return {
        "duration_s": min(longest_s, rng.uniform(0.3, 2.0)),
        "start_hz": ends[0],
        "end_hz": ends[1],
        "shape": "linear" if rng.random() < 0.5 else "exponential",
    }


def draw_noise(rng: np.random.Generator, *, sample_rate_hz: int, longest_s: float) -> Parameters:
    """Parameters of a ``noise`` burst: 1 to 3 octaves wide."""
    ratio = 2.0 ** rng.uniform(1.0, 3.0)
    low_hz = log_uniform(rng, 200.0, 0.4 * sample_rate_hz / ratio)
    return {
        "duration_s": min(longest_s, rng.uniform(0.3, 2.0)),
        "low_hz": low_hz,
        "high_hz": low_hz * ratio,
    }


class SourceKind(NamedTuple):
    """A class of sound: how its parameters are drawn and how they become a waveform (T,)."""

    draw: Callable[..., Parameters]
    render: Callable[..., Waveform]


SOURCES: Mapping[str, SourceKind] = {
    "call": SourceKind(draw_call, call),
    "impulse": SourceKind(draw_impulse, impulse),
    "tone": SourceKind(draw_tone, tone),
    "chirp": SourceKind(draw_chirp, chirp),
    "noise": SourceKind(draw_noise, noise),
}
"""Every class of sound by its label."""


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between two positive ones, uniform in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
