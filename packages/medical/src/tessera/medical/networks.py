"""The network of a volume pipeline from its config; volumes reach it prepared, so there is no front end."""

from __future__ import annotations

from torch import nn

from tessera.core.network import Network
from tessera.medical.airway_windows import AirwayWindows
from tessera.medical.config import AirwayConfig, VolumeConfig
from tessera.medical.windows import VolumeWindows


def build_volume_network(config: VolumeConfig, *, n_outputs: int) -> Network:
    """Patches (B, C, *S) -> logits (B, n_outputs, *S)."""
    channels = VolumeWindows(config).input_shape[0]
    return Network(nn.Identity(), config.model.build(channels, n_outputs, config.data.spatial_dims))


def build_airway_network(config: AirwayConfig, *, n_outputs: int) -> Network:
    """Patches (B, C, D, H, W) -> logits (B, n_outputs, D, H, W)."""
    channels = AirwayWindows(config).input_shape[0]
    return Network(nn.Identity(), config.model.build(channels, n_outputs, config.data.spatial_dims))
