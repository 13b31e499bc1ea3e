"""Windows of logits to a mask on the source's grid, while they come: no array of classes x volume exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tessera.core.data.case import Case
from tessera.core.data.geometry import Geometry, Region
from tessera.core.errors import DataError
from tessera.core.inference.axis_map import AxisMap, axis_map, lies_between
from tessera.core.inference.blending import Profile, coverage, gaussian, importance
from tessera.core.inference.interfaces import CaseResult
from tessera.core.inference.schedule import Schedule, Strip, schedule
from tessera.core.inference.wavefront import Part, Wavefront

NOTHING_FOUND = "nothing found"
BUDGET_BYTES = 512 * 2**20


@dataclass(frozen=True, kw_only=True)
class MaskRules:
    """How windows become a mask.

    Args:
        classes: Values of the network an element.
        patch: Size of a window; with fewer axes than the grid it is one plane of the grid's first axes.
        profile: Weight of a window's places along an axis.
        nearest: Take each element's class from the nearest element of the network's grid instead of
            interpolating the values of all classes; quicker, and stepped where the network's grid is coarse.
        budget_bytes: Room for the sums of windows; exceeded only where strips of one window's step need more.
    """

    classes: int
    patch: tuple[int, ...]
    profile: Profile = gaussian
    nearest: bool = False
    budget_bytes: int = BUDGET_BYTES

    def window(self, n_axes: int) -> tuple[int, ...]:
        """Size of a window on a grid of so many axes."""
        return (1,) * (n_axes - len(self.patch)) + self.patch

    def schedule(self, prepared: Geometry, regions: Sequence[Region]) -> Schedule:
        """The regions in an order in which their sums need little memory."""
        shape, place = prepared.shape, prepared.placement()
        return schedule(
            regions,
            shape,
            self.window(len(shape)),
            classes=self.classes,
            budget_bytes=self.budget_bytes,
            between=[
                not self.nearest and lies_between(scale, offset)
                for scale, offset in zip(place.scale, place.offset, strict=True)
            ],
        )


class MaskStitcher:
    """Adds up windows in the schedule's order, whatever order they come in, and writes what is finished.

    The mean of the windows that see an element, weighted by the rules' profile, is interpolated linearly to
    the source's grid; the class with the highest value wins, the first of equal ones. Elements outside the
    network's grid are background, class 0.

    Args:
        case: The case.
        grid: The source's own grid, the mask's.
        prepared: The grid on which windows were cut.
        schedule: What the rules made of its regions.
        rules: How windows become a mask.
    """

    def __init__(
        self, case: Case, grid: Geometry, prepared: Geometry, schedule: Schedule, *, rules: MaskRules
    ) -> None:
        self._case = case
        self._grid = grid
        self._schedule = schedule
        self._rules = rules
        self._shape = prepared.shape
        self._patch = rules.window(len(self._shape))
        self._weights = importance(self._patch, rules.profile)
        place = prepared.placement()
        self._maps = tuple(
            axis_map(length, scale, offset, grid.shape[axis], nearest=rules.nearest)
            for length, scale, offset, axis in zip(
                self._shape, place.scale, place.offset, place.axes, strict=True
            )
        )
        self._inverse = self._lattice()
        kind: type[np.unsignedinteger] = np.uint8 if rules.classes <= 256 else np.uint16
        self._mask: npt.NDArray[np.unsignedinteger] = np.zeros(grid.shape, dtype=kind)
        self._turned = self._mask.transpose(place.axes)  # axes in the network's order
        self._counts = np.zeros(rules.classes, dtype=np.int64)
        self._early: dict[int, Tensor] = {}
        self._next = 0
        self._strip: Strip | None = None
        self._wave: Wavefront | None = None

    def add(self, index: int, raw: npt.NDArray[np.float32] | Tensor) -> None:
        """Take the logits (K, *P) of the schedule's region ``index``."""
        total = len(self._schedule.regions)
        if index < self._next or index >= total or index in self._early:
            raise ValueError(
                f"case {self._case.id}: region {index} of {total} "
                + ("does not exist" if index < 0 or index >= total else "was added twice")
            )
        values = self._checked(index, torch.as_tensor(raw))
        if index > self._next:
            self._early[index] = values.clone()  # sums have the same bits only in the same order
            return
        self._take(values)
        while (early := self._early.pop(self._next, None)) is not None:
            self._take(early)

    def finish(self) -> CaseResult:
        """The mask; all regions must be there."""
        missing = len(self._schedule.regions) - self._next - len(self._early)
        if missing or self._early or not self._schedule.regions:
            raise ValueError(
                f"case {self._case.id}: {missing} of {len(self._schedule.regions)} regions are missing, "
                f"first [{self._next}]"
            )
        self._close()
        counts = self._counts.copy()
        counts[0] += self._mask.size - int(counts.sum())  # outside the network's grid
        return CaseResult(
            self._case,
            self._grid,
            self._schedule.regions,
            np.zeros((0, self._rules.classes), dtype=np.float32),
            counts,
            flags=() if counts[1:].any() else (NOTHING_FOUND,),
            mask=self._mask,
        )

    def _checked(self, index: int, raw: Tensor) -> Tensor:
        expected = (self._rules.classes, *self._rules.patch)
        if tuple(raw.shape) != expected:
            raise DataError(
                f"case {self._case.id}: the network's output has another shape than its windows",
                found=tuple(raw.shape),
                expected=expected,
            )
        if not bool(raw.sum().isfinite()) and not bool(raw.isfinite().all()):
            region = self._schedule.regions[index]
            raise DataError(
                f"case {self._case.id}: the network's output is not finite",
                found=f"{int((~raw.isfinite()).sum())} of {raw.numel()} values for elements {region.start} "
                f"to {region.stop}",
                expected="numbers",
                hint="look at the input there: values far outside the input contract cause this",
            )
        return raw.reshape(self._rules.classes, *self._patch)

    def _take(self, raw: Tensor) -> None:
        """Add the next window of the schedule."""
        strip = next(strip for strip in self._schedule.strips if self._next < strip.stop)
        if self._wave is None or strip != self._strip:
            self._close()  # gives its sums up before there are new ones
            self._strip, self._wave = strip, self._begin(strip, raw.device)
        self._wave.add(raw, self._schedule.regions[self._next].start)
        self._next += 1

    def _close(self) -> None:
        if self._wave is not None:
            self._wave.close()
            self._wave = None

    def _begin(self, strip: Strip, device: torch.device) -> Wavefront:
        """The wavefront of a strip."""
        slow, cross = self._schedule.slow, self._schedule.cross
        box = [(0, length) for length in self._shape]
        maps = list(self._maps)
        if cross != slow:
            box[cross] = (strip.low, strip.end)
            maps[cross] = maps[cross].within(strip.low, strip.high)
        part = Part(
            box=tuple(box),
            maps=tuple(maps),
            slow=slow,
            depth=self._schedule.depth,
            classes=self._rules.classes,
            inverse=None
            if self._inverse is None
            else tuple(factor[a:b] for factor, (a, b) in zip(self._inverse, box, strict=True)),
        )
        target = self._turned.transpose(slow, *part.others)
        place = tuple(slice(maps[axis].start, maps[axis].start + len(maps[axis])) for axis in part.others)

        def write(elements: AxisMap, labels: Tensor) -> None:
            self._counts += torch.bincount(labels.flatten(), minlength=len(self._counts)).cpu().numpy()
            target[elements.start : elements.start + len(elements), *place] = labels.cpu().numpy()

        return Wavefront(part, self._weights.to(device), write)

    def _lattice(self) -> tuple[Tensor, ...] | None:
        """One over the weights of all windows, a factor an axis; None when they do not form a lattice."""
        starts = {region.start for region in self._schedule.regions}
        axes = [sorted(set(places)) for places in zip(*starts, strict=True)]
        if len(starts) != np.prod([len(places) for places in axes]):
            return None
        sums = [
            coverage(places, self._rules.profile(size), length)
            for places, size, length in zip(axes, self._patch, self._shape, strict=True)
        ]
        return tuple(torch.where(total > 0, 1 / total, 0.0) for total in sums)
