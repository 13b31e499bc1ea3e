"""The random changes of images with masks, in one object built from the config."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.core.mask_config import MaskAugmentConfig
from tessera.core.transforms.compose import StandardTransforms
from tessera.core.transforms.intensity import (
    Blur,
    Brightness,
    Contrast,
    Gamma,
    LowResolution,
    MapChange,
    MapParams,
    Noise,
)
from tessera.core.transforms.spatial import AffineParams, Mirror, MirrorParams, RotateScale


@dataclass(frozen=True)
class MaskedParams:
    """One draw for a batch: of the affine map, of each change of values, of the mirrors."""

    affine: AffineParams
    values: tuple[MapParams, ...]
    mirror: MirrorParams


class MaskedTransforms(StandardTransforms):
    """Turn and scale, change values, mirror: in nnU-Net's order, on the batch's device.

    Args:
        config: The run's ``augment`` section.
    """

    def __init__(self, config: MaskAugmentConfig) -> None:
        super().__init__(config)
        self.affine = RotateScale(
            config.rotation_deg,
            rotation=config.rotation_probability,
            scale=config.scaling,
            scaling=config.scaling_probability,
        )
        self.values: tuple[MapChange, ...] = (
            Noise(config.noise_probability, *config.noise_variance),
            Blur(config.blur_probability, *config.blur_sigma, channel_probability=0.5),
            Brightness(config.brightness_probability, *config.brightness),
            Contrast(config.contrast_probability, *config.contrast),
            LowResolution(config.low_resolution_probability, *config.low_resolution, channel_probability=0.5),
            Gamma(config.gamma_inverted_probability, *config.gamma, inverted=True),
            Gamma(config.gamma_probability, *config.gamma),
        )
        self.mirror = Mirror(config.mirror_axes, swap_axis=config.swap_axis, swap_classes=config.swap_classes)

    def draw(self, shape: torch.Size, generator: torch.Generator) -> MaskedParams:
        """Parameters for a batch of ``shape`` (B, C, *S)."""
        return MaskedParams(
            self.affine.draw(shape, generator),
            tuple(change.draw(shape, generator) for change in self.values),
            self.mirror.draw(shape, generator),
        )

    def apply(self, input: Tensor, target: Tensor, params: MaskedParams) -> tuple[Tensor, Tensor]:
        """Images (B, C, *S) and masks (B, *S) changed as drawn."""
        input, target = self.affine.apply(input, target, params.affine)
        for change, drawn in zip(self.values, params.values, strict=True):
            input = change.apply(input, drawn)
        return self.mirror.apply(input, target, params.mirror)

    def on_input(self, input: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change raw input (B, C, *S) and masks (B, *S)."""
        return self.apply(input, target, self.draw(input.shape, generator))
