"""The time axis of a recording, in integer samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.core.data.geometry import Geometry, Region


@dataclass(frozen=True)
class TimeAxis(Geometry):
    """Samples in time.

    Args:
        rate_hz: Samples a second of this grid.
        n_samples: Length.
        origin: Place of the first sample on the source's grid, in source samples.
        step: Source samples per sample of this grid.
    """

    rate_hz: float
    n_samples: int
    origin: float = 0.0
    step: float = 1.0

    @property
    def shape(self) -> tuple[int]:
        """(n_samples,)."""
        return (self.n_samples,)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.rate_hz

    def crop(self, region: Region) -> TimeAxis:
        """The axis of that span of samples."""
        (start,), (stop,) = region.start, region.stop
        return TimeAxis(self.rate_hz, stop - start, self.origin + start * self.step, self.step)

    def resample(self, shape: tuple[int, ...]) -> TimeAxis:
        """The axis of ``shape`` samples over the same duration."""
        (n,) = shape
        factor = self.n_samples / n
        return TimeAxis(self.rate_hz / factor, n, self.origin, self.step * factor)

    def invert(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map sample positions (N, 1) of this grid to the source's samples."""
        return self.origin + np.asarray(points, dtype=np.float64) * self.step
