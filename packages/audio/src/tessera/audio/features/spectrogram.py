"""The short-time Fourier transform in decibels: the base of every front end.

A front end has two halves. `levels` looks at one frame at a time, so a long file may be cut between frames;
`finish` needs the whole clip (dynamic range, normalisation). Both run in float32 whatever autocast says:
the power of a loud clip overflows float16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Required, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.core.errors import ConfigError, DataError

Window = Literal["hann", "hamming"]
PadMode = Literal["constant", "reflect"]
Normalize = Literal["none", "per_clip", "fixed"]

# Weight of the constant term; both windows are a - (1 - a) cos, periodic.
_WINDOW_CONSTANT: dict[Window, float] = {"hann": 0.5, "hamming": 0.54}
# Samples in one block of frames on a CPU: the block, its spectrum and its power stay in the cache.
_BLOCK_SAMPLES = 2**19
# Under this deviation (dB) a clip counts as constant: rounding, not sound, would be stretched to variance 1.
_LEAST_DEVIATION = 1e-3


class SpectrogramOptions(TypedDict, total=False):
    """Keyword options of `Spectrogram`, with its defaults and units."""

    sample_rate_hz: Required[int]
    n_fft: int
    hop: int
    window: Window
    center: bool
    pad_mode: PadMode
    power: float
    ref: float
    amin: float
    top_db: float | None
    normalize: Normalize
    mean: float | Sequence[float]
    std: float | Sequence[float]


class Spectrogram(nn.Module):
    """Linear-frequency spectrogram in dB: (B, 1, T) waveform -> (B, 1, n_fft // 2 + 1, frames).

    Args:
        sample_rate_hz: Sample rate of the waveform.
        n_fft: Length of a frame and of its window, in samples.
        hop: Samples from one frame to the next.
        window: Periodic window of length n_fft.
        center: Frame t is centred on sample t * hop; otherwise it starts there.
        pad_mode: What a centred frame sees outside the clip; "constant" is zeros, as in librosa 0.11.
        power: Exponent of the magnitude before bands are summed, 2 (power) or 1 (magnitude).
        ref: Power that reads 0 dB.
        amin: Power under which everything reads the same.
        top_db: Largest distance in dB under a clip's own maximum; None keeps everything.
        normalize: "per_clip" gives each clip mean 0 and variance 1, "fixed" applies mean and std.
        mean: One number, or one a row, in the features' unit; for "fixed".
        std: As mean.
    """

    def __init__(
        self,
        *,
        sample_rate_hz: int,
        n_fft: int = 1024,
        hop: int = 512,
        window: Window = "hann",
        center: bool = True,
        pad_mode: PadMode = "constant",
        power: float = 2.0,
        ref: float = 1.0,
        amin: float = 1e-10,
        top_db: float | None = None,
        normalize: Normalize = "none",
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        if power not in (1.0, 2.0):
            raise ConfigError("the spectrogram's power is not known", found=power, expected="1 or 2")
        if n_fft < 2 or hop < 1 or min(ref, amin) <= 0.0:
            raise ConfigError(
                "the spectrogram's sizes make no sense",
                found=f"n_fft {n_fft}, hop {hop}, ref {ref:g}, amin {amin:g}",
                expected="n_fft >= 2, hop >= 1, ref > 0, amin > 0",
            )
        self.sample_rate_hz, self.n_fft, self.hop = sample_rate_hz, n_fft, hop
        self.center, self.pad_mode = center, pad_mode
        self.power, self.ref, self.amin, self.top_db = power, ref, amin, top_db
        self.normalize = normalize
        self.window: Tensor
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("window", _window(window, n_fft))
        if normalize == "fixed":
            self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).reshape(-1, 1))
            self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).reshape(-1, 1))
            if not bool((self.std > 0).all()):
                raise ConfigError("the features' std must be positive", found=std, expected="> 0")

    @property
    def margin(self) -> int:
        """Samples of padding before and after the clip."""
        return self.n_fft // 2 if self.center else 0

    @property
    def least_samples(self) -> int:
        """Length in samples of the shortest clip that has features."""
        if not self.center:
            return self.n_fft
        return self.margin + 1 if self.pad_mode == "reflect" else 1

    def frames(self, n_samples: int) -> int:
        """Number of frames of a clip; an error where the clip is too short to have one."""
        if n_samples < self.least_samples:
            raise DataError(
                "the clip is too short for its features",
                found=f"{n_samples} samples",
                expected=f"at least {self.least_samples} (n_fft {self.n_fft}, hop {self.hop})",
                hint="lengthen it with zeros, or use center: true with pad_mode: constant",
            )
        return 1 + (n_samples + 2 * self.margin - self.n_fft) // self.hop

    @property
    def _block_frames(self) -> int:
        return max(1, _BLOCK_SAMPLES // self.n_fft)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, 1, T) samples -> (B, 1, rows, frames)."""
        if waveform.ndim != 3 or waveform.shape[1] != 1:
            raise DataError(
                "the features need one channel",
                found=f"shape {tuple(waveform.shape)}",
                expected="(batch, 1, samples)",
                hint="mix or pick a channel first",
            )
        count = self.frames(waveform.shape[-1])
        if _at_once(waveform):
            return self.finish(self.levels(self.pad(waveform, left=self.margin, right=self.margin)))
        groups = torch.split(waveform, max(1, self._block_frames // count))
        levels = [self.levels(self.pad(group, left=self.margin, right=self.margin)) for group in groups]
        return self.finish(torch.cat(levels))

    def pad(self, waveform: Tensor, *, left: int, right: int) -> Tensor:
        """Lengthen (B, 1, T) by what lies outside the clip, in the dtype of the features."""
        if self.window.dtype not in (torch.float32, torch.float64):
            raise ConfigError(
                "the features cannot be computed in half precision",
                found=str(self.window.dtype),
                expected="torch.float32",
                hint="convert the network alone, or use bf16-mixed (autocast) in place of bf16-true",
            )
        return F.pad(waveform.to(self.window.dtype), (left, right), mode=self.pad_mode)

    def levels(self, padded: Tensor) -> Tensor:
        """Padded samples (B, 1, T') -> (B, 1, bands, frames) in dB, each frame for itself."""
        with torch.autocast(padded.device.type, enabled=False):
            frames = padded[:, 0].unfold(-1, self.n_fft, self.hop)
            if _at_once(padded):
                return self._frame_levels(frames)[:, None]
            blocks = torch.chunk(frames, math.ceil(frames.shape[1] / self._block_frames), dim=1)
            return torch.cat([self._frame_levels(block) for block in blocks], dim=-1)[:, None]

    def finish(self, levels: Tensor) -> Tensor:
        """Steps that need the whole clip: dynamic range, transform, normalisation."""
        with torch.autocast(levels.device.type, enabled=False):
            if self.top_db is not None:
                levels = levels.maximum(levels.amax(dim=(-2, -1), keepdim=True) - self.top_db)
            return self._normalized(self._transformed(levels))

    def _frame_levels(self, frames: Tensor) -> Tensor:
        """Frames (B, frames, n_fft) -> (B, bands, frames) in dB."""
        spectrum = torch.fft.rfft(frames * self.window)
        power = spectrum.real.square() + spectrum.imag.square()
        if self.power == 1.0:
            # The root of zero has no slope; the least normal number stands in for it.
            power = power.clamp_min(torch.finfo(power.dtype).tiny).sqrt()
        return self._decibels(self._bands(power.transpose(-1, -2)))

    def _decibels(self, bands: Tensor) -> Tensor:
        level = (20.0 / self.power) * torch.log10(bands.clamp_min(self.amin ** (self.power / 2.0)))
        return level if self.ref == 1.0 else level - 10.0 * math.log10(self.ref)

    def _bands(self, power: Tensor) -> Tensor:
        """(B, bins, frames) -> (B, bands, frames)."""
        return power

    def _transformed(self, levels: Tensor) -> Tensor:
        """(B, 1, bands, frames) in dB -> (B, 1, rows, frames)."""
        return levels

    def _normalized(self, rows: Tensor) -> Tensor:
        if self.normalize == "fixed":
            return (rows - self.mean) / self.std
        if self.normalize == "per_clip":
            variance, mean = torch.var_mean(rows, dim=(-2, -1), keepdim=True, correction=0)
            constant = variance < _LEAST_DEVIATION**2
            return (rows - mean) / torch.where(constant, torch.ones_like(variance), variance).sqrt()
        return rows


def _at_once(samples: Tensor) -> bool:
    """Whether to skip the blocks, which serve a CPU's cache: on a GPU, and where a graph is traced."""
    return samples.device.type != "cpu" or torch.compiler.is_compiling()


def _window(name: Window, n_fft: int) -> Tensor:
    constant = _WINDOW_CONSTANT[name]
    phase = torch.arange(n_fft, dtype=torch.float64) * (2.0 * math.pi / n_fft)
    return (constant - (1.0 - constant) * torch.cos(phase)).float()
