"""The network, and the random changes of its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tessera.core.network import Network
from tessera.core.transforms.compose import StandardTransforms
from tessera.minimal_images.config import ImagesConfig


def build_network(config: ImagesConfig, *, n_outputs: int) -> Network:
    """Image (B, C, H, W) in [0, 1] -> raw output (B, n_outputs)."""
    shape = (config.data.channels, *config.data.size)
    return Network(nn.Identity(), config.model.build_for(shape, n_outputs))


class ImageTransforms(StandardTransforms):
    """Flips and shifts, then core's transforms; each where the config turns it on."""

    def __init__(self, config: ImagesConfig) -> None:
        super().__init__(config.augment)
        self.config = config.augment

    def on_input(self, input: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change images (B, C, H, W)."""
        return super().on_input(self.apply(input, self.draw(input.shape, generator)), target, generator)

    def draw(self, shape: torch.Size, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """For each image and axis: 1 or -1 for flipped, and a shift in pixels, both (B, 2)."""
        rows, largest = shape[0], self.config.shift_fraction * torch.tensor(shape[2:])
        flips = 1 - 2 * torch.randint(0, 1 + self.config.flip, (rows, 2), generator=generator)
        shifts = (largest * (2 * torch.rand((rows, 2), generator=generator) - 1)).round().long()
        return flips, shifts

    @staticmethod
    def apply(input: Tensor, change: tuple[Tensor, Tensor]) -> Tensor:
        """Apply a recorded change to (B, C, H, W); the border is repeated where a shift leaves nothing."""
        changed = input
        for axis, (flip, shift) in enumerate(zip(change[0].T, change[1].T, strict=True)):
            size = input.shape[2 + axis]
            places = torch.arange(size)
            index = torch.where(flip[:, None] < 0, size - 1 - places, places) - shift[:, None]
            view = [len(input), 1, 1, 1]
            view[2 + axis] = size
            index = index.clamp(0, size - 1).reshape(view).to(input.device)
            changed = changed.gather(2 + axis, index.expand_as(changed))
        return changed
