"""Named changes of the input at test time; the answers of all changes are fused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.core.errors import ConfigError

_SHIFT_PARTS = 8  # "shift" moves by an eighth of the last axis
_FIRST_SPATIAL = 2  # (B, C, *S)
_FLIP = re.compile(r"flip(-\d+)+")

Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Change:
    """A change of a batch (B, C, *S) and its inverse, for answers on the input's grid.

    Args:
        name: What a person calls it.
        apply: (B, C, *S) -> (B, C, *S).
        invert: Answers (B, K, *S) of the changed input -> those of the input, classes aside.
        swaps: Pairs of classes that change places under it, such as left and right.
    """

    name: str
    apply: Callable[[Tensor], Tensor]
    invert: Callable[[Tensor], Tensor]
    swaps: tuple[tuple[int, int], ...] = ()

    def restore(self, maps: Tensor) -> Tensor:
        """Maps (B, K, *S) of the changed input -> those of the input, with each class in its place."""
        maps = self.invert(maps)
        if not self.swaps:
            return maps
        order = list(range(maps.shape[1]))
        for a, b in self.swaps:
            order[a], order[b] = order[b], order[a]
        return maps[:, order]


def changes(
    names: Sequence[str], *, spatial_dims: int, mirror_swaps: Mapping[int, Pairs] | None = None
) -> tuple[Change, ...]:
    """The unchanged input first, then what the names stand for.

    ``shift``: the last axis rolled by +1/8 and by -1/8 of its length. ``flip-<axes>``: the spatial axes
    of those numbers reversed, for instance ``flip-0`` or ``flip-0-2``.

    Args:
        names: In any order; repeats count once.
        spatial_dims: Axes an input has beside rows and channels.
        mirror_swaps: Spatial axis to the pairs of classes that change places when it is reversed.
    """
    found = [_identity()]
    for name in dict.fromkeys(names):
        if name == "identity":
            continue
        if name == "shift":
            found += [_shift(+1), _shift(-1)]
        elif axes := _flipped(name, spatial_dims):
            found.append(_flip(axes, mirror_swaps or {}))
        else:
            flips = ", ".join(f"flip-{axis}" for axis in range(spatial_dims))
            raise ConfigError(
                f"there is no test-time change '{name}'",
                expected=f"identity, shift, {flips}" + (", flip-0-1 and so on" * (spatial_dims > 1)),
                hint="correct inference.tta",
            )
    return tuple(found)


def _identity() -> Change:
    return Change("identity", lambda input: input, lambda output: output)


def _shift(sign: int) -> Change:
    def roll(values: Tensor, direction: int) -> Tensor:
        return torch.roll(values, direction * (values.shape[-1] // _SHIFT_PARTS), dims=-1)

    return Change(f"shift{sign:+d}/{_SHIFT_PARTS}", lambda x: roll(x, sign), lambda y: roll(y, -sign))


def _flipped(name: str, spatial_dims: int) -> tuple[int, ...]:
    """The axes that ``flip-<axes>`` names, ascending; none where it is not such a name."""
    if not _FLIP.fullmatch(name):
        return ()
    axes = tuple(int(text) for text in name.split("-")[1:])
    known = axes == tuple(sorted(set(axes))) and axes[-1] < spatial_dims
    return axes if known else ()


def _flip(axes: tuple[int, ...], mirror_swaps: Mapping[int, Pairs]) -> Change:
    def flip(values: Tensor) -> Tensor:
        return torch.flip(values, dims=[_FIRST_SPATIAL + axis for axis in axes])

    swaps = tuple((a, b) for axis in axes for a, b in mirror_swaps.get(axis, ()))
    return Change("-".join(["flip", *map(str, axes)]), flip, flip, swaps)
