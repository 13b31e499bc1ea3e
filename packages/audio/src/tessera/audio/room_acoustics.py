"""Parameters of a room from its impulse response, after ISO 3382-1:2009.

Decay curves by backward integration (Schroeder, J. Acoust. Soc. Am. 37 (1965), 409). Where the decay ends in
noise, its level and the point where the decay drowns in it are found by iteration (Lundeby et al., Acustica
81 (1995), 344); its energy is subtracted, the integral begins at that point, and the energy that the decay
would have had beyond it is added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tessera.core.errors import DataError

Array = npt.NDArray[np.float64]

ONSET_DB = -26.0  # re the peak (5 %); ISO 3382-1 asks for more than 20 dB below it
MARGIN_DB = 10.0  # how far below the range of a fit the decay is followed before it meets noise; ISO 3382-1
LEAST_FIT_DB = 10.0  # of a range that the direct sound's step must leave to the decay, else it is not told
LEAST_SAMPLES = 64
_BLOCK_S = 0.01  # of the first look at the decay; Lundeby: 10 to 50 ms
_BLOCKS_PER_10_DB = 5  # afterwards; Lundeby: 3 to 10
_LATE_RANGE_DB = 20.0  # over which the late decay is fitted; Lundeby: 10 to 20
_ROUNDS = 5
_TAIL = 0.1  # share of the response whose mean is the first guess of the noise
_EXPLAINED_DB = 3.0  # the decay is all there is at the end where it is no further under what is measured


@dataclass(frozen=True, kw_only=True)
class RoomAcoustics:
    """What an impulse response says; NaN where it cannot tell.

    That is where the decay drowns in noise too early, and where the direct sound is so strong that its end
    takes up most of the range of a fit.

    Args:
        t20_s: Reverberation time from the decay between -5 and -25 dB, for 60 dB.
        t30_s: The same between -5 and -35 dB.
        edt_s: Early decay time, from 0 to -10 dB, for 60 dB.
        c50_db: Energy of the first 50 ms over that after them.
        c80_db: Energy of the first 80 ms over that after them.
        range_db: From the direct sound's level down to the noise, in blocks of 10 ms.
    """

    t20_s: float
    t30_s: float
    edt_s: float
    c50_db: float
    c80_db: float
    range_db: float


class DecayCurve(NamedTuple):
    """Energy still to come, in dB re all of it.

    Args:
        level_db: (N,), one a sample, 0 at the onset; it ends where the decay meets noise.
        range_db: From the mean energy of the first 10 ms down to the noise's.
    """

    level_db: Array
    range_db: float


def room_acoustics(response: npt.ArrayLike, sample_rate_hz: float) -> RoomAcoustics:
    """Parameters of an impulse response (T,) of one source and one microphone, over its whole band."""
    curve = decay_curve(response, sample_rate_hz)
    return RoomAcoustics(
        t20_s=_decay_time(curve, sample_rate_hz, from_db=-5.0, to_db=-25.0),
        t30_s=_decay_time(curve, sample_rate_hz, from_db=-5.0, to_db=-35.0),
        edt_s=_decay_time(curve, sample_rate_hz, from_db=0.0, to_db=-10.0),
        c50_db=_clarity(curve, sample_rate_hz, early_s=0.05),
        c80_db=_clarity(curve, sample_rate_hz, early_s=0.08),
        range_db=curve.range_db,
    )


def decay_curve(response: npt.ArrayLike, sample_rate_hz: float) -> DecayCurve:
    """The decay curve of an impulse response (T,) from its onset on, without the noise it ends in."""
    energy = _energy(response)
    noise, knee, rate = _noise(energy, sample_rate_hz)
    block = max(1, round(_BLOCK_S * sample_rate_hz))
    range_db = _db(float(energy[:block].mean()) / noise) if noise > 0 else math.inf
    if knee == 0:
        return DecayCurve(np.zeros(1), range_db)
    beyond = 0.0  # of the decay after the knee: an exponential's integral
    if rate > 0:
        near = slice(max(0, knee - max(1, round(1 / rate))), knee)
        beyond = max(0.0, float(np.mean(energy[near] - noise))) / (math.e - 1) / rate
    to_come = np.cumsum((energy[:knee] - noise)[::-1])[::-1] + beyond
    to_come = np.maximum(np.minimum.accumulate(to_come), np.finfo(np.float64).tiny)
    return DecayCurve(10 * np.log10(to_come / to_come[0]), range_db)


def _energy(response: npt.ArrayLike) -> Array:
    """Squared samples from the onset on, the largest 1."""
    sound = np.asarray(response, dtype=np.float64)
    if sound.ndim != 1 or len(sound) < LEAST_SAMPLES:
        raise DataError(
            "this is no impulse response of one channel",
            found=f"samples of shape {sound.shape}",
            expected=f"(T,) with T of {LEAST_SAMPLES} or more",
        )
    if not np.isfinite(sound).all() or not sound.any():
        raise DataError("the impulse response is silent or holds values that are not numbers")
    energy = np.square(sound / np.abs(sound).max())
    onset = int(np.argmax(energy >= 10 ** (ONSET_DB / 10)))
    if len(energy) - onset < LEAST_SAMPLES:
        raise DataError(
            "the impulse response has its peak at the end",
            found=f"the onset at sample {onset} of {len(energy)}",
            hint="is it played backwards, or cut off?",
        )
    return energy[onset:]


def _noise(energy: Array, sample_rate_hz: float) -> tuple[float, int, float]:
    """Noise energy a sample, where the decay drowns in it, and the late decay's rate (1 / samples)."""
    last = max(1, round(_TAIL * len(energy)))
    noise, knee = float(energy[-last:].mean()), len(energy)
    block = min(max(1, round(_BLOCK_S * sample_rate_hz)), len(energy) // 8)
    line = _line(energy, block, lowest=10 * noise, highest=math.inf)
    if noise <= 0:  # digital silence after the response
        return 0.0, knee, 0.0
    if line is None:  # nothing stands out of the noise
        return noise, 0, 0.0
    level, slope = line  # dB at the onset, dB a sample
    if level + slope * (len(energy) - last / 2) > _db(noise) - _EXPLAINED_DB:
        return 0.0, knee, -slope * math.log(10) / 10
    for _ in range(_ROUNDS):
        knee = min(max(1, round((_db(noise) - level) / slope)), len(energy))
        start = min(round(knee - MARGIN_DB / slope), len(energy) - last)
        noise = float(energy[start:].mean())
        block = min(max(1, round(-10.0 / slope / _BLOCKS_PER_10_DB)), len(energy) // 8)
        lowest = noise * 10 ** (MARGIN_DB / 20)
        line = _line(energy, block, lowest=lowest, highest=lowest * 10 ** (_LATE_RANGE_DB / 10))
        if line is None:
            break
        level, slope = line
    return noise, knee, -slope * math.log(10) / 10


def _line(energy: Array, block: int, *, lowest: float, highest: float) -> tuple[float, float] | None:
    """Straight line (dB at the onset, dB a sample) through the decay of block means between two energies."""
    means = energy[: len(energy) // block * block].reshape(-1, block).mean(axis=1)
    heard, loud = np.flatnonzero(means >= lowest), np.flatnonzero(means > highest)
    stop = int(heard[-1]) + 1 if len(heard) else 0  # the last: a gap may follow the direct sound
    start = int(loud[-1]) if len(loud) else 0
    blocks = start + np.flatnonzero(means[start:stop])
    if len(blocks) < 2:
        return None
    slope, level = np.polyfit((blocks + 0.5) * block, 10 * np.log10(means[blocks]), 1)
    return (float(level), float(slope)) if slope < 0 else None


def _decay_time(curve: DecayCurve, sample_rate_hz: float, *, from_db: float, to_db: float) -> float:
    """Seconds for 60 dB on the line of least squares through a range of the decay curve."""
    level = curve.level_db
    start, stop = int(np.argmax(level <= from_db)), int(np.argmax(level <= to_db))
    followed = level[-1] <= to_db - MARGIN_DB
    if not followed or stop - start < 2 or level[start] < to_db + min(LEAST_FIT_DB, (from_db - to_db) / 2):
        return math.nan
    slope = float(np.polyfit(np.arange(start, stop + 1) / sample_rate_hz, level[start : stop + 1], 1)[0])
    return -60.0 / slope


def _clarity(curve: DecayCurve, sample_rate_hz: float, *, early_s: float) -> float:
    """Early over late energy in dB; NaN where the noise hides the late one."""
    place = round(early_s * sample_rate_hz)
    if place >= len(curve.level_db):
        return math.nan
    late = 10 ** (float(curve.level_db[place]) / 10)
    return _db((1 - late) / late) if late < 1 else -math.inf


def _db(ratio: float) -> float:
    return 10 * math.log10(ratio) if ratio > 0 else -math.inf
