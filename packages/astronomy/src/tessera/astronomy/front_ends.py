"""What happens to a prepared image on the network's device: a cut around the centre, a stretch, asymmetry."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.astronomy.model_config import FrontEndConfig

BIN = 2


class SkyFrontEnd(nn.Module):
    """Prepared images (B, C, H, W) -> what the network sees (B, C, H', W'), with asymmetry (B, 2 C, H', W').

    Args:
        config: See its fields.
    """

    def __init__(self, config: FrontEndConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, input: Tensor) -> Tensor:
        """Cut, bin, stretch, and add the asymmetry."""
        config = self.config
        x = self._cut(input) * config.gain
        if config.noise_reduction == "bin2":
            x = F.avg_pool2d(x, BIN)
        if config.stretch == "log":
            x = torch.log1p(x.clamp_min(0.0))
        if config.stretch == "asinh":
            x = torch.asinh(x / config.softening)
        return torch.cat([x, (x - x.flip(2, 3)).abs()], dim=1) if config.half_turn else x

    def place(self, map: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A map (B, H', W') over what the network sees -> (B, H, W), 0 where it was cut away."""
        if self.config.noise_reduction == "bin2":
            map = F.interpolate(map[:, None], scale_factor=BIN, mode="nearest")[:, 0]
        whole = map.new_zeros((len(map), *shape))
        (top, left), side = self._corner(shape), self.config.crop_px
        rows, columns = (side or shape[0], side or shape[1])
        rows, columns = min(rows, map.shape[1]), min(columns, map.shape[2])  # bins leave an odd edge out
        whole[:, top : top + rows, left : left + columns] = map[:, :rows, :columns]
        return whole

    def _cut(self, x: Tensor) -> Tensor:
        side = self.config.crop_px
        if side is None:
            return x
        top, left = self._corner(tuple(x.shape[2:]))
        return x[:, :, top : top + side, left : left + side]

    def _corner(self, shape: tuple[int, ...]) -> tuple[int, int]:
        side = self.config.crop_px
        return (0, 0) if side is None else ((shape[0] - side) // 2, (shape[1] - side) // 2)
