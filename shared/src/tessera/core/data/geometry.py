"""Where an array's elements lie: the base class, plain pixels, and integer regions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, order=True)
class Region:
    """A box of integers on a source's grid, ``start`` included and ``stop`` excluded, one pair an axis."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.start) != len(self.stop) or any(
            b < a for a, b in zip(self.start, self.stop, strict=False)
        ):
            raise ValueError(f"not a region: start {self.start}, stop {self.stop}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))


@dataclass(frozen=True)
class Placement:
    """How a grid lies along the axes of its source, in centres of elements.

    The centre of element ``i`` of axis ``a`` lies at ``offset[a] + scale[a] * i`` on the source's axis
    ``axes[a]``, where whole numbers are the centres of the source's elements. A grid that is reversed along
    an axis has a negative scale there.
    """

    axes: tuple[int, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]


class Geometry(ABC):
    """A grid and its place in its source; it travels with the tensor and is never dropped."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Size along each spatial axis, in elements."""

    @abstractmethod
    def crop(self, region: Region) -> Self:
        """The grid of that region of this grid."""

    @abstractmethod
    def resample(self, shape: tuple[int, ...]) -> Self:
        """The grid of ``shape`` elements that covers the same extent."""

    @abstractmethod
    def invert(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map points (N, d), in elements of this grid, to elements of the source's grid."""

    def placement(self) -> Placement:
        """This grid along the axes of its source; raises where it lies askew, or its kind does not say."""
        raise TypeError(f"{type(self).__name__} does not say how it lies on its source's grid")


@dataclass(frozen=True)
class Pixels(Geometry):
    """A plain grid without physical units.

    Args:
        size: Size along each axis.
        origin: Place of this grid's first edge on the source's grid.
        step: Source elements per element of this grid.
    """

    size: tuple[int, ...]
    origin: tuple[float, ...] = ()
    step: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", self.origin or (0.0,) * len(self.size))
        object.__setattr__(self, "step", self.step or (1.0,) * len(self.size))
        if not len(self.size) == len(self.origin) == len(self.step) or min(self.step, default=1.0) <= 0:
            raise ValueError(f"not a grid: size {self.size}, origin {self.origin}, step {self.step}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return self.size

    def crop(self, region: Region) -> Pixels:
        """The grid of that region."""
        origin = tuple(o + a * s for o, a, s in zip(self.origin, region.start, self.step, strict=True))
        return Pixels(region.shape, origin, self.step)

    def resample(self, shape: tuple[int, ...]) -> Pixels:
        """The grid of ``shape`` elements over the same extent."""
        if min(shape, default=1) < 1:
            raise ValueError(f"cannot resample to {shape}: give at least one element an axis")
        step = tuple(s * old / new for s, old, new in zip(self.step, self.size, shape, strict=True))
        return Pixels(tuple(shape), self.origin, step)

    def invert(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map edge coordinates (N, d) to the source's grid."""
        return np.asarray(self.origin) + np.asarray(points, dtype=np.float64) * np.asarray(self.step)

    def placement(self) -> Placement:
        """This grid along the axes of its source."""
        offset = tuple(o + (s - 1) / 2 for o, s in zip(self.origin, self.step, strict=True))
        return Placement(tuple(range(len(self.size))), self.step, offset)
