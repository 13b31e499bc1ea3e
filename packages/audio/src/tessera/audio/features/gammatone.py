"""Gammatone spectrogram: energy and, on request, phase behind a model of the ear's filters.

Filters of order 4 on the ERB scale: Slaney, Apple Technical Report 35, 1993. The phase rows follow Wang
et al., "Attention is all you need for blind room volume estimation", arXiv 2309.13504: magnitudes, the
phase at low frequencies and its continuity, stacked as rows of one picture. Whether the paper's phase comes
from the filters or from a short-time Fourier transform is open, so both can be had.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal, Unpack

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.audio.bands import erb_spaced_hz, gammatone_decay, gammatone_samples
from tessera.audio.features.filter_bank import (
    Array,
    ComplexArray,
    FilterBank,
    FilterBankOptions,
    Kernel,
    KernelGroup,
    spectra_of,
)

Phase = Literal["none", "gammatone", "stft"]


class Gammatone(FilterBank):
    """Gammatone spectrogram in dB: (B, 1, T) waveform -> (B, 1, rows, frames).

    The energy is that of the filter's envelope, the squares of its output and of its quadrature's: a sine of
    amplitude 1 at a band's centre reads 0 dB. Filters are causal; the low ones answer late, as the ear's do.
    With a phase, its rows follow those of the bands, in radians, and then as many of its change from the
    frame before, both within +-pi. Range and normalisation treat the three kinds of rows apart.

    Args:
        n_bands: Number of filters.
        f_min_hz: Centre of the lowest filter.
        f_max_hz: Centre of the highest filter; 0.45 times the sample rate when None.
        phase: Of the filters' analytic output at the frame's centre, or of a Fourier transform of each frame.
        phase_rows: How many filters, or bins from 0 Hz on, have a phase: the lowest.
        options: Those of `FilterBank`.
    """

    def __init__(
        self,
        *,
        n_bands: int = 96,
        f_min_hz: float = 50.0,
        f_max_hz: float | None = None,
        phase: Phase = "none",
        phase_rows: int = 5,
        **options: Unpack[FilterBankOptions],
    ) -> None:
        sample_rate_hz = options["sample_rate_hz"]
        centres_hz = erb_spaced_hz(f_min_hz, f_max_hz or 0.45 * sample_rate_hz, n_bands)
        kernels = [_kernel(f, sample_rate_hz=sample_rate_hz) for f in centres_hz]
        super().__init__(kernels, **options)
        self.centres_hz = centres_hz
        self.n_bands, self.phase = n_bands, phase
        self.phase_groups = nn.ModuleList()
        if phase == "gammatone":
            self.phase_groups.extend(self.grouped(kernels[:phase_rows], frame=1))
        if phase == "stft":
            self.phase_kernels: Tensor
            waves = _low_waves(self.frame, rows=phase_rows)
            self.register_buffer("phase_kernels", waves, persistent=False)

    def block_levels(self, blocks: Tensor) -> Tensor:
        """Blocks (N, samples) -> levels in dB, then phases in radians (N, rows, new frames)."""
        spectra = spectra_of(blocks)
        parts = [self.decibels(self.energies(spectra))]
        for group in self.phase_groups:
            assert isinstance(group, KernelGroup)
            parts.append(group.values(spectra)[..., : self.new_frames].angle())
        if self.phase == "stft":
            start = (self.n_fft - self.frame) // 2
            heard = blocks[:, None, start : start + (self.new_frames - 1) * self.hop + self.frame]
            real, imaginary = F.conv1d(heard, self.phase_kernels, stride=self.hop).chunk(2, dim=1)
            parts.append(torch.complex(real, imaginary).angle())
        return torch.cat(parts, dim=1)

    def finish(self, levels: Tensor) -> Tensor:
        """Steps that need the whole clip: dynamic range, continuity of the phase, normalisation."""
        if self.phase == "none":
            return super().finish(levels)
        with torch.autocast(levels.device.type, enabled=False):
            bands, phase = levels[:, :, : self.n_bands], levels[:, :, self.n_bands :]
            change = F.pad(phase.diff(dim=-1), (1, 0))
            change = change - 2.0 * math.pi * torch.round(change / (2.0 * math.pi))
            parts = [self.limited(bands), phase, change]
            if self.normalize == "fixed":
                return self.normalized(torch.cat(parts, dim=2))
            return torch.cat([self.normalized(part) for part in parts], dim=2)


def _kernel(frequency_hz: float, *, sample_rate_hz: int) -> Kernel:
    decay = gammatone_decay(frequency_hz, sample_rate_hz=sample_rate_hz)
    turn = 2.0 * math.pi * frequency_hz / sample_rate_hz
    length = gammatone_samples(frequency_hz, sample_rate_hz=sample_rate_hz)
    return Kernel(partial(_impulse_response, decay=decay, turn=turn), -length, 0.0)


def _impulse_response(times: Array, *, decay: float, turn: float) -> ComplexArray:
    """The filter's response, mirrored in time, with its quadrature; a cosine comes out with its amplitude."""
    envelope = np.abs(times) ** 3 * np.exp(-decay * np.abs(times))
    wave: ComplexArray = 2.0 * envelope / envelope.sum() * np.exp(1j * turn * times)
    return wave


def _low_waves(frame: int, *, rows: int) -> Tensor:
    """Real and imaginary Fourier kernels (2 rows, 1, frame) under a Hann window, from 0 Hz up."""
    bins, times = np.arange(rows), np.arange(frame)
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * times / frame)
    waves = window * np.exp(-2j * np.pi / frame * np.outer(bins, times))
    return torch.from_numpy(np.concatenate([waves.real, waves.imag])[:, None]).float()
