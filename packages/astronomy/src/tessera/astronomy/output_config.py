"""What a person can choose of the files of a prediction on images of the sky (no torch)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from tessera.core.config import Config

Format = Literal["fits", "csv", "votable", "parquet"]


class SkyOutput(Config):
    """Formats of the catalogue, and heat maps."""

    formats: tuple[Format, ...] = Field(
        ("fits", "csv"),
        min_length=1,
        description="of the catalogue with the scores: fits: catalogue.fits; csv: catalogue.csv; "
        "votable: catalogue.vot; parquet: catalogue.parquet",
    )
    heat_maps: Literal["positive", "all", "none"] = Field(
        "positive",
        description="what in an image speaks for the last class, heatmaps/<case>.fits: positive: of images "
        "whose answer is that class; of answers other than a class there are none",
    )
    heat_map_method: Literal["grad-cam", "occlusion"] = Field(
        "grad-cam",
        description="grad-cam: from the network's last map, quick and coarse; occlusion: the log-odds lost "
        "when a window of an eighth of the side is covered, some 225 times as slow",
    )

    @field_validator("formats", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Take ``fits,votable`` as a list."""
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @field_validator("formats")
    @classmethod
    def _each_once(cls, value: tuple[Format, ...]) -> tuple[Format, ...]:
        return tuple(dict.fromkeys(value))
