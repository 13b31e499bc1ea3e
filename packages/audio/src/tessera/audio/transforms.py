"""Random changes of sound on the batch, on the model's device: voices, rooms' and recorders' sound, noise.

Mixup and masks are core's; this adds what only sound has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.audio.augmentation_set import SetTransform
from tessera.audio.config import SoundConfig
from tessera.audio.reverberation import decaying_responses, read_responses
from tessera.audio.waveform_changes import (
    at_speed,
    at_tempo,
    filtered,
    in_rooms,
    placed,
    shifted,
    with_noise,
)
from tessera.core.transforms.compose import StandardTransforms

_VOCODER_FRAME_S = 0.032  # some periods of a voice, yet short against a syllable
_CURVE_ORDERS = 3


@dataclass
class WaveformChange:
    """What is done to each row of a batch; ``None`` is nothing.

    Args:
        speed: (B,) factor; 2 plays twice as fast and an octave higher, followed by silence.
        tempo: (B,) factor; 2 plays twice as fast at the same pitch, followed by silence.
        place: (B,) in [0, 1), where a sound shorter than the window lies in it.
        shift: (B,) circular shift to later times, samples.
        room: (B, N) impulse response.
        curve_db: (B, K) smooth response, see `tessera.audio.waveform_changes.filtered`.
        gain: (B,) factor, its sign included.
        noise: (B, C, T) noise; each row of unit power.
        noise_snr_db: (B,) signal-to-noise ratio, dB.
    """

    speed: Tensor | None = None
    tempo: Tensor | None = None
    place: Tensor | None = None
    shift: Tensor | None = None
    room: Tensor | None = None
    curve_db: Tensor | None = None
    gain: Tensor | None = None
    noise: Tensor | None = None
    noise_snr_db: Tensor | None = None


class SoundTransforms(StandardTransforms):
    """Speed, shift, rooms, noise, gain, polarity, a set, then core's; each where the config asks."""

    def __init__(self, config: SoundConfig) -> None:
        super().__init__(config.augment)
        self.config = config.augment
        self._rate_hz = config.data.sample_rate_hz
        self._rooms: Tensor | None = None
        if self.config.responses is not None:
            samples = round(config.data.window_s * self._rate_hz)
            self._rooms = read_responses(self.config.responses, sample_rate_hz=self._rate_hz, samples=samples)
        self.set: SetTransform | None = None
        if self.config.set is not None:
            self.set = SetTransform(self.config.set, sample_rate_hz=self._rate_hz)
        self._n_fft = 4 * math.ceil(self._rate_hz * _VOCODER_FRAME_S / 4)

    def on_input(self, input: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change waveforms (B, C, T)."""
        changed = self.apply(input, self.draw(input.shape, generator))
        if self.set is not None and not self.set.config.of_pictures:
            changed = self.set.apply(changed, self.set.draw(changed.shape, target, generator))
        return super().on_input(changed, target, generator)

    def on_features(
        self, features: Tensor, target: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Change pictures (B, C, F, T), then mix and mask them."""
        if self.set is not None and self.set.config.of_pictures:
            features = self.set.apply(features, self.set.draw(features.shape, target, generator))
        return super().on_features(features, target, generator)

    def draw(self, shape: torch.Size, generator: torch.Generator) -> WaveformChange:
        """One change for a batch of ``shape`` (B, C, T)."""
        config, rows, length = self.config, shape[0], shape[-1]

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(rows, generator=generator)

        def factor(largest: float) -> Tensor:
            return uniform(-math.log1p(largest), math.log1p(largest)).exp()

        change = WaveformChange()
        if config.speed:
            change.speed = factor(config.speed)
        if config.tempo:
            change.tempo = factor(config.tempo)
        if config.place_anywhere:
            change.place = uniform(0.0, 1.0)
        if config.shift_fraction:
            largest = config.shift_fraction * length
            if largest < 1:
                self._warn_once(f"augment.shift_fraction does nothing: {largest:.2g} of {length} samples")
            change.shift = uniform(-largest, largest).round().long()
        change.room = self._room(shape, generator)
        if config.response_db:
            change.curve_db = self._curve(config.response_db, rows, generator)
        if config.gain_db:
            change.gain = 10 ** (uniform(-config.gain_db, config.gain_db) / 20)
        if config.flip_sign:
            sign = 2.0 * torch.randint(0, 2, (rows,), generator=generator) - 1
            change.gain = sign if change.gain is None else change.gain * sign
        if config.noise_snr_db is not None:
            change.noise = self._noise(shape, generator)
            change.noise_snr_db = uniform(*config.noise_snr_db)
        return change

    def apply(self, input: Tensor, change: WaveformChange) -> Tensor:
        """Apply a recorded change to (B, C, T); silent rows stay silent."""
        changed = input
        if change.speed is not None:
            changed = at_speed(changed, change.speed)
        if change.tempo is not None:
            changed = at_tempo(changed, change.tempo, n_fft=self._n_fft)
        if change.place is not None:
            changed = placed(changed, change.place)
        if change.shift is not None:
            changed = shifted(changed, change.shift)
        if change.room is not None:
            changed = in_rooms(changed, change.room)
        if change.curve_db is not None:
            changed = filtered(changed, change.curve_db, sample_rate_hz=self._rate_hz)
        if change.noise is not None and change.noise_snr_db is not None:
            changed = with_noise(changed, change.noise, change.noise_snr_db)
        if change.gain is not None:
            changed = changed * change.gain.to(input.device)[:, None, None]
        return changed

    def _room(self, shape: torch.Size, generator: torch.Generator) -> Tensor | None:
        """(B, N) of the rows in a room, and of the others a single 1."""
        config, rows = self.config, shape[0]
        if self._rooms is not None:
            room = self._rooms[torch.randint(len(self._rooms), (rows,), generator=generator)]
        elif config.reverb_s is not None:
            samples = max(1, min(shape[-1], round(config.reverb_s[1] * self._rate_hz)))
            bounds = torch.tensor([config.reverb_s, config.reverb_direct_db])
            low, high = bounds[:, :1], bounds[:, 1:]
            t60_s, direct_db = low + (high - low) * torch.rand(2, rows, generator=generator)
            noise = torch.randn(rows, samples, generator=generator)
            room = decaying_responses(noise, t60_s, direct_db, sample_rate_hz=self._rate_hz)
        else:
            return None
        if config.reverb_share < 1.0:
            dry = torch.zeros_like(room)
            dry[:, 0] = 1.0
            inside = torch.rand(rows, 1, generator=generator) < config.reverb_share
            room = torch.where(inside, room, dry)
        return room

    def _noise(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        noise = torch.randn(shape, generator=generator)
        if self.config.noise_colour_db:
            curve_db = self._curve(self.config.noise_colour_db, shape[0], generator)
            noise = filtered(noise, curve_db, sample_rate_hz=self._rate_hz)
        return noise / noise.square().mean(dim=(1, 2), keepdim=True).sqrt()

    @staticmethod
    def _curve(spread_db: float, rows: int, generator: torch.Generator) -> Tensor:
        """(B, K) of a response whose standard deviation at both ends of the spectrum is ``spread_db``."""
        power = 1 / torch.arange(1.0, _CURVE_ORDERS + 1)
        scale = spread_db * (power / power.sum()).sqrt()
        return torch.randn(rows, _CURVE_ORDERS, generator=generator) * scale
