"""Configs of the front ends that are banks of long filters (no torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from tessera.audio import bands
from tessera.audio.picture_config import PictureConfig, above_half

if TYPE_CHECKING:
    from torch import nn

HIGHEST_SHARE = 0.45
"""Highest band where none is given, as a share of the sample rate."""


class FilterBankConfig(PictureConfig):
    """What every bank has; a child class says how far its lowest filter reaches, and builds it."""

    frame: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="samples over which a band's energy is averaged; null: as many as the hop, so that each "
        "counts once; 1: the value at the frame's centre alone",
    )

    def options(self, sample_rate_hz: int) -> dict[str, Any]:
        """Keyword arguments of the front end of that kind."""
        return {**super().options(sample_rate_hz), "frame": self.frame or self.hop}

    def for_figures(self) -> Self:
        """The same bands for a drawing of a sound of any length: bare decibels, one row a band."""
        plain = {"pad_mode": "constant", "top_db": None, "normalize": "none"}
        rows = {"phase": "none", "center": True}
        return self.model_copy(update=plain | {k: v for k, v in rows.items() if k in type(self).model_fields})

    def reach(self, sample_rate_hz: int) -> float:
        """Samples that the lowest band hears on each side of a frame."""
        raise NotImplementedError

    def build(self, sample_rate_hz: int) -> nn.Module:
        """The front end (B, 1, T) -> (B, 1, rows, frames)."""
        raise NotImplementedError

    def least_samples(self, sample_rate_hz: int) -> tuple[int, str]:
        """Samples of the shortest window, and what asks for them."""
        least = bands.frame_samples(self.reach(sample_rate_hz), self.frame or self.hop)
        return least, f"the lowest band of features: {self.model_dump()['kind']}"


class CqtConfig(FilterBankConfig):
    """Constant-Q spectrogram in dB: rows at equal musical intervals."""

    kind: Literal["cqt"] = "cqt"
    f_min_hz: float = Field(32.7032, gt=0.0, description="centre of the lowest bin; 32.7032 is the note C1")
    n_bins: int = Field(96, ge=1, le=1024)
    bins_per_octave: int = Field(12, ge=1, le=192)
    filter_scale: float = Field(
        1.0, ge=0.1, le=10.0, description="length of the filters; at 1 neighbouring bins just part"
    )

    def reach(self, sample_rate_hz: int) -> float:
        """Samples that the lowest bin hears on each side of a frame."""
        sharpness = self.filter_scale * bands.quality(self.bins_per_octave)
        return bands.constant_q_samples(self.f_min_hz, sample_rate_hz=sample_rate_hz, quality=sharpness) / 2

    def problem(self, sample_rate_hz: int) -> str | None:
        """What cannot be at this sample rate."""
        top = bands.octave_hz(self.f_min_hz, n_bins=self.n_bins, bins_per_octave=self.bins_per_octave)[-1]
        if top < sample_rate_hz / 2:
            return None
        return (
            f"features.n_bins {self.n_bins} reaches up to {top:.0f} Hz, not below half of "
            f"data.sample_rate_hz, {sample_rate_hz / 2:g} Hz; take fewer bins or a lower features.f_min_hz"
        )

    def build(self, sample_rate_hz: int) -> nn.Module:
        """The front end (B, 1, T) -> (B, 1, n_bins, frames)."""
        from tessera.audio.features import ConstantQ

        return ConstantQ(**self.options(sample_rate_hz))

    def rows(self) -> int:
        """Rows of the picture."""
        return self.n_bins


class _BandsConfig(FilterBankConfig):
    """A number of filters between two frequencies."""

    n_bands: int = Field(96, ge=2, le=1024)
    f_min_hz: float = Field(50.0, gt=0.0, description="centre of the lowest band")
    f_max_hz: float | None = Field(
        None, gt=0.0, description="centre of the highest band; null: 0.45 of the sample rate"
    )

    @model_validator(mode="after")
    def _frequencies_rise(self) -> Self:
        if self.f_max_hz is not None and self.f_min_hz >= self.f_max_hz:
            raise ValueError(f"f_min_hz {self.f_min_hz:g} is not below f_max_hz {self.f_max_hz:g}")
        return self

    def options(self, sample_rate_hz: int) -> dict[str, Any]:
        """Keyword arguments of the front end of that kind."""
        highest = self.f_max_hz or HIGHEST_SHARE * sample_rate_hz
        return {**super().options(sample_rate_hz), "f_max_hz": highest}

    def problem(self, sample_rate_hz: int) -> str | None:
        """What cannot be at this sample rate."""
        highest = HIGHEST_SHARE * sample_rate_hz
        if self.f_max_hz is None and self.f_min_hz >= highest:
            return f"features.f_min_hz {self.f_min_hz:g} is not below the highest band, {highest:g} Hz"
        return above_half(self.f_min_hz, self.f_max_hz, sample_rate_hz)


class CwtConfig(_BandsConfig):
    """Scalogram in dB: Morlet wavelets, rows equally spaced in the logarithm of frequency."""

    kind: Literal["cwt"] = "cwt"
    omega: float = Field(6.0, ge=5.0, le=100.0, description="sharpness of the Morlet wavelet")

    def reach(self, sample_rate_hz: int) -> float:
        """Samples that the lowest band hears on each side of a frame."""
        scale = bands.morlet_scale(self.f_min_hz, sample_rate_hz=sample_rate_hz, omega=self.omega)
        return bands.morlet_reach(scale)

    def build(self, sample_rate_hz: int) -> nn.Module:
        """The front end (B, 1, T) -> (B, 1, n_bands, frames)."""
        from tessera.audio.features import Scalogram

        return Scalogram(**self.options(sample_rate_hz))

    def rows(self) -> int:
        """Rows of the picture."""
        return self.n_bands


class GammatoneConfig(_BandsConfig):
    """Gammatone spectrogram in dB; on request rows of phase and of its change follow the bands."""

    kind: Literal["gammatone"] = "gammatone"
    phase: Literal["none", "gammatone", "stft"] = Field(
        "none", description="of the lowest filters' output, or of each frame's Fourier transform"
    )
    phase_rows: int = Field(5, ge=1, le=1024, description="lowest filters or bins with a phase")
    center: bool = Field(True, description="false: frame t begins at sample t x hop, and none is padded")

    def reach(self, sample_rate_hz: int) -> float:
        """Samples that the lowest band hears on each side of a frame."""
        return bands.gammatone_samples(self.f_min_hz, sample_rate_hz=sample_rate_hz)

    @model_validator(mode="after")
    def _enough_for_the_phase(self) -> Self:
        frame = self.frame or self.hop
        most = {"none": self.phase_rows, "gammatone": self.n_bands, "stft": frame // 2 + 1}[self.phase]
        if self.phase_rows > most:
            what = f"{frame // 2 + 1} bins of a frame" if self.phase == "stft" else f"n_bands {self.n_bands}"
            raise ValueError(f"phase_rows {self.phase_rows} is more than the {what}")
        return self

    def build(self, sample_rate_hz: int) -> nn.Module:
        """The front end (B, 1, T) -> (B, 1, rows, frames)."""
        from tessera.audio.features import Gammatone

        return Gammatone(**self.options(sample_rate_hz))

    def rows(self) -> int:
        """Rows of the picture."""
        return self.n_bands + (0 if self.phase == "none" else 2 * self.phase_rows)
