"""What a mask must be: all logits in one array, interpolated by SciPy, arg-max at the end (float64)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tessera.core.data.case import Case
from tessera.core.data.geometry import Geometry, Pixels, Placement, Region
from tessera.core.inference.mask_stitcher import MaskRules, MaskStitcher

CASE = Case(id="a", files={}, group="g")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Turned(Geometry):
    """A grid whose place on its source is given outright."""

    size: tuple[int, ...]
    place: Placement

    @property
    def shape(self) -> tuple[int, ...]:
        return self.size

    def crop(self, region: Region) -> Turned:
        moved = tuple(
            o + s * a for o, s, a in zip(self.place.offset, self.place.scale, region.start, strict=True)
        )
        return Turned(region.shape, Placement(self.place.axes, self.place.scale, moved))

    def resample(self, shape: tuple[int, ...]) -> Turned:
        raise NotImplementedError

    def invert(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        raise NotImplementedError

    def placement(self) -> Placement:
        return self.place


def same_place(n_axes: int) -> Placement:
    return Placement(tuple(range(n_axes)), (1.0,) * n_axes, (0.0,) * n_axes)


def spread(starts: Sequence[Region], raws: Sequence[Array], shape: Sequence[int], weights: Array) -> Array:
    """Weighted mean of windows, (K, *shape); zero where no window is."""
    pad = max(weights.shape)
    big = [size + 2 * pad for size in shape]
    total, count = np.zeros((raws[0].shape[0], *big)), np.zeros(big)
    for region, raw in zip(starts, raws, strict=True):
        place = tuple(
            slice(a + pad, a + pad + size) for a, size in zip(region.start, weights.shape, strict=True)
        )
        total[:, *place] += raw.reshape(len(raw), *weights.shape) * weights
        count[place] += weights
    inner = tuple(slice(pad, pad + size) for size in shape)
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)[:, *inner]


def on_source(
    logits: Array, place: Placement, shape: Sequence[int], *, order: int = 1
) -> tuple[Array, Array]:
    """Logits (K, *source shape), and which elements lie inside the network's grid."""
    axes = np.indices(shape)
    points = [(axes[a] - o) / s for a, s, o in zip(place.axes, place.scale, place.offset, strict=True)]
    inside = np.all(
        [(p >= -0.5 - 1e-6) & (p <= n - 0.5 + 1e-6) for p, n in zip(points, logits.shape[1:], strict=True)],
        axis=0,
    )
    found = [ndimage.map_coordinates(one, points, order=order, mode="nearest") for one in logits]
    return np.stack(found), inside


def check_mask(mask: Array, values: Array, inside: Array) -> None:
    """Equal to the arg-max but where two classes differ by rounding alone; background outside."""
    assert mask.shape == values.shape[1:]
    assert not mask[~inside].any()
    chosen = np.take_along_axis(values, mask[None].astype(np.int64), axis=0)[0]
    short = (values.max(axis=0) - chosen)[inside]
    assert short.max(initial=0.0) <= 1e-4, (mask, values.argmax(axis=0) * inside)
    assert (mask == values.argmax(axis=0) * inside).mean() > 0.98


def stitched(
    regions: Sequence[Region],
    raws: Sequence[Array],
    *,
    source: Sequence[int],
    size: Sequence[int],
    place: Placement,
    order: Sequence[int] | None = None,
    **options: Any,
) -> MaskStitcher:
    """A stitcher that got all windows; ``order`` shuffles when they come."""
    rules = MaskRules(classes=raws[0].shape[0], patch=raws[0].shape[1:], **options)
    prepared = Turned(tuple(size), place)
    schedule = rules.schedule(prepared, regions)
    stitcher = MaskStitcher(CASE, Pixels(tuple(source)), prepared, schedule, rules=rules)
    by_region = dict(zip(regions, raws, strict=True))
    for index in range(len(schedule.regions)) if order is None else order:
        stitcher.add(index, by_region[schedule.regions[index]])
    return stitcher
