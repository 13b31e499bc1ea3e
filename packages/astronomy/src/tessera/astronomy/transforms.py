"""Random changes of images of the sky on the batch, on the model's device.

One interpolation does the rotation, the zoom and the shift together. After Walmsley et al., MNRAS 483, 2968
(2019), with shifts that are symmetric along both axes and no change in a prediction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.astronomy.config import DensityConfig, SkyConfig
from tessera.core.transforms.compose import StandardTransforms


@dataclass
class SkyChange:
    """What is done to each row of a batch; ``None`` is nothing.

    Args:
        matrix: (B, 2, 2) from a place in the result to one in the image, (row, column) in pixels from the
            centre.
        shift: (B, 2) of that place, pixels.
        turns: (B,) quarter turns, 0 to 3.
        flipped: (B, 2) whether each axis is mirrored.
        roll: (B, 2) pixels by which each axis is rolled.
        brightness: (B,) factor.
        noise: (B, C, H, W) added.
    """

    matrix: Tensor | None = None
    shift: Tensor | None = None
    turns: Tensor | None = None
    flipped: Tensor | None = None
    roll: Tensor | None = None
    brightness: Tensor | None = None
    noise: Tensor | None = None


class SkyTransforms(StandardTransforms):
    """Rotation, zoom, shift, mirroring, rolling, brightness and noise, each where the config asks."""

    def __init__(self, config: SkyConfig | DensityConfig) -> None:
        super().__init__(config.augment)
        self.config = config.augment

    def on_input(self, input: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change images (B, C, H, W)."""
        return self.apply(input, self.draw(input.shape, generator)), target

    def draw(self, shape: torch.Size, generator: torch.Generator) -> SkyChange:
        """One change for a batch of ``shape`` (B, C, H, W)."""
        config, rows = self.config, shape[0]
        change = SkyChange()

        def uniform(low: float, high: float, *size: int) -> Tensor:
            return low + (high - low) * torch.rand(size, generator=generator)

        if config.rotation_deg or config.zoom != (1.0, 1.0) or config.shift_fraction:
            angle = math.radians(config.rotation_deg) * uniform(-1.0, 1.0, rows)
            turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
            change.matrix = turn / uniform(*config.zoom, rows, 1, 2)
            sides = torch.tensor([float(shape[2]), float(shape[3])])
            change.shift = config.shift_fraction * sides * uniform(-1.0, 1.0, rows, 2)
        if config.quarter_turns:
            if shape[2] == shape[3]:
                change.turns = torch.randint(0, 4, (rows,), generator=generator)
            else:
                self._warn_once("augment.quarter_turns does nothing: the image is no square")
        if config.flip:
            change.flipped = torch.rand((rows, 2), generator=generator) < 0.5
        if config.roll:
            change.roll = (uniform(0.0, 1.0, rows, 2) * torch.tensor([shape[2], shape[3]])).long()
        if config.brightness:
            change.brightness = 1.0 + config.brightness * uniform(-1.0, 1.0, rows)
        if config.noise:
            change.noise = config.noise * torch.randn(shape, generator=generator)
        return change

    def apply(self, input: Tensor, change: SkyChange) -> Tensor:
        """Apply a recorded change to (B, C, H, W)."""
        x, device = input, input.device
        if change.matrix is not None and change.shift is not None:
            x = self._moved(x, change.matrix.to(device), change.shift.to(device))
        if change.turns is not None:
            x = _each(x, change.turns, lambda image, turns: torch.rot90(image, int(turns), dims=(1, 2)))
        if change.flipped is not None:
            x = _each(x, change.flipped, lambda image, axes: image.flip([1 + a for a in (0, 1) if axes[a]]))
        if change.roll is not None:
            x = _each(x, change.roll, lambda image, by: image.roll(by.tolist(), dims=(1, 2)))
        if change.brightness is not None:
            x = x * change.brightness.to(device)[:, None, None, None]
        return x if change.noise is None else x + change.noise.to(device)

    def _moved(self, x: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
        """Rows at the places that the matrix and the shift say, by one interpolation."""
        half = torch.tensor([x.shape[2] / 2, x.shape[3] / 2], device=x.device)
        scaled = matrix * half / half[:, None]  # in halves of each axis, as grid_sample counts
        theta = torch.cat([scaled, (shift / half)[:, :, None]], dim=2)
        theta = torch.cat([theta[:, :, :2].flip(1, 2), theta[:, :, 2:].flip(1)], dim=2)  # x first
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        border = self.config.border
        if border == "wrap":
            grid = torch.remainder(grid + 1.0, 2.0) - 1.0
        padding = {"zeros": "zeros", "reflect": "reflection", "wrap": "border"}[border]
        return F.grid_sample(
            x, grid, mode=self.config.interpolation, padding_mode=padding, align_corners=False
        )


def _each(x: Tensor, values: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Each row (C, H, W) of a batch changed by its own value."""
    return torch.stack([change(image, value) for image, value in zip(x, values, strict=True)])
