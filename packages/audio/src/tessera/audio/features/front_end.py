"""What every front end does with its frames: padding, decibels, dynamic range, normalisation.

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

PadMode = Literal["constant", "reflect"]
Normalize = Literal["none", "per_clip", "per_clip_minmax", "fixed"]

# Under this deviation (dB) a clip counts as constant: rounding, not sound, would be stretched to variance 1.
_LEAST_DEVIATION = 1e-3


class FrontEndOptions(TypedDict, total=False):
    """Keyword options of `FrontEnd`, with its defaults and units."""

    sample_rate_hz: Required[int]
    hop: int
    center: bool
    pad_mode: PadMode
    ref: float
    amin: float
    top_db: float | None
    normalize: Normalize
    mean: float | Sequence[float]
    std: float | Sequence[float]


class FrontEnd(nn.Module):
    """Base: (B, 1, T) waveform -> (B, 1, rows, frames) in dB; a child class writes `levels`.

    Args:
        n_fft: Samples that a frame sees.
        sample_rate_hz: Sample rate of the waveform.
        hop: Samples from one frame to the next.
        center: Frame t is centred on sample t * hop; otherwise it starts there.
        pad_mode: What a centred frame sees outside the clip; "constant" is zeros, as in librosa 0.11.
        ref: Power that reads 0 dB.
        amin: Power under which everything reads the same.
        top_db: Largest distance in dB under a clip's own maximum; None keeps everything.
        normalize: "per_clip" gives each clip mean 0 and variance 1, "per_clip_minmax" least 0 and greatest 1,
            "fixed" applies mean and std.
        mean: One number, or one a row, in the features' unit; for "fixed".
        std: As mean.
    """

    def __init__(
        self,
        *,
        n_fft: int,
        sample_rate_hz: int,
        hop: int = 512,
        center: bool = True,
        pad_mode: PadMode = "constant",
        ref: float = 1.0,
        amin: float = 1e-10,
        top_db: float | None = None,
        normalize: Normalize = "none",
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        if n_fft < 2 or hop < 1 or min(ref, amin) <= 0.0:
            raise ConfigError(
                "the spectrogram's sizes make no sense",
                found=f"n_fft {n_fft}, hop {hop}, ref {ref:g}, amin {amin:g}",
                expected="n_fft >= 2, hop >= 1, ref > 0, amin > 0",
            )
        self.sample_rate_hz, self.n_fft, self.hop = sample_rate_hz, n_fft, hop
        self.center, self.pad_mode = center, pad_mode
        self.ref, self.amin, self.top_db = ref, amin, top_db
        self.normalize = normalize
        self.mean: Tensor
        self.std: Tensor
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
        if self.pad_mode == "reflect" and self.margin:
            return max(self.margin + 1, self.n_fft - 2 * self.margin)
        return max(1, self.n_fft - 2 * self.margin)

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
    def constant(self) -> Tensor:
        """One of the constants, for device and dtype of the computation."""
        raise NotImplementedError

    @property
    def block_frames(self) -> int:
        """Frames that are computed at once on a CPU."""
        raise NotImplementedError

    def levels(self, padded: Tensor) -> Tensor:
        """Padded samples (B, 1, T') -> (B, 1, bands, frames) in dB, each frame for itself."""
        raise NotImplementedError

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
        if at_once(waveform):
            return self.finish(self.levels(self.pad(waveform, left=self.margin, right=self.margin)))
        groups = torch.split(waveform, max(1, self.block_frames // count))
        levels = [self.levels(self.pad(group, left=self.margin, right=self.margin)) for group in groups]
        return self.finish(torch.cat(levels))

    def pad(self, waveform: Tensor, *, left: int, right: int) -> Tensor:
        """Lengthen (B, 1, T) by what lies outside the clip, in the dtype of the features."""
        dtype = self.constant.dtype
        if dtype not in (torch.float32, torch.float64):
            raise ConfigError(
                "the features cannot be computed in half precision",
                found=str(dtype),
                expected="torch.float32",
                hint="convert the network alone, or use bf16-mixed (autocast) in place of bf16-true",
            )
        return F.pad(waveform.to(dtype), (left, right), mode=self.pad_mode)

    def finish(self, levels: Tensor) -> Tensor:
        """Steps that need the whole clip: dynamic range, transform, normalisation."""
        with torch.autocast(levels.device.type, enabled=False):
            return self.normalized(self._transformed(self.limited(levels)))

    def limited(self, levels: Tensor) -> Tensor:
        """(B, 1, bands, frames) in dB, none further than ``top_db`` under the clip's loudest."""
        if self.top_db is None:
            return levels
        return levels.maximum(levels.amax(dim=(-2, -1), keepdim=True) - self.top_db)

    def decibels(self, bands: Tensor, *, power: float = 2.0) -> Tensor:
        """Magnitudes to this power, in dB over ``ref``."""
        level = (20.0 / power) * torch.log10(bands.clamp_min(self.amin ** (power / 2.0)))
        return level if self.ref == 1.0 else level - 10.0 * math.log10(self.ref)

    def _transformed(self, levels: Tensor) -> Tensor:
        """(B, 1, bands, frames) in dB -> (B, 1, rows, frames)."""
        return levels

    def normalized(self, rows: Tensor) -> Tensor:
        """(B, 1, rows, frames) on the scale that ``normalize`` names."""
        if self.normalize == "fixed":
            return (rows - self.mean) / self.std
        if self.normalize == "per_clip_minmax":
            least, greatest = rows.amin(dim=(-2, -1), keepdim=True), rows.amax(dim=(-2, -1), keepdim=True)
            return (rows - least) / _or_one(greatest - least, least=_LEAST_DEVIATION)
        if self.normalize == "per_clip":
            variance, mean = torch.var_mean(rows, dim=(-2, -1), keepdim=True, correction=0)
            return (rows - mean) / _or_one(variance, least=_LEAST_DEVIATION**2).sqrt()
        return rows


def at_once(samples: Tensor) -> bool:
    """Whether to skip the blocks, which serve a CPU's cache: on a GPU, and where a graph is traced."""
    return samples.device.type != "cpu" or torch.compiler.is_compiling()


def _or_one(spread: Tensor, *, least: float) -> Tensor:
    """The spread, and 1 where it is no more than rounding."""
    return torch.where(spread < least, torch.ones_like(spread), spread)
