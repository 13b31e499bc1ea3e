"""Activation, dropout, normalisation: what follows a convolution; (B, C, *S) -> the same shape."""

from __future__ import annotations

from typing import Literal

from torch import nn

from tessera.core.backbone.activations import ELU
from tessera.core.backbone.blocks import SpatialDims, batch_norm

Role = Literal["stem", "first", "mid", "last", "post_add", "ffn"]
"""Place in a block: ``last`` is just before a shortcut is added, ``post_add`` just after."""


def bn_relu(
    spatial_dims: SpatialDims,
    channels: int,
    role: Role,
    stage: int,
    *,
    dropout: float = 0.0,
    norm_after_add: bool = False,
) -> nn.Module:
    """Batch norm, ReLU, dropout; see `bundle` for the roles beside an addition."""
    norm = batch_norm(spatial_dims, channels)
    return bundle(norm, nn.ReLU(), role, dropout=dropout, norm_after_add=norm_after_add)


def bn_elu(
    spatial_dims: SpatialDims,
    channels: int,
    role: Role,
    stage: int,
    *,
    dropout: float = 0.0,
    norm_after_add: bool = False,
) -> nn.Module:
    """Batch norm, ELU, dropout; see `bundle` for the roles beside an addition."""
    norm = batch_norm(spatial_dims, channels)
    return bundle(norm, ELU(), role, dropout=dropout, norm_after_add=norm_after_add)


def bundle(
    norm: nn.Module, activation: nn.Module, role: Role, *, dropout: float, norm_after_add: bool
) -> nn.Module:
    """All three layers, except beside an addition.

    As in ResNet, the role ``last`` only normalises (the sum is activated, not the summand) and
    ``post_add`` only activates, unless ``norm_after_add`` asks for a norm of the sum as well.
    """
    if role == "last":
        return norm
    layers = [activation]
    if role != "post_add" or norm_after_add:
        layers.insert(0, norm)
        if isinstance(activation, nn.ReLU):
            activation.inplace = True  # nobody else reads the norm's output; saves a pass over new memory
    if dropout > 0:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)
