"""The sound pipeline's network from its config: front end, then body."""

from __future__ import annotations

from tessera.audio.config import SoundConfig
from tessera.core.network import Network


def build_network(config: SoundConfig, *, n_outputs: int) -> Network:
    """Waveform (B, 1, T) -> raw output (B, n_outputs)."""
    front_end = config.features.build(config.data.sample_rate_hz)
    return Network(front_end, config.model.build(config.features.rows(), n_outputs))
