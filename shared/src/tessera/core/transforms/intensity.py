"""Random changes of an image's values: each drawn for rows and channels on their own, applied to those alone.

Values are meant to be standardised, mean near 0 and standard deviation near 1. Odds and ranges are the
caller's; nnU-Net's are the defaults of ``MaskAugmentConfig``.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_TRUNCATE = 4.0  # a Gaussian beyond four standard deviations is nothing
_LEAST_RANGE = 1e-7
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class MapParams:
    """One draw for a batch.

    Args:
        chosen: (B, C) the maps that are changed.
        value: (B, C) how.
        seed: Of noise.
    """

    chosen: Tensor
    value: Tensor
    seed: int


class MapChange:
    """A change of some maps (*S) of a batch (B, C, *S).

    Args:
        probability: Of a row to be changed.
        low: Least value.
        high: Greatest value; values are uniform between them, each map's its own.
        channel_probability: Of a channel of such a row.
    """

    def __init__(
        self, probability: float, low: float, high: float, *, channel_probability: float = 1.0
    ) -> None:
        self.probability = probability
        self.low = low
        self.high = high
        self.channel_probability = channel_probability

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> MapParams:
        """Parameters for a batch of ``shape`` (B, C, *S)."""
        rows, channels = shape[0], shape[1]
        row = torch.rand((rows, 1), generator=generator) < self.probability
        channel = torch.rand((rows, channels), generator=generator) < self.channel_probability
        value = self.low + (self.high - self.low) * torch.rand((rows, channels), generator=generator)
        seed = int(torch.randint(0, 2**62, (), generator=generator))
        return MapParams(row & channel, value, seed)

    def apply(self, x: Tensor, params: MapParams) -> Tensor:
        """(B, C, *S) with the chosen maps changed."""
        rows, channels = params.chosen.nonzero(as_tuple=True)
        if not len(rows):
            return x
        value = params.value[rows, channels].to(x.dtype)
        rows, channels = rows.to(x.device), channels.to(x.device)
        changed = x.clone()
        changed[rows, channels] = self.change(x[rows, channels], value, params.seed)
        return changed

    @abstractmethod
    def change(self, maps: Tensor, value: Tensor, seed: int) -> Tensor:
        """Maps (n, *S) and values (n,), which lie on the CPU -> maps (n, *S)."""


class Noise(MapChange):
    """Add Gaussian noise; the value is its variance."""

    def change(self, maps: Tensor, value: Tensor, seed: int) -> Tensor:
        """Maps (n, *S) with noise."""
        generator = torch.Generator(maps.device).manual_seed(seed)
        noise = torch.randn(maps.shape, generator=generator, device=maps.device, dtype=maps.dtype)
        return maps + _each(value.sqrt(), maps) * noise


class Blur(MapChange):
    """Smooth with a Gaussian; the value is its standard deviation in elements."""

    def change(self, maps: Tensor, value: Tensor, seed: int) -> Tensor:
        """Maps (n, *S) smoothed along every axis; the border is repeated."""
        reach = max(1, math.ceil(_TRUNCATE * float(value.max())))
        place = torch.arange(-reach, reach + 1, dtype=torch.float32)
        kernel = (-0.5 * (place / value[:, None]) ** 2).exp()
        kernel = (kernel / kernel.sum(dim=1, keepdim=True)).to(maps.device, maps.dtype)[:, None]  # (n, 1, w)
        n = len(maps)
        for axis in range(1, maps.ndim):
            lines = maps.movedim(axis, -1)
            shape = lines.shape
            lines = lines.reshape(n, -1, shape[-1]).transpose(0, 1)  # (lines, n, length)
            lines = F.conv1d(F.pad(lines, (reach, reach), mode="replicate"), kernel, groups=n)
            maps = lines.transpose(0, 1).reshape(shape).movedim(-1, axis)
        return maps


class Brightness(MapChange):
    """Multiply by the value."""

    def change(self, maps: Tensor, value: Tensor, seed: int) -> Tensor:
        """Maps (n, *S) times values."""
        return maps * _each(value, maps)


class Contrast(MapChange):
    """Multiply the distance to the map's mean by the value, within the map's range."""

    def change(self, maps: Tensor, value: Tensor, seed: int) -> Tensor:
        """Maps (n, *S) of greater or less contrast."""
        axes = tuple(range(1, maps.ndim))
        mean = maps.mean(dim=axes, keepdim=True)
        changed = mean + (maps - mean) * _each(value, maps)
        low, high = maps.amin(dim=axes, keepdim=True), maps.amax(dim=axes, keepdim=True)
        return torch.minimum(torch.maximum(changed, low), high)


class LowResolution(MapChange):
    """Keep a share of the elements along each axis and fill in the rest between them."""

    def change(self, maps: Tensor, value: Tensor, seed: int) -> Tensor:
        """Maps (n, *S) as a coarser instrument would have them."""
        size, changed = maps.shape[1:], []
        for image, share in zip(maps, value.tolist(), strict=True):
            coarse = [max(1, round(share * length)) for length in size]
            small = F.interpolate(image[None, None], coarse, mode="nearest-exact")
            changed.append(F.interpolate(small, size, mode=_LINEAR[len(size)], align_corners=False)[0, 0])
        return torch.stack(changed)


class Gamma(MapChange):
    """Raise to a power within the map's range; mean and spread stay.

    Args:
        probability: Of a row to be changed.
        low: Least exponent.
        high: Greatest exponent.
        inverted: Work on the map turned light to dark.
    """

    def __init__(self, probability: float, low: float, high: float, *, inverted: bool = False) -> None:
        super().__init__(probability, low, high)
        self.sign = -1.0 if inverted else 1.0

    def change(self, maps: Tensor, value: Tensor, seed: int) -> Tensor:
        """Maps (n, *S) with other greys between the same ends."""
        axes = tuple(range(1, maps.ndim))
        turned = self.sign * maps
        low = turned.amin(dim=axes, keepdim=True)
        span = (turned.amax(dim=axes, keepdim=True) - low).clamp_min(_LEAST_RANGE)
        bent = ((turned - low) / span) ** _each(value, maps) * span + low
        mean, spread = _moments(turned, axes)
        new_mean, new_spread = _moments(bent, axes)
        return self.sign * ((bent - new_mean) / new_spread.clamp_min(_LEAST_RANGE) * spread + mean)


def _moments(maps: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return maps.mean(dim=axes, keepdim=True), maps.std(dim=axes, keepdim=True, correction=0)


def _each(value: Tensor, maps: Tensor) -> Tensor:
    """Values (n,) beside maps (n, *S)."""
    return value.to(maps.device, maps.dtype).reshape(-1, *[1] * (maps.ndim - 1))
