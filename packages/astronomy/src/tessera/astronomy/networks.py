"""The networks of the sky's pipelines from their configs: front end, then body."""

from __future__ import annotations

import torch
from torch import nn

from tessera.astronomy.config import DensityConfig, SkyConfig
from tessera.astronomy.front_ends import SkyFrontEnd
from tessera.astronomy.windows import DensityWindows, SkyWindows
from tessera.core.network import Network


def build_sky_network(config: SkyConfig, *, n_outputs: int) -> Network:
    """Prepared images (B, C, H, W) -> raw output (B, n_outputs)."""
    return _build(config, SkyWindows(config).input_shape, n_outputs)


def build_density_network(config: DensityConfig, *, n_outputs: int) -> Network:
    """Windows of maps (B, 1, H, W) -> raw output (B, n_outputs)."""
    return _build(config, DensityWindows(config).input_shape, n_outputs)


def _build(config: SkyConfig | DensityConfig, shape: tuple[int, ...], n_outputs: int) -> Network:
    front_end: nn.Module = SkyFrontEnd(config.front_end)
    with torch.no_grad():
        features = front_end(torch.zeros(1, *shape))
    return Network(front_end, config.model.build_for(features.shape[1:], n_outputs))
