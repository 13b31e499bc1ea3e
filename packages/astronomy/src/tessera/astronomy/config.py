"""Configs of the pipelines for the sky: data, changes, networks, and what must fit together (no torch)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tessera.astronomy.model_config import (
    DensityCNNConfig,
    DensityModel,
    FrontEndConfig,
    SkyModel,
    WalmsleyConfig,
)
from tessera.astronomy.preprocessing_config import SkyPreparation
from tessera.core.run_config import AugmentConfig, DataConfig, Fraction, RunConfig

Factor = Annotated[float, Field(gt=0.0, le=10.0)]


class SkyAugmentConfig(AugmentConfig):
    """Changes of a training batch of images; none is ever applied in a prediction."""

    rotation_deg: float = Field(0.0, ge=0.0, le=180.0, description="largest angle, either way round")
    shift_fraction: Fraction = Field(0.0, description="largest shift along each axis, share of the side")
    zoom: tuple[Factor, Factor] = Field((1.0, 1.0), description="factor of each axis, drawn for itself")
    flip: bool = Field(False, description="mirror along each axis half of the time")
    quarter_turns: bool = Field(False, description="turn by a multiple of 90 degrees, which is exact")
    roll: bool = Field(False, description="roll along both axes, exact for a periodic map")
    interpolation: Literal["nearest", "bilinear"] = "bilinear"
    border: Literal["zeros", "reflect", "wrap"] = Field("zeros", description="what comes from outside")
    brightness: Fraction = Field(0.0, description="largest relative change of all values of an image")
    noise: float = Field(0.0, ge=0.0, description="standard deviation of noise, in the prepared image's unit")

    @model_validator(mode="after")
    def _zoom_rises(self) -> Self:
        if self.zoom[0] > self.zoom[1]:
            raise ValueError(
                f"zoom: {self.zoom[0]:g} is above {self.zoom[1]:g}; give the smaller number first"
            )
        return self


class SkyDataConfig(DataConfig):
    """How an image of the sky becomes an input."""

    bands: tuple[str, ...] = Field((), description="names of the bands, in order; empty: all, as they come")
    n_bands: int = Field(1, ge=1, le=64, description="where bands is empty: how many there are")
    size_px: int = Field(512, ge=8, le=8192, description="side of the prepared image, around the centre")
    preparation: SkyPreparation = SkyPreparation()

    @property
    def n_channels(self) -> int:
        """Channels of the prepared image."""
        return self.preparation.n_channels(len(self.bands) or self.n_bands)


class SkyConfig(RunConfig):
    """A run of the tidal-features pipeline."""

    data: SkyDataConfig = SkyDataConfig()
    augment: SkyAugmentConfig = SkyAugmentConfig()
    front_end: FrontEndConfig = FrontEndConfig()
    model: SkyModel = WalmsleyConfig()

    @model_validator(mode="after")
    def _the_crop_is_inside(self) -> Self:
        crop = self.front_end.crop_px
        if crop is not None and crop > self.data.size_px:
            raise ValueError(f"front_end.crop_px {crop} is above data.size_px {self.data.size_px}")
        return self


class DensityDataConfig(DataConfig):
    """How a map of density becomes inputs."""

    target: str = Field("parameters", description="name of the manifest's target column")
    size_px: int = Field(256, ge=8, le=8192, description="side of a window, pixels of the map")
    step_px: int | None = Field(
        None, ge=1, description="from one window of a prediction to the next; null: the side"
    )
    log: bool = Field(False, description="maps hold density over its mean: take log10, at least of floor")
    floor: float = Field(1e-3, gt=0.0, description="log: least density")
    mean: float = Field(0.0, description="subtracted, after the logarithm")
    std: float = Field(1.0, gt=0.0, description="divided by")


class DensityConfig(RunConfig):
    """A run of the cosmology pipeline."""

    data: DensityDataConfig = DensityDataConfig()
    augment: SkyAugmentConfig = SkyAugmentConfig()
    front_end: FrontEndConfig = FrontEndConfig()
    model: DensityModel = DensityCNNConfig()
