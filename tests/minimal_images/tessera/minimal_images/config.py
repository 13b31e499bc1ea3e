"""Config of the image pipeline (no torch)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tessera.core.backbone_config import ClassifierConfig
from tessera.core.run_config import AugmentConfig, DataConfig, Fraction, RunConfig


class ImageDataConfig(DataConfig):
    """How an image becomes the network's input."""

    size: tuple[int, int] = Field((64, 64), description="rows and columns the whole image is resized to")
    channels: Literal[1, 3] = Field(3, description="1: grey, 3: red, green, blue")


class ImageAugmentConfig(AugmentConfig):
    """Random changes of images."""

    flip: bool = Field(False, description="mirror half of the images, and turn half of them upside down")
    shift_fraction: Fraction = Field(0.0, description="largest shift along each axis, share of it")


class ImagesConfig(RunConfig):
    """A run of the image pipeline."""

    data: ImageDataConfig = ImageDataConfig()
    model: ClassifierConfig = ClassifierConfig()
    augment: ImageAugmentConfig = ImageAugmentConfig()
