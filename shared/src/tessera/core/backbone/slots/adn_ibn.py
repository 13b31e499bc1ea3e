"""IBN-Net: instance norm for appearance beside batch norm for content, ReLU.

Pan et al., "Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net",
arXiv 1807.09441. Stages count from 0, without the stem.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, batch_norm
from tessera.core.backbone.slots.adn import Role, bn_relu, bundle

_INSTANCE_NORMS: dict[int, type[nn.Module]] = {
    1: nn.InstanceNorm1d,
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}


class IBN(nn.Module):
    """The first channels instance-normalised, the others batch-normalised.

    Args:
        spatial_dims: Number of axes in S.
        channels: C.
        ratio: Part of the channels that goes to the instance norm, rounded down.
    """

    def __init__(self, spatial_dims: SpatialDims, channels: int, *, ratio: float = 0.5) -> None:
        super().__init__()
        self.instance_channels = int(channels * ratio)
        if not 0 < self.instance_channels < channels:
            raise ValueError(f"adn ibn: ratio {ratio} of {channels} channels leaves one of the norms empty")
        self.instance_norm = _instance_norm(spatial_dims, self.instance_channels)
        self.batch_norm = batch_norm(spatial_dims, channels - self.instance_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S); S has at least two positions."""
        first, others = x.tensor_split([self.instance_channels], dim=1)
        return torch.cat([self.instance_norm(first), self.batch_norm(others)], dim=1)


def ibn_a(
    spatial_dims: SpatialDims,
    channels: int,
    role: Role,
    stage: int,
    *,
    dropout: float = 0.0,
    norm_after_add: bool = False,
    ratio: float = 0.5,
    stages: Sequence[int] = (0, 1, 2),
) -> nn.Module:
    """IBN-Net-a: batch norm and ReLU, with half-and-half norms first in the blocks of these stages."""
    if role != "first" or stage not in stages:
        return bn_relu(spatial_dims, channels, role, stage, dropout=dropout, norm_after_add=norm_after_add)
    norm = IBN(spatial_dims, channels, ratio=ratio)
    return bundle(norm, nn.ReLU(), role, dropout=dropout, norm_after_add=norm_after_add)


def ibn_b(
    spatial_dims: SpatialDims,
    channels: int,
    role: Role,
    stage: int,
    *,
    dropout: float = 0.0,
    last_block: bool = False,
    stages: Sequence[int] = (0, 1),
) -> nn.Module:
    """IBN-Net-b: batch norm and ReLU, with instance norm in the stem and after the sums that end stages.

    Args:
        spatial_dims: Number of axes in S.
        channels: C.
        role: Place in the block.
        stage: Number of the stage, from 0.
        dropout: Part of the values that is dropped.
        last_block: Whether the block is the last of its stage; networks say so to bundles that ask.
        stages: Those whose last sum is instance-normalised.
    """
    ends_stage = role == "post_add" and last_block and stage in stages
    if role != "stem" and not ends_stage:
        return bn_relu(spatial_dims, channels, role, stage, dropout=dropout)
    norm = _instance_norm(spatial_dims, channels)
    return bundle(norm, nn.ReLU(), role, dropout=dropout, norm_after_add=ends_stage)


def _instance_norm(spatial_dims: SpatialDims, channels: int) -> nn.Module:
    """With weights, without running statistics; torch refuses maps of a single position."""
    return _INSTANCE_NORMS[spatial_dims](channels, affine=True)
