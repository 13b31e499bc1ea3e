"""The random changes every field has, in one object built from the config."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from tessera.core.run_config import AugmentConfig
from tessera.core.transforms.masking import AxisMask
from tessera.core.transforms.mixup import Mixup

logger = logging.getLogger(__name__)


class StandardTransforms:
    """Mixup and masks on the features; each only where the config turns it on.

    Mixup blends what the front end gives, not the raw input: two mixed recordings would never be silent
    where one of them is, so a network trained on them would not know silence when it meets it.


    Args:
        config: The run's ``augment`` section.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.mixup = Mixup(config.mixup_alpha) if config.mixup_alpha > 0 else None
        self.mask = AxisMask(config.mask_count, config.mask_width) if any(config.mask_count) else None
        self._warned: set[str] = set()
        if self.mask is None and (config.mask_width or config.mask_count):
            self._warn_once("augment.mask_width has no effect: augment.mask_count asks for no mask")

    def on_input(self, input: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Leave raw input (B, C, *S) as it is; fields that change it do so here."""
        return input, target

    def on_features(
        self, features: Tensor, target: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Mix features (B, C, *F) and target rows, then mask the features."""
        if self.mixup is not None:
            features, target = self._mix(self.mixup, features, target, generator)
        if self.mask is None:
            return features, target
        params = self.mask.draw(features.shape, generator)
        if self.mask.does_nothing(features.shape):
            self._warn_once(
                f"masks do nothing: augment.mask_width is below one element of {tuple(features.shape[2:])}"
            )
        return self.mask.apply(features, params), target

    def _mix(
        self, mixup: Mixup, features: Tensor, target: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        if len(features) < 2:
            self._warn_once("mixup does nothing on a batch of one row; raise trainer.batch_size")
            return features, target
        params = mixup.draw(features.shape, generator)
        return mixup.apply(features, params), mixup.apply(target, params)

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            logger.warning(message)
