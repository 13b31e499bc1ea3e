"""Cuts recordings into the network's windows: mono, at the network's rate, with integer sample times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soxr

from tessera.audio.geometry import TimeAxis
from tessera.core.data.case import Source
from tessera.core.data.geometry import Geometry, Region
from tessera.core.errors import ConfigError, DataError
from tessera.core.inference.tiling import window_starts

if TYPE_CHECKING:
    from tessera.audio.config import SoundConfig
    from tessera.core.data.sample import Sample

CONTEXT = 256  # samples of the slower rate read around a window, so that resampling it equals the whole
MIN_SAMPLES = 8  # shorter inputs hold no sound


class SoundWindows:
    """Fixed windows of one channel at the network's sample rate."""

    def __init__(self, config: SoundConfig) -> None:
        data = config.data
        self.rate_hz = data.sample_rate_hz
        self.window_s = Fraction(str(data.window_s))
        self.hop_s = Fraction(str(data.hop_s if data.hop_s is not None else data.window_s))
        self.last = data.last_window
        self.channel = data.channel
        self.standardise = data.standardise
        self._length = round(self.window_s * self.rate_hz)
        if self._length < MIN_SAMPLES or self.hop_s * self.rate_hz < 1:
            raise ConfigError(
                "data.window_s or data.hop_s is too short",
                found=f"{data.window_s:g} s every {float(self.hop_s):g} s at {self.rate_hz} Hz",
                expected=f"windows of {MIN_SAMPLES} samples or more, steps of one or more",
            )

    @property
    def input_shape(self) -> tuple[int, int]:
        """(1, samples of a window at the network's rate)."""
        return (1, self._length)

    def plan(self, grid: Geometry) -> Sequence[Region]:
        """Windows over a recording; a shorter recording is one window, padded when read."""
        axis = _time_axis(grid)
        window = self._source_samples(axis)
        if axis.n_samples <= window:
            return [Region((0,), axis.shape)]
        starts = window_starts(axis.n_samples, window, self.hop_s * Fraction(axis.rate_hz), last=self.last)
        return [Region((start,), (min(start + window, axis.n_samples),)) for start in starts]

    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        """A window at a uniformly random place."""
        axis = _time_axis(grid)
        window = self._source_samples(axis)
        if axis.n_samples <= window:
            return Region((0,), axis.shape)
        start = int(rng.integers(0, axis.n_samples - window + 1))
        return Region((start,), (start + window,))

    def read(self, source: Source, region: Region) -> Sample:
        """One window (1, T): one channel, resampled, standardised before padding, zeros at the end."""
        import torch

        axis = _time_axis(source.grid)
        _check_length(axis, self.rate_hz)
        unit = Fraction(axis.rate_hz) / self.rate_hz  # source samples a network sample
        length = self._length
        if region.shape[0] < self._source_samples(axis):
            length = min(length, math.ceil(region.shape[0] / unit))
        sound = self._sound(source, region.start[0], length)
        still = is_still(sound)
        if self.standardise:
            sound = standardise(sound)
        window = np.zeros(self._length, dtype=np.float32)
        window[: len(sound)] = sound
        origin = axis.origin + region.start[0] * axis.step
        sample: Sample = {
            "input": torch.from_numpy(window[None]),
            "geometry": TimeAxis(self.rate_hz, self._length, origin, axis.step * float(unit)),
            "region": region,
        }
        if still:
            sample["flags"] = ("silent",)
        return sample

    def prepare(self, source: Source) -> tuple[npt.NDArray[np.float32], TimeAxis]:
        """The whole recording (1, T), one channel at the network's rate."""
        axis = _time_axis(source.grid)
        _check_length(axis, self.rate_hz)
        sound = resample(self._mono(source.read()["input"].numpy()), axis.rate_hz, self.rate_hz)
        step = axis.step * axis.rate_hz / self.rate_hz
        return sound[None], TimeAxis(self.rate_hz, len(sound), axis.origin, step)

    def _source_samples(self, axis: TimeAxis) -> int:
        """Samples of a window on the recording's grid, never too few to fill it."""
        return math.ceil(self.window_s * Fraction(axis.rate_hz))

    def _sound(self, source: Source, start: int, length: int) -> npt.NDArray[np.float32]:
        """At most ``length`` samples (T,) at the network's rate, the first at the source's ``start``."""
        axis = _time_axis(source.grid)
        unit = Fraction(axis.rate_hz) / self.rate_hz
        context = 0
        if unit != 1:  # a whole number of samples on both grids, so that the cut is exact
            context = math.ceil(CONTEXT * max(unit, Fraction(1)) / unit.numerator) * unit.numerator
        before = context if start else 0
        first = max(0, start - before)
        stop = min(axis.n_samples, start + math.ceil(length * unit) + context)
        sound = self._mono(source.read(Region((first,), (stop,)))["input"].numpy())
        sound = np.pad(sound, (before - (start - first), 0))  # silence before the recording
        cut = int(before / unit)
        return resample(sound, axis.rate_hz, self.rate_hz)[cut : cut + length]

    def _mono(self, sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self.channel == "mean":
            return sound[0] if len(sound) == 1 else sound.mean(axis=0, dtype=np.float32)
        if self.channel >= len(sound):
            raise DataError(
                "data.channel names a channel the recording does not have",
                found=f"channel {self.channel} of {len(sound)} (the first is 0)",
                hint="set data.channel to mean",
            )
        return sound[self.channel]


def resample(sound: npt.NDArray[np.float32], rate_hz: float, to_hz: float) -> npt.NDArray[np.float32]:
    """Resample (T,) with soxr's high-quality filter."""
    sound = np.ascontiguousarray(sound, dtype=np.float32)
    return sound if rate_hz == to_hz else soxr.resample(sound, rate_hz, to_hz, quality="HQ")


def standardise(sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Zero mean and unit variance (T,); a constant clip becomes zeros."""
    if is_still(sound):
        return np.zeros_like(sound)
    centred = sound - sound.mean(dtype=np.float64)
    return (centred / np.sqrt(np.mean(np.square(centred)))).astype(np.float32)


def is_still(sound: npt.NDArray[np.float32]) -> bool:
    """Whether (T,) is constant up to rounding: below 24 bits, or 120 dB below its own offset."""
    if len(sound) == 0:
        return True
    spread = float(sound.std(dtype=np.float64))
    return spread <= max(1e-8, 1e-6 * float(np.abs(sound).max()))


def _check_length(axis: TimeAxis, rate_hz: float) -> None:
    if axis.n_samples * min(1.0, rate_hz / axis.rate_hz) < MIN_SAMPLES:
        raise DataError(
            "the recording is too short to hear anything in it",
            found=f"{axis.n_samples} samples at {axis.rate_hz:g} Hz ({1000 * axis.duration_s:.3g} ms)",
            expected=f"at least {MIN_SAMPLES} samples, also at the network's {rate_hz:g} Hz",
            hint="leave the file out",
        )


def _time_axis(grid: Geometry) -> TimeAxis:
    if not isinstance(grid, TimeAxis):
        raise TypeError(f"sound needs a TimeAxis, not {type(grid).__name__}")
    return grid
