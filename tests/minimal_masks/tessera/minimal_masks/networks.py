"""The network, and the random changes of its input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.network import Network
from tessera.core.transforms.masked import MaskedTransforms
from tessera.minimal_masks.config import MasksConfig


class Ladder(nn.Module):
    """Two levels with a skip: (B, 1, H, W) -> logits (B, K, H, W); in training also those of half the size.

    Args:
        width: Channels of the finer level.
        n_outputs: K.
    """

    def __init__(self, width: int, n_outputs: int) -> None:
        super().__init__()
        self.fine = _block(1, width)
        self.coarse = _block(width, 2 * width, stride=2)
        self.join = _block(3 * width, width)
        self.classes = nn.ModuleList([nn.Conv2d(width, n_outputs, 1), nn.Conv2d(2 * width, n_outputs, 1)])

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, 1, H, W) -> logits (B, K, H, W)."""
        fine = self.fine(x)
        coarse = self.coarse(fine)
        enlarged = F.interpolate(coarse, fine.shape[2:], mode="nearest")
        logits = self.classes[0](self.join(torch.cat([fine, enlarged], dim=1)))
        if not self.training:
            return logits
        return [logits, self.classes[1](coarse)]


def _block(c_in: int, c_out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, stride, padding=1),
        nn.InstanceNorm2d(c_out, affine=True),
        nn.LeakyReLU(0.01),
    )


def build_network(config: MasksConfig, *, n_outputs: int) -> Network:
    """Plane (B, 1, H, W) of mean 0 -> logits (B, n_outputs, H, W)."""
    return Network(nn.Identity(), Ladder(config.model.width, n_outputs))


def build_transforms(config: MasksConfig) -> MaskedTransforms:
    """Core's changes of images with masks."""
    return MaskedTransforms(config.augment)
