"""Mel spectrogram and cepstral coefficients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

import torch
from torch import Tensor

from tessera.audio.features.mel import MelNorm, MelScale, dct_matrix, mel_filter_bank
from tessera.audio.features.spectrogram import Spectrogram, SpectrogramOptions

# Mel bands multiplied together on a CPU: few enough to skip most zeros, enough to keep the product busy.
_BANDS_PER_PRODUCT = 8


class MelOptions(SpectrogramOptions, total=False):
    """Keyword options of `MelSpectrogram`, with its defaults and units."""

    n_mels: int
    f_min_hz: float
    f_max_hz: float | None
    mel_scale: MelScale
    mel_norm: MelNorm | None
    legacy_double_square: bool


class MelSpectrogram(Spectrogram):
    """Mel spectrogram in dB: (B, 1, T) waveform -> (B, 1, n_mels, frames).

    Args:
        n_mels: Number of bands.
        f_min_hz: Lower foot of the first band.
        f_max_hz: Upper foot of the last band; half the sample rate when None.
        mel_scale: Spacing of the bands.
        mel_norm: "slaney" gives every band the same area, None the same height.
        legacy_double_square: Square the mel power once more before the logarithm, as the released
            preprocessing of Choi et al. (2017) does; doubles every level above the floor.
        options: Those of `Spectrogram`.
    """

    def __init__(
        self,
        *,
        n_mels: int = 128,
        f_min_hz: float = 0.0,
        f_max_hz: float | None = None,
        mel_scale: MelScale = "slaney",
        mel_norm: MelNorm | None = "slaney",
        legacy_double_square: bool = False,
        **options: Unpack[SpectrogramOptions],
    ) -> None:
        super().__init__(**options)
        bank = mel_filter_bank(
            sample_rate_hz=self.sample_rate_hz,
            n_fft=self.n_fft,
            n_mels=n_mels,
            f_min_hz=f_min_hz,
            f_max_hz=f_max_hz,
            mel_scale=mel_scale,
            mel_norm=mel_norm,
        )
        self.legacy_double_square = legacy_double_square
        self.filter_bank: Tensor
        self.register_buffer("filter_bank", torch.from_numpy(bank).float())
        self._products = _products(self.filter_bank)
        self.register_load_state_dict_post_hook(_renew_products)  # type: ignore[no-untyped-call] # torch's

    def _bands(self, power: Tensor) -> Tensor:
        if power.device.type != "cpu" or torch.compiler.is_compiling():
            mel = self.filter_bank @ power
        else:
            parts = [self.filter_bank[rows, bins] @ power[:, bins] for rows, bins in self._products]
            mel = torch.cat(parts, dim=1)
        return mel.square() if self.legacy_double_square else mel


class MFCC(MelSpectrogram):
    """Mel-frequency cepstral coefficients: (B, 1, T) waveform -> (B, 1, n_mfcc, frames).

    librosa's own default corresponds to ``top_db=80``.

    Args:
        n_mfcc: Number of coefficients, the first one included.
        options: Those of `MelSpectrogram`.
    """

    def __init__(self, *, n_mfcc: int = 20, **options: Unpack[MelOptions]) -> None:
        super().__init__(**options)
        self.dct: Tensor
        self.register_buffer("dct", torch.from_numpy(dct_matrix(n_mfcc, len(self.filter_bank))).float())

    def _transformed(self, levels: Tensor) -> Tensor:
        return self.dct @ levels


def _products(bank: Tensor) -> list[tuple[slice, slice]]:
    """Rows and the span of bins where they are not zero, a few rows at a time."""
    spans = []
    for first in range(0, len(bank), _BANDS_PER_PRODUCT):
        rows = slice(first, min(first + _BANDS_PER_PRODUCT, len(bank)))
        used = bank[rows].any(dim=0).nonzero()
        low, high = (int(used.min()), int(used.max()) + 1) if len(used) else (0, 1)
        spans.append((rows, slice(low, high)))
    return spans


def _renew_products(module: MelSpectrogram, _: Iterable[object]) -> None:
    """The bank that came with the weights decides, not the one that was computed here."""
    module._products = _products(module.filter_bank)
