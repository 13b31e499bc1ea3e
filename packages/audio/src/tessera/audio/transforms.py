"""Random changes of sound on the batch, on the model's device: speed, shift, gain, polarity, noise.

Mixup and masks are core's; this adds what only sound has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.audio.config import SoundConfig
from tessera.core.transforms.compose import StandardTransforms


@dataclass(frozen=True)
class WaveformChange:
    """What is done to each row of a batch; ``None`` is nothing.

    Args:
        speed: (B,) factor; 2 plays twice as fast and an octave higher, followed by silence.
        shift: (B,) circular shift to later times, samples.
        gain: (B,) factor, its sign included.
        noise: (B, C, T) noise; each row of unit power.
        noise_snr_db: (B,) signal-to-noise ratio, dB.
    """

    speed: Tensor | None = None
    shift: Tensor | None = None
    gain: Tensor | None = None
    noise: Tensor | None = None
    noise_snr_db: Tensor | None = None


class SoundTransforms(StandardTransforms):
    """Speed, shift, noise, gain and polarity, then core's transforms; each where the config turns it on."""

    def __init__(self, config: SoundConfig) -> None:
        super().__init__(config.augment)
        self.config = config.augment

    def on_input(self, input: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change waveforms (B, C, T)."""
        return super().on_input(self.apply(input, self.draw(input.shape, generator)), target, generator)

    def draw(self, shape: torch.Size, generator: torch.Generator) -> WaveformChange:
        """One change for a batch of ``shape`` (B, C, T)."""
        config, rows, length = self.config, shape[0], shape[-1]

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(rows, generator=generator)

        speed = shift = gain = noise = snr_db = None
        if config.speed:
            largest = math.log1p(config.speed)
            speed = uniform(-largest, largest).exp()
        if config.shift_fraction:
            largest = config.shift_fraction * length
            if largest < 1:
                self._warn_once(f"augment.shift_fraction does nothing: {largest:.2g} of {length} samples")
            shift = uniform(-largest, largest).round().long()
        if config.gain_db:
            gain = 10 ** (uniform(-config.gain_db, config.gain_db) / 20)
        if config.flip_sign:
            sign = 2.0 * torch.randint(0, 2, (rows,), generator=generator) - 1
            gain = sign if gain is None else gain * sign
        if config.noise_snr_db is not None:
            noise = torch.randn(shape, generator=generator)
            noise = noise / noise.square().mean(dim=(1, 2), keepdim=True).sqrt()
            snr_db = uniform(*config.noise_snr_db)
        return WaveformChange(speed, shift, gain, noise, snr_db)

    @staticmethod
    def apply(input: Tensor, change: WaveformChange) -> Tensor:
        """Apply a recorded change to (B, C, T); silent rows stay silent."""
        changed, device = input, input.device
        if change.speed is not None:
            changed = _at_speed(changed, change.speed.to(device))
        if change.shift is not None:
            length = input.shape[-1]
            source = (torch.arange(length, device=device) - change.shift.to(device)[:, None]) % length
            changed = changed.gather(-1, source[:, None].expand_as(changed))
        if change.noise is not None and change.noise_snr_db is not None:
            power = changed.square().mean(dim=(1, 2), keepdim=True)
            ratio = 10 ** (-change.noise_snr_db.to(device) / 10)
            changed = changed + change.noise.to(device) * (power * ratio[:, None, None]).sqrt()
        if change.gain is not None:
            changed = changed * change.gain.to(device)[:, None, None]
        return changed


def _at_speed(sound: Tensor, speed: Tensor) -> Tensor:
    """(B, C, T) read at ``speed`` (B,) times the rate, between samples on straight lines, then zeros."""
    last = sound.shape[-1] - 1
    # float64: float32 could not tell the neighbours of a place far into a long window apart
    places = torch.arange(last + 1, device=sound.device, dtype=torch.float64) * speed.double()[:, None]
    before = places.floor().clamp_max(last)
    rest = (places - before).to(sound.dtype)[:, None].expand_as(sound)
    index = before.long()[:, None].expand_as(sound)
    between = torch.lerp(sound.gather(-1, index), sound.gather(-1, (index + 1).clamp_max(last)), rest)
    return torch.where((places <= last)[:, None], between, torch.zeros_like(between))
