"""Named changes of the input at test time; the answers of all changes are fused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.core.errors import ConfigError

_SHIFT_PARTS = 8  # "shift" moves by an eighth of the last axis
_FIRST_SPATIAL = 2  # (B, C, *S)


@dataclass(frozen=True)
class Change:
    """A change of a batch (B, C, *S) and its inverse, for answers on the input's grid."""

    name: str
    apply: Callable[[Tensor], Tensor]
    invert: Callable[[Tensor], Tensor]


def changes(names: Sequence[str], *, spatial_dims: int) -> tuple[Change, ...]:
    """The unchanged input first, then what the names stand for.

    ``shift``: the last axis rolled by +1/8 and by -1/8 of its length. ``flip-<axis>``: the spatial axis
    of that number reversed.
    """
    found = [_identity()]
    for name in dict.fromkeys(names):
        if name == "identity":
            continue
        if name == "shift":
            found += [_shift(+1), _shift(-1)]
        elif name in {f"flip-{axis}" for axis in range(spatial_dims)}:
            found.append(_flip(int(name.removeprefix("flip-"))))
        else:
            flips = ", ".join(f"flip-{axis}" for axis in range(spatial_dims))
            raise ConfigError(
                f"there is no test-time change '{name}'",
                expected=f"identity, shift, {flips}",
                hint="correct inference.tta",
            )
    return tuple(found)


def _identity() -> Change:
    return Change("identity", lambda input: input, lambda output: output)


def _shift(sign: int) -> Change:
    def roll(values: Tensor, direction: int) -> Tensor:
        return torch.roll(values, direction * (values.shape[-1] // _SHIFT_PARTS), dims=-1)

    return Change(f"shift{sign:+d}/{_SHIFT_PARTS}", lambda x: roll(x, sign), lambda y: roll(y, -sign))


def _flip(axis: int) -> Change:
    def flip(values: Tensor) -> Tensor:
        return torch.flip(values, dims=(_FIRST_SPATIAL + axis,))

    return Change(f"flip-{axis}", flip, flip)
