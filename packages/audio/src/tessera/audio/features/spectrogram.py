"""The short-time Fourier transform in decibels: the base of the mel spectrogram.

With ``window="gauss"`` it is the discrete Gabor transform of Nanni et al. (2021).
"""

from __future__ import annotations

import math
from typing import Literal, Unpack

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from tessera.audio.features.front_end import FrontEnd, FrontEndOptions, at_once
from tessera.core.errors import ConfigError

Window = Literal["hann", "hamming", "gauss"]

# Weight of the constant term; both windows are a - (1 - a) cos, periodic.
_WINDOW_CONSTANT = {"hann": 0.5, "hamming": 0.54}
# What the Gaussian window has fallen to at both ends of the frame.
_GAUSS_END = 0.01
# Samples in one block of frames on a CPU: the block, its spectrum and its power stay in the cache.
_BLOCK_SAMPLES = 2**19


class SpectrogramOptions(FrontEndOptions, total=False):
    """Keyword options of `Spectrogram`, with its defaults and units."""

    n_fft: int
    window: Window
    power: float


class Spectrogram(FrontEnd):
    """Linear-frequency spectrogram in dB: (B, 1, T) waveform -> (B, 1, n_fft // 2 + 1, frames).

    Args:
        n_fft: Length of a frame and of its window, in samples.
        window: Periodic window of length n_fft; "gauss" falls to 1 % at its ends.
        power: Exponent of the magnitude before bands are summed, 2 (power) or 1 (magnitude).
        options: Those of `FrontEnd`.
    """

    def __init__(
        self,
        *,
        n_fft: int = 1024,
        window: Window = "hann",
        power: float = 2.0,
        **options: Unpack[FrontEndOptions],
    ) -> None:
        super().__init__(n_fft=n_fft, **options)
        if power not in (1.0, 2.0):
            raise ConfigError("the spectrogram's power is not known", found=power, expected="1 or 2")
        self.power = power
        self.window: Tensor
        self.register_buffer("window", _window(window, n_fft))

    @property
    def constant(self) -> Tensor:
        """The window."""
        return self.window

    @property
    def block_frames(self) -> int:
        """Frames that are computed at once on a CPU."""
        return max(1, _BLOCK_SAMPLES // self.n_fft)

    def levels(self, padded: Tensor) -> Tensor:
        """Padded samples (B, 1, T') -> (B, 1, bands, frames) in dB, each frame for itself."""
        with torch.autocast(padded.device.type, enabled=False):
            frames = padded[:, 0].unfold(-1, self.n_fft, self.hop)
            if at_once(padded):
                return self._frame_levels(frames)[:, None]
            blocks = torch.chunk(frames, math.ceil(frames.shape[1] / self.block_frames), dim=1)
            return torch.cat([self._frame_levels(block) for block in blocks], dim=-1)[:, None]

    def _frame_levels(self, frames: Tensor) -> Tensor:
        """Frames (B, frames, n_fft) -> (B, bands, frames) in dB."""
        spectrum = torch.fft.rfft(frames * self.window)
        power = spectrum.real.square() + spectrum.imag.square()
        if self.power == 1.0:
            # The root of zero has no slope; the least normal number stands in for it.
            power = power.clamp_min(torch.finfo(power.dtype).tiny).sqrt()
        return self.decibels(self._bands(power.transpose(-1, -2)), power=self.power)

    def _bands(self, power: Tensor) -> Tensor:
        """(B, bins, frames) -> (B, bands, frames)."""
        return power


class LinearBands(Spectrogram):
    """Linear-frequency spectrogram in dB with fewer rows: (B, 1, T) waveform -> (B, 1, n_bands, frames).

    A row is the mean power of its part of the spectrum; where parts do not divide the bins, they share some.

    Args:
        n_bands: Number of equal parts between 0 and half the sample rate.
        options: Those of `Spectrogram`.
    """

    def __init__(self, *, n_bands: int, **options: Unpack[SpectrogramOptions]) -> None:
        super().__init__(**options)
        bins = self.n_fft // 2 + 1
        if not 1 <= n_bands <= bins:
            raise ConfigError("too many linear bands", found=n_bands, expected=f"1 to {bins}")
        self.n_bands = n_bands

    def _bands(self, power: Tensor) -> Tensor:
        return adaptive_avg_pool1d(power.transpose(-1, -2), self.n_bands).transpose(-1, -2)


def _window(name: Window, n_fft: int) -> Tensor:
    place = torch.arange(n_fft, dtype=torch.float64) / n_fft
    if name == "gauss":
        return (_GAUSS_END ** (2.0 * place - 1.0).square()).float()
    constant = _WINDOW_CONSTANT[name]
    return (constant - (1.0 - constant) * torch.cos(2.0 * math.pi * place)).float()
