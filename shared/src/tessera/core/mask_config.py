"""Random changes of images and their masks together (no torch)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, model_validator

from tessera.core.run_config import AugmentConfig, Fraction

Positive = Annotated[float, Field(gt=0.0)]
_RANGES = ("scaling", "noise_variance", "blur_sigma", "brightness", "contrast", "low_resolution", "gamma")


class MaskAugmentConfig(AugmentConfig):
    """Changes of a training batch of images with masks; the defaults are nnU-Net's, each with its odds."""

    rotation_probability: Fraction = 0.2
    rotation_deg: tuple[Annotated[float, Field(ge=0.0, le=180.0)], ...] = Field(
        (30.0, 30.0, 30.0),
        description="largest angle about each axis of three, one angle of two axes; one axis: not used",
    )
    scaling_probability: Fraction = 0.2
    scaling: tuple[Positive, Positive] = Field(
        (0.7, 1.4), description="size of what is shown, all axes alike"
    )
    noise_probability: Fraction = 0.1
    noise_variance: tuple[Fraction, Fraction] = Field(
        (0.0, 0.1), description="in standardised units, squared"
    )
    blur_probability: Fraction = 0.2
    blur_sigma: tuple[Positive, Positive] = Field((0.5, 1.0), description="elements; half of the channels")
    brightness_probability: Fraction = 0.15
    brightness: tuple[Positive, Positive] = Field((0.75, 1.25), description="factor of the values")
    contrast_probability: Fraction = 0.15
    contrast: tuple[Positive, Positive] = Field(
        (0.75, 1.25), description="factor of the distance to the mean"
    )
    low_resolution_probability: Fraction = 0.25
    low_resolution: tuple[Positive, Positive] = Field(
        (0.5, 1.0), description="share of the elements kept along each axis; half of the channels"
    )
    gamma_probability: Fraction = 0.3
    gamma_inverted_probability: Fraction = Field(
        0.1, description="the same on the image turned light to dark"
    )
    gamma: tuple[Positive, Positive] = Field((0.7, 1.5), description="exponent")
    mirror_axes: tuple[NonNegativeInt, ...] | None = Field(
        None, description="axes of the array that are mirrored, each half of the time; null: all"
    )
    swap_axis: NonNegativeInt | None = Field(
        None, description="axis that exchanges left and right; null: no classes come in pairs"
    )
    swap_classes: tuple[tuple[NonNegativeInt, NonNegativeInt], ...] = Field(
        (), description="pairs of classes that trade places when swap_axis is mirrored"
    )

    @model_validator(mode="after")
    def _ranges_rise_and_pairs_fit(self) -> Self:
        for name in _RANGES:
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: {low:g} is above {high:g}; give the smaller number first")
        if self.low_resolution[1] > 1.0:
            raise ValueError("low_resolution: a share above 1 would add elements")
        swapped = [place for pair in self.swap_classes for place in pair]
        if len(set(swapped)) < len(swapped):
            raise ValueError("swap_classes: a class can have one partner only, other than itself")
        if swapped and self.swap_axis is None:
            raise ValueError("swap_classes needs swap_axis, the axis that exchanges left and right")
        if self.mixup_alpha:
            raise ValueError("mixup_alpha: two images in one have no mask; leave it 0")
        return self
