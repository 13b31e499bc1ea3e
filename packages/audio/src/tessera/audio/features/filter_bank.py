"""Banks of long filters in the frequency domain: what constant-Q, wavelets and gammatones share.

A block of many frames goes through one Fourier transform. For each filter the bins in its band are multiplied
by its spectrum, folded to the rate at which values are wanted (sampling in time is folding in frequency) and
transformed back. Cost and memory follow the bands' widths, not filters x frames x filter length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.audio.bands import frame_samples
from tessera.audio.features.front_end import FrontEnd, FrontEndOptions, at_once

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

# A block is this many times as long as what one frame sees: three quarters of it is new.
_SPANS_PER_BLOCK = 4
_LEAST_BLOCK = 2**14
# Under this share of a filter's largest gain (-90 dB) its spectrum counts as zero.
_LEAST_GAIN = 3e-5
# The part of the band over this share (-20 dB) decides how often an average looks at the filter's output.
_AVERAGED_GAIN = 0.1
# Neighbouring filters that are computed together.
_ROWS_PER_GROUP = 6
# Samples in the blocks that are computed at once on a CPU.
_BLOCK_SAMPLES = 2**18


@dataclass(frozen=True)
class Kernel:
    """What a band correlates the sound with.

    Args:
        wave: Its values at times in samples from the frame's centre.
        first: Time of its first value; before, it is zero.
        last: Time of its last value.
    """

    wave: Callable[[Array], Array | ComplexArray]
    first: float
    last: float


class FilterBankOptions(FrontEndOptions, total=False):
    """Keyword options of `FilterBank`, with its defaults and units."""

    frame: int


class FilterBank(FrontEnd):
    """Energy in bands, in dB: (B, 1, T) waveform -> (B, 1, bands, frames).

    A child class sets `centres_hz`, the bands' frequencies.

    Args:
        kernels: One a band, in order of frequency.
        frame: Samples over which a band's energy is averaged; 1 takes the value at the frame's centre.
        options: Those of `FrontEnd`; with ``center=False`` frame t averages from sample t * hop on.
    """

    centres_hz: tuple[float, ...]

    def __init__(
        self, kernels: Sequence[Kernel], *, frame: int = 1, **options: Unpack[FrontEndOptions]
    ) -> None:
        reach = max(max(-kernel.first, kernel.last) for kernel in kernels)
        super().__init__(n_fft=frame_samples(reach, frame), **options)
        self.frame = frame
        least = max(_LEAST_BLOCK, _SPANS_PER_BLOCK * self.n_fft)
        self.block_steps = 2 ** max(1, math.ceil(math.log2(least / self.hop)))
        self.block_samples = self.block_steps * self.hop
        self.new_frames = 1 + (self.block_samples - self.n_fft) // self.hop
        self.groups = nn.ModuleList(self.grouped(kernels, frame=frame))

    def grouped(self, kernels: Sequence[Kernel], *, frame: int) -> list[KernelGroup]:
        """The kernels in groups of neighbours that are looked at equally often."""
        spectra = [_spectrum(kernel, centre=self.n_fft / 2, block=self.block_samples) for kernel in kernels]
        rates = [self._values_per_hop(spectrum) if frame > 1 else 1 for spectrum in spectra]
        groups = []
        for rate, rows in groupby(range(len(kernels)), key=lambda row: rates[row]):
            members = list(rows)
            for first in range(0, len(members), _ROWS_PER_GROUP):
                chosen = np.stack([spectra[row] for row in members[first : first + _ROWS_PER_GROUP]])
                groups.append(KernelGroup(chosen, hop=self.hop, rate=rate, frame=frame))
        return groups

    def _values_per_hop(self, spectrum: ComplexArray) -> int:
        """Power of two that samples the energy, twice as wide as the better part of the band."""
        gain = np.abs(spectrum)
        used = np.flatnonzero(gain > _AVERAGED_GAIN * gain.max())
        width = 2.0 * (used[-1] + 1 - used[0]) / self.block_steps
        return min(2 ** max(0, math.ceil(math.log2(width))), self.hop)

    @property
    def margin(self) -> int:
        """Samples of padding before and after the clip."""
        return self.n_fft // 2 if self.center else (self.n_fft - self.frame) // 2

    @property
    def constant(self) -> Tensor:
        """The first kernels' spectra."""
        group = self.groups[0]
        assert isinstance(group, KernelGroup)
        return group.kernels

    @property
    def block_frames(self) -> int:
        """Frames that are computed at once on a CPU."""
        return self.new_frames * max(1, _BLOCK_SAMPLES // self.block_samples)

    def levels(self, padded: Tensor) -> Tensor:
        """Padded samples (B, 1, T') -> (B, 1, bands, frames) in dB, each frame for itself."""
        with torch.autocast(padded.device.type, enabled=False):
            blocks, count = self.blocks(padded[:, 0])
            if at_once(padded):
                return self.joined(self.block_levels(blocks), clips=padded.shape[0], count=count)
            parts = torch.split(blocks, max(1, _BLOCK_SAMPLES // self.block_samples))
            levels = torch.cat([self.block_levels(part) for part in parts])
            return self.joined(levels, clips=padded.shape[0], count=count)

    def blocks(self, sound: Tensor) -> tuple[Tensor, int]:
        """Sound (B, T') -> overlapping blocks (B * blocks, samples), and how many frames a clip has."""
        count = 1 + (sound.shape[-1] - self.n_fft) // self.hop
        n_blocks = math.ceil(count / self.new_frames)
        step = self.new_frames * self.hop
        missing = (n_blocks - 1) * step + self.block_samples - sound.shape[-1]
        blocks = F.pad(sound, (0, missing)).unfold(-1, self.block_samples, step)
        return blocks.reshape(-1, self.block_samples), count

    def block_levels(self, blocks: Tensor) -> Tensor:
        """Blocks (N, samples) -> levels (N, bands, new frames) in dB."""
        return self.decibels(self.energies(spectra_of(blocks)))

    def energies(self, spectra: Tensor) -> Tensor:
        """Spectra of blocks (N, 3 block / 2) -> energies (N, bands, new frames)."""
        return torch.cat([group.energy(spectra, self.new_frames) for group in self._kernel_groups()], dim=1)

    def joined(self, parts: Tensor, *, clips: int, count: int) -> Tensor:
        """Blocks (B * blocks, rows, new frames) -> (B, 1, rows, frames)."""
        rows = parts.shape[1]
        whole = parts.reshape(clips, -1, rows, self.new_frames).transpose(1, 2)
        return whole.reshape(clips, 1, rows, -1)[..., :count]

    def _kernel_groups(self) -> list[KernelGroup]:
        return [group for group in self.groups if isinstance(group, KernelGroup)]


class KernelGroup(nn.Module):
    """Neighbouring kernels, their outputs sampled ``rate`` times a hop.

    Args:
        spectra: (K, 3 block / 2) conjugate spectra of the kernels, with the bins of `spectra_of`; zero but
            for one block of bins around each band.
        hop: Samples from one frame to the next.
        rate: Values from one frame to the next.
        frame: Samples over which the energy is averaged.
    """

    def __init__(self, spectra: ComplexArray, *, hop: int, rate: int, frame: int) -> None:
        super().__init__()
        block = spectra.shape[1] // 3 * 2
        self.size = block // hop * rate
        self.rate = rate
        step = hop / rate
        self.side = math.floor(frame / (2.0 * step))
        gain = np.abs(spectra).max(axis=0)
        used = np.flatnonzero(gain > _LEAST_GAIN * gain.max())
        self.low, self.high = int(used[0]), int(used[-1]) + 1
        # Whole folds, the first of which begins at a multiple of the size, frequency 0 lying at block / 2.
        before = (self.low - block // 2) % self.size
        after = -(before + self.high - self.low) % self.size
        self.zeros = (before, after)
        kept = np.pad(spectra[:, self.low : self.high], ((0, 0), self.zeros))
        bins = self.low - before - block // 2 + np.arange(kept.shape[1])
        # The first value wanted lies half a frame before the first frame's centre.
        kept *= np.exp(-2j * np.pi * bins * (self.side * step / block)) * (rate / hop)
        folded = np.stack([kept.real, kept.imag], axis=-1).reshape(len(spectra), -1, self.size, 2)
        self.kernels: Tensor
        self.weights: Tensor
        self.register_buffer("kernels", torch.from_numpy(folded).float(), persistent=False)
        weights = torch.from_numpy(_cell_weights(self.side, step=step, frame=frame)).float()
        self.register_buffer("weights", weights, persistent=False)

    def values(self, spectra: Tensor) -> Tensor:
        """Spectra of blocks (N, 3 block / 2) -> complex outputs (N, K, values), `rate` of them a hop."""
        bins = F.pad(spectra[:, self.low : self.high], self.zeros)
        folds = bins.reshape(-1, 1, self.kernels.shape[1], self.size)
        return torch.fft.ifft((folds * torch.view_as_complex(self.kernels)).sum(2))

    def energy(self, spectra: Tensor, frames: int) -> Tensor:
        """Spectra of blocks (N, 3 block / 2) -> energies (N, K, frames), averaged over each frame."""
        values = self.values(spectra)[..., : (frames - 1) * self.rate + 2 * self.side + 1]
        energy = values.real.square() + values.imag.square()
        if len(self.weights) == 1:
            return energy[..., :: self.rate]
        return energy.unfold(-1, len(self.weights), self.rate) @ self.weights


def spectra_of(blocks: Tensor) -> Tensor:
    """Blocks (N, block) -> bins (N, 3 block / 2), from minus half the sample rate up to just under the whole.

    Here a band is one piece even where it reaches over 0 or half the sample rate.
    """
    upper = torch.fft.rfft(blocks)
    lower = upper[:, 1:-1].conj().flip(-1)
    return torch.cat([upper[:, -1:].conj(), lower, upper, lower], dim=-1)


def _spectrum(kernel: Kernel, *, centre: float, block: int) -> ComplexArray:
    """Conjugate spectrum of a kernel around the first frame's centre: a period around its band, else zero."""
    times = np.arange(math.ceil(centre + kernel.first), math.floor(centre + kernel.last) + 1)
    sampled = np.zeros(block, dtype=np.complex128)
    sampled[times] = kernel.wave((times - centre).astype(np.float64))
    period = np.conj(np.fft.fft(sampled))
    spectrum = np.zeros(block // 2 * 3, dtype=np.complex128)
    peak = int(np.abs(period[: block // 2]).argmax())
    spectrum[peak : peak + block] = np.roll(period, block // 2 - peak)
    return spectrum


def _cell_weights(side: int, *, step: float, frame: int) -> Array:
    """Share of the frame that lies nearest to each of its values."""
    places = np.abs(np.arange(-side, side + 1)) * step
    share = np.minimum(places + step / 2.0, frame / 2.0) - (places - step / 2.0)
    weights: Array = share / share.sum()
    return weights
