"""The sound pipeline's network from its config: front end, then body."""

from __future__ import annotations

import torch

from tessera.audio.config import SoundConfig
from tessera.audio.windows import SoundWindows
from tessera.core.network import Network


def build_network(config: SoundConfig, *, n_outputs: int) -> Network:
    """Waveform (B, 1, T) -> raw output (B, n_outputs)."""
    front_end = config.features.build(config.data.sample_rate_hz)
    with torch.no_grad():
        features = front_end(torch.zeros(1, *SoundWindows(config).input_shape))
    return Network(front_end, config.model.build_for(features.shape[1:], n_outputs))
