"""Random changes of patches and their masks, on the batch's device."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tessera.core.mask_config import MaskAugmentConfig
from tessera.core.transforms.masked import MaskedParams, MaskedTransforms
from tessera.medical.config import AirwayConfig, VolumeConfig
from tessera.medical.planning.data_config import VolumeDataConfig
from tessera.medical.windows import RIGHT

THICK = 3  # a patch this much shorter along its first axis holds thick slices


class VolumeTransforms(MaskedTransforms):
    """nnU-Net's changes; thick slices are turned in their own plane only.

    Mirrored axes, and classes that trade places with left and right, are those of the data section unless
    the augment section names its own.
    """

    def __init__(self, config: VolumeConfig | AirwayConfig) -> None:
        super().__init__(resolved_augment(config.augment, config.data))


class AirwayTransforms(VolumeTransforms):
    """The same, but densities are changed in the scan alone: depth and places only move with it."""

    def apply(self, input: Tensor, target: Tensor, params: MaskedParams) -> tuple[Tensor, Tensor]:
        """Patches (B, C, D, H, W), the scan first, and masks (B, D, H, W) changed as drawn."""
        input, target = self.affine.apply(input, target, params.affine)
        scan = input[:, :1]
        for change, drawn in zip(self.values, params.values, strict=True):
            scan = change.apply(scan, drawn)
        return self.mirror.apply(torch.cat([scan, input[:, 1:]], dim=1), target, params.mirror)

    def draw(self, shape: torch.Size, generator: torch.Generator) -> MaskedParams:
        """Parameters for a batch of ``shape`` (B, C, D, H, W)."""
        params = super().draw(shape, generator)
        one = torch.Size((shape[0], 1, *shape[2:]))
        return replace(params, values=tuple(change.draw(one, generator) for change in self.values))


def resolved_augment(augment: MaskAugmentConfig, data: VolumeDataConfig) -> MaskAugmentConfig:
    """The augment section with mirrors, partners and angles that follow from the data section."""
    skipped = 3 - data.spatial_dims
    changes: dict[str, object] = {}
    if augment.mirror_axes is None and data.mirrors is not None:
        changes["mirror_axes"] = tuple(axis - skipped for axis in data.mirrors if axis >= skipped)
    if not augment.swap_classes and data.sides and data.axes is not None:
        side = data.axes.index(RIGHT) - skipped
        if side >= 0:  # slices across left and right are never mirrored there
            changes |= {"swap_axis": side, "swap_classes": data.sides}
    if data.patch is not None and skipped == 0 and THICK * data.patch[0] < max(data.patch):
        changes["rotation_deg"] = (augment.rotation_deg[0], 0.0, 0.0)
    return augment.model_copy(update=changes)
