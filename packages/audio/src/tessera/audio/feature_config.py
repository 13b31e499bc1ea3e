"""Configs of the front ends: what a network sees of a sound (no torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tessera.core.config import Config

if TYPE_CHECKING:
    from torch import nn


class _FrameConfig(Config):
    """What every spectrogram has."""

    n_fft: int = Field(1024, ge=2, le=65_536, description="samples a frame")
    hop: int = Field(512, ge=1, le=65_536, description="samples between frames")
    window: Literal["hann", "hamming"] = "hann"
    pad_mode: Literal["constant", "reflect"] = Field("constant", description="constant: as librosa 0.11")
    amin: float = Field(1e-10, gt=0.0, description="least power")
    top_db: float | None = Field(80.0, gt=0.0, description="range below the clip's maximum, dB; null is off")
    normalize: Literal["none", "per_clip"] = Field(
        "per_clip", description="zero mean, unit variance a window"
    )

    def options(self, sample_rate_hz: int) -> dict[str, Any]:
        """Keyword arguments of the front end of that kind."""
        return {"sample_rate_hz": sample_rate_hz, **self.model_dump(exclude={"kind"})}


class LinearConfig(_FrameConfig):
    """Power spectrogram in dB, all frequencies."""

    kind: Literal["linear"] = "linear"

    def build(self, sample_rate_hz: int) -> nn.Module:
        """The front end (B, 1, T) -> (B, 1, n_fft // 2 + 1, frames)."""
        from tessera.audio.features import Spectrogram

        return Spectrogram(**self.options(sample_rate_hz))

    def rows(self) -> int:
        """Rows of the picture."""
        return self.n_fft // 2 + 1


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


FeatureConfig = Annotated[LinearConfig | MelConfig | MfccConfig | WaveformConfig, Field(discriminator="kind")]
