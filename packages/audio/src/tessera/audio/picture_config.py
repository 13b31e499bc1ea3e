"""What the configs of all front ends share that draw a picture of sound (no torch)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tessera.core.config import Config


class PictureConfig(Config):
    """Frames, decibels and their range."""

    hop: int = Field(512, ge=1, le=65_536, description="samples between frames")
    pad_mode: Literal["constant", "reflect"] = Field("constant", description="constant: as librosa 0.11")
    amin: float = Field(1e-10, gt=0.0, description="least power")
    top_db: float | None = Field(80.0, gt=0.0, description="range below the clip's maximum, dB; null is off")
    normalize: Literal["none", "per_clip", "per_clip_minmax"] = Field(
        "per_clip", description="a window's mean 0 and variance 1, or its least 0 and greatest 1"
    )

    def options(self, sample_rate_hz: int) -> dict[str, Any]:
        """Keyword arguments of the front end of that kind."""
        return {"sample_rate_hz": sample_rate_hz, **self.model_dump(exclude={"kind"})}

    def problem(self, sample_rate_hz: int) -> str | None:
        """What cannot be at this sample rate."""
        del sample_rate_hz
        return None

    def least_samples(self, sample_rate_hz: int) -> tuple[int, str]:
        """Samples of the shortest window, and what asks for them."""
        raise NotImplementedError

    def rows(self) -> int:
        """Rows of the picture."""
        raise NotImplementedError


def above_half(lowest_hz: float, highest_hz: float | None, sample_rate_hz: int) -> str | None:
    """Why filters between two frequencies cannot be at a sample rate."""
    half = sample_rate_hz / 2
    if lowest_hz >= half or (highest_hz or 0) > half:
        return f"features.f_min_hz or f_max_hz is above half of data.sample_rate_hz, {half:g} Hz"
    return None
