"""Planes in: reader and windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case, FileRef, Source
from tessera.core.data.geometry import Geometry, Pixels, Region
from tessera.core.errors import DataError
from tessera.core.inference.tiling import window_regions
from tessera.minimal_masks.config import MasksConfig
from tessera.minimal_masks.pipelines import MASKS

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample

MASK_SUFFIX = "-mask.npy"


def load_plane(path: Path) -> npt.NDArray[Any]:
    """The array (H, W) of a file."""
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {path}", found=error, expected=MASKS.inputs.description) from None
    if array.ndim != 2:
        raise DataError(f"{path} is no plane", found=f"{array.ndim} axes", expected="2")
    return array


class PlaneReader:
    """Finds and opens planes and their masks."""

    def __init__(self, config: MasksConfig | None = None) -> None:
        del config

    def find(self, path: Path) -> list[Case]:
        """Every plane below a folder (or the one file), sorted by its path there; no masks."""
        root, files = (path.parent, [path]) if path.is_file() else (path, path.rglob("*.npy"))
        names = sorted(f.relative_to(root).as_posix() for f in files if not f.name.endswith(MASK_SUFFIX))
        return [Case(id=n, files={"image": FileRef(path=root / n)}, group=Path(n).stem) for n in names]

    def open(self, case: Case) -> ArraySource:
        """The plane (1, H, W)."""
        plane = load_plane(case.path("image")).astype(np.float32)
        return ArraySource(plane[None], Pixels(plane.shape))

    def open_mask(self, case: Case, target: str) -> ArraySource:
        """The mask (1, H, W), of the plane's size."""
        path = case.target_file(target).path
        if path is None:
            raise DataError(f"case {case.id}: its mask is not on this machine", hint="fetch the data")
        mask = load_plane(path)
        return ArraySource(mask[None], Pixels(mask.shape))


class PlaneWindows:
    """Squares of the standardised plane; what reaches over its end is 0."""

    cuts_prepared: Literal[True] = True

    def __init__(self, config: MasksConfig) -> None:
        self.side = config.data.window
        self.coarse = config.data.coarse
        self.input_shape = (1, self.side, self.side)
        axis, pairs = config.augment.swap_axis, config.augment.swap_classes
        self.mirror_swaps = {} if axis is None else {axis: pairs}

    def plan(self, grid: Geometry) -> Sequence[Region]:
        """Squares that overlap by half."""
        return window_regions(grid.shape, (self.side,) * 2, (self.side // 2,) * 2, "back")

    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        """A square anywhere."""
        return self._at(grid, [int(rng.integers(0, max(0, n - self.side) + 1)) for n in grid.shape])

    def draw_at(self, grid: Geometry, place: tuple[int, ...], rng: np.random.Generator) -> Region:
        """The square around a place, moved inside the plane."""
        return self._at(grid, [at - self.side // 2 for at in place])

    def _at(self, grid: Geometry, start: Sequence[int]) -> Region:
        first = tuple(min(max(0, a), max(0, n - self.side)) for a, n in zip(start, grid.shape, strict=True))
        stop = tuple(min(a + self.side, n) for a, n in zip(first, grid.shape, strict=True))
        return Region(first, stop)

    def read(self, source: Source, region: Region) -> Sample:
        """The square (1, side, side) of a prepared plane."""
        from torch.nn.functional import pad

        sample = source.read(region)
        missing = [self.side - n for n in region.shape]
        sample["input"] = pad(sample["input"], (0, missing[1], 0, missing[0]))
        return sample

    def prepare(self, source: Source) -> tuple[npt.NDArray[np.float32], Geometry]:
        """The plane of mean 0 and standard deviation 1, every n-th element of it."""
        values = source.read()["input"].numpy()
        spread = values.std()
        values = (values - values.mean()) / (spread if spread > 0 else 1.0)
        kept = np.ascontiguousarray(values[:, :: self.coarse, :: self.coarse], dtype=np.float32)
        return kept, source.grid.resample(kept.shape[1:])

    def prepare_mask(self, mask: Source, grid: Geometry) -> npt.NDArray[np.int64]:
        """Every n-th element of the mask."""
        del grid
        classes = mask.read()["input"].numpy()[0, :: self.coarse, :: self.coarse]
        return classes.astype(np.int64)
