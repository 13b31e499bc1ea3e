"""Configs of the front ends: what a network sees of a sound (no torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from tessera.audio.filter_bank_config import CqtConfig, CwtConfig, GammatoneConfig
from tessera.audio.picture_config import PictureConfig, above_half
from tessera.core.config import Config

if TYPE_CHECKING:
    from torch import nn


class _FrameConfig(PictureConfig):
    """What every short-time Fourier transform has."""

    n_fft: int = Field(1024, ge=2, le=65_536, description="samples a frame")
    window: Literal["hann", "hamming", "gauss"] = Field("hann", description="gauss: falls to 1 % at its ends")

    def least_samples(self, sample_rate_hz: int) -> tuple[int, str]:
        """Samples of the shortest window, and what asks for them."""
        del sample_rate_hz
        least = self.n_fft // 2 + 1 if self.pad_mode == "reflect" else 1
        return least, f"n_fft {self.n_fft} with pad_mode: {self.pad_mode}"


class LinearConfig(_FrameConfig):
    """Power spectrogram in dB, all frequencies."""

    kind: Literal["linear"] = "linear"
    n_bands: int | None = Field(
        None, ge=1, description="rows, each the mean power of an equal part; null: one a bin, n_fft / 2 + 1"
    )

    @model_validator(mode="after")
    def _enough_bins(self) -> Self:
        bins = self.n_fft // 2 + 1
        if self.n_bands is not None and self.n_bands > bins:
            raise ValueError(f"n_bands {self.n_bands} is more than the {bins} bins of n_fft {self.n_fft}")
        return self

    def build(self, sample_rate_hz: int) -> nn.Module:
        """The front end (B, 1, T) -> (B, 1, rows, frames)."""
        from tessera.audio.features import LinearBands, Spectrogram

        options = self.options(sample_rate_hz)
        if self.n_bands is not None:
            return LinearBands(**options)
        del options["n_bands"]
        return Spectrogram(**options)

    def rows(self) -> int:
        """Rows of the picture."""
        return self.n_bands or self.n_fft // 2 + 1


class MelConfig(_FrameConfig):
    """Mel spectrogram in dB."""

    kind: Literal["mel"] = "mel"
    n_mels: int = Field(96, ge=1, le=1024)
    f_min_hz: float = Field(0.0, ge=0.0)
    f_max_hz: float | None = Field(None, gt=0.0, description="null: half the sample rate")
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_norm: Literal["slaney"] | None = "slaney"
    legacy_double_square: bool = Field(False, description="the released CRNN preprocessing's 2 x dB")

    @model_validator(mode="after")
    def _frequencies_rise(self) -> Self:
        if self.f_max_hz is not None and self.f_min_hz >= self.f_max_hz:
            raise ValueError(f"f_min_hz {self.f_min_hz:g} is not below f_max_hz {self.f_max_hz:g}")
        return self

    def problem(self, sample_rate_hz: int) -> str | None:
        """What cannot be at this sample rate."""
        return above_half(self.f_min_hz, self.f_max_hz, sample_rate_hz)

    def build(self, sample_rate_hz: int) -> nn.Module:
        """The front end (B, 1, T) -> (B, 1, n_mels, frames)."""
        from tessera.audio.features import MelSpectrogram

        return MelSpectrogram(**self.options(sample_rate_hz))

    def rows(self) -> int:
        """Rows of the picture."""
        return self.n_mels


class MfccConfig(MelConfig):
    """Mel-frequency cepstral coefficients."""

    kind: Literal["mfcc"] = "mfcc"  # type: ignore[assignment]
    n_mels: int = Field(128, ge=1, le=1024)
    n_mfcc: int = Field(20, ge=1, le=1024)

    @model_validator(mode="after")
    def _enough_bands(self) -> Self:
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc {self.n_mfcc} is more than n_mels {self.n_mels}")
        return self

    def build(self, sample_rate_hz: int) -> nn.Module:
        """The front end (B, 1, T) -> (B, 1, n_mfcc, frames)."""
        from tessera.audio.features import MFCC

        return MFCC(**self.options(sample_rate_hz))

    def rows(self) -> int:
        """Rows of the picture."""
        return self.n_mfcc


class WaveformConfig(Config):
    """No front end: the network hears the samples."""

    kind: Literal["waveform"] = "waveform"

    def build(self, sample_rate_hz: int) -> nn.Module:
        """The identity."""
        from torch import nn

        del sample_rate_hz
        return nn.Identity()

    def rows(self) -> int:
        """No picture, so no rows."""
        return 0


FeatureConfig = Annotated[
    LinearConfig | MelConfig | MfccConfig | CqtConfig | CwtConfig | GammatoneConfig | WaveformConfig,
    Field(discriminator="kind"),
]
