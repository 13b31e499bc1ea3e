"""Images of the sky and maps of density as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from tessera.astronomy.preprocessing import NO_OBJECT, prepare
from tessera.core.data.case import Source
from tessera.core.data.geometry import Geometry, Region
from tessera.core.errors import DataError
from tessera.core.inference.tiling import window_starts

if TYPE_CHECKING:
    from tessera.astronomy.config import DensityConfig, SkyConfig
    from tessera.core.data.sample import Sample

Image = npt.NDArray[np.float32]


class SkyWindows:
    """One window a case: the prepared image, cut to one size around its centre or padded with zeros."""

    cuts_prepared: Literal[True] = True

    def __init__(self, config: SkyConfig) -> None:
        self.data = config.data

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, H, W)."""
        return (self.data.n_channels, self.data.size_px, self.data.size_px)

    def plan(self, grid: Geometry) -> Sequence[Region]:
        """The prepared image."""
        return [Region((0, 0), (grid.shape[0], grid.shape[1]))]

    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        """The prepared image; random changes are made on the batch."""
        del rng
        return Region((0, 0), (grid.shape[0], grid.shape[1]))

    def read(self, source: Source, region: Region) -> Sample:
        """The prepared image (C, H, W), in the middle of zeros where it is smaller than the input."""
        sample = source.read(region)
        image = sample["input"]
        if not image[0].any():
            sample["flags"] = (NO_OBJECT,)
        if tuple(image.shape) != self.input_shape:
            sample["input"] = image.new_zeros(self.input_shape)
            sample["input"][:, *inside(image.shape[1:], self.data.size_px)] = image
        return sample

    def prepare(self, source: Source) -> tuple[Image, Geometry]:
        """The image after all steps, cut to at most ``size_px`` a side around its centre, and its grid."""
        raw = source.read()
        image = raw["input"].numpy()
        expected = len(self.data.bands) or self.data.n_bands
        if len(image) != expected:
            raise DataError(
                "the image has another number of bands",
                found=len(image),
                expected=", ".join(self.data.bands) or expected,
                hint="--bands names the extensions or files to take",
            )
        prepared = prepare(image, self.data.preparation)
        start = [max(0, (side - self.data.size_px) // 2) for side in image.shape[1:]]
        stop = [min(side, at + self.data.size_px) for side, at in zip(image.shape[1:], start, strict=True)]
        region = Region((start[0], start[1]), (stop[0], stop[1]))
        cut = prepared.image[:, start[0] : stop[0], start[1] : stop[1]]
        return np.ascontiguousarray(cut, dtype=np.float32), source.grid.crop(region)


class DensityWindows:
    """Windows of one size over a map; a prediction covers the map with them."""

    cuts_prepared: Literal[True] = True

    def __init__(self, config: DensityConfig) -> None:
        self.data = config.data

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(1, H, W)."""
        return (1, self.data.size_px, self.data.size_px)

    def plan(self, grid: Geometry) -> Sequence[Region]:
        """Windows ``step_px`` apart, the last one at the edge."""
        side = self.data.size_px
        step = self.data.step_px or side
        rows, columns = (window_starts(length, side, step, last="back") for length in self._sides(grid))
        return [Region((row, column), (row + side, column + side)) for row in rows for column in columns]

    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        """A window at a uniformly random place."""
        side = self.data.size_px
        row, column = (int(rng.integers(0, length - side + 1)) for length in self._sides(grid))
        return Region((row, column), (row + side, column + side))

    def read(self, source: Source, region: Region) -> Sample:
        """The window (1, H, W) of a prepared map."""
        return source.read(region)

    def prepare(self, source: Source) -> tuple[Image, Geometry]:
        """The whole map (1, H, W), standardised."""
        density = source.read()["input"].numpy()
        if len(density) != 1 or not np.isfinite(density).all():
            raise DataError(
                "this is not one map of density",
                found=f"{len(density)} channels, {int((~np.isfinite(density)).sum())} pixels without a value",
                expected="one channel, a number in each pixel",
            )
        self._sides(source.grid)
        if self.data.log:
            density = np.log10(np.maximum(density, np.float32(self.data.floor)))
        return ((density - self.data.mean) / self.data.std).astype(np.float32), source.grid

    def _sides(self, grid: Geometry) -> tuple[int, int]:
        rows, columns = grid.shape
        if min(rows, columns) < self.data.size_px:
            raise DataError(
                "the map is smaller than a window",
                found=f"{rows} x {columns} pixels",
                expected=f"at least {self.data.size_px} a side (data.size_px)",
            )
        return rows, columns


def inside(shape: Sequence[int], side: int) -> tuple[slice, slice]:
    """Where an image of this shape (H, W), at most ``side`` each, lies in a square of ``side``."""
    top, left = ((side - length) // 2 for length in shape)
    return slice(top, top + shape[0]), slice(left, left + shape[1])
