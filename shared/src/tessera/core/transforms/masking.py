"""Masks along feature axes, after SpecAugment (Park et al., 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.core.errors import ConfigError


@dataclass(frozen=True)
class AxisMaskParams:
    """One draw for a batch.

    Args:
        start: For each axis (B, count): first masked element.
        width: For each axis (B, count): number of masked elements.
    """

    start: tuple[Tensor, ...]
    width: tuple[Tensor, ...]


class AxisMask:
    """Hide bands along the feature axes of (B, C, *F), drawn anew for each row.

    Widths are uniform from 0 to the widest; hidden values become the row's mean, so that a mask
    does not shift the features' level.

    Args:
        count: Masks along each feature axis.
        width: Widest mask along each axis, as a share of it.
    """

    def __init__(self, count: Sequence[int], width: Sequence[float]) -> None:
        if len(count) != len(width):
            raise ConfigError(
                "augment.mask_count and augment.mask_width differ in length",
                found=f"{list(count)} and {list(width)}",
                expected="one number for each feature axis in both",
            )
        self.count = tuple(count)
        self.width = tuple(width)

    def does_nothing(self, shape: torch.Size) -> bool:
        """Whether no mask is as wide as one element of features of ``shape`` (B, C, *F)."""
        return not any(
            int(share * size)
            for size, count, share in zip(shape[2:], self.count, self.width, strict=True)
            if count
        )

    def draw(self, shape: torch.Size, generator: torch.Generator) -> AxisMaskParams:
        """Parameters for features of ``shape`` (B, C, *F)."""
        sizes = shape[2:]
        if len(sizes) != len(self.count):
            raise ConfigError(
                "augment.mask_count does not fit the features",
                found=f"{len(self.count)} numbers",
                expected=f"{len(sizes)}, one for each axis of features of shape {tuple(sizes)}",
            )
        starts, widths = [], []
        for size, count, share in zip(sizes, self.count, self.width, strict=True):
            wide = torch.randint(0, int(share * size) + 1, (shape[0], count), generator=generator)
            free = torch.rand((shape[0], count), generator=generator)
            starts.append((free * (size - wide + 1)).long())
            widths.append(wide)
        return AxisMaskParams(tuple(starts), tuple(widths))

    def apply(self, x: Tensor, params: AxisMaskParams) -> Tensor:
        """Features (B, C, *F) with the masked places at the row's mean."""
        hidden = self.hidden(x.shape, params).to(x.device)
        mean = x.mean(dim=tuple(range(1, x.ndim)), keepdim=True)
        return torch.where(hidden, mean, x)

    @staticmethod
    def hidden(shape: torch.Size, params: AxisMaskParams) -> Tensor:
        """Which places are hidden: (B, 1, *F), True where masked."""
        hidden = torch.zeros((shape[0], 1, *shape[2:]), dtype=torch.bool)
        for axis, (start, width) in enumerate(zip(params.start, params.width, strict=True)):
            place = torch.arange(shape[2 + axis])
            inside = (place >= start[..., None]) & (place < (start + width)[..., None])
            view = [shape[0]] + [1] * (len(shape) - 1)
            view[2 + axis] = shape[2 + axis]
            hidden |= inside.any(dim=1).reshape(view)
        return hidden
