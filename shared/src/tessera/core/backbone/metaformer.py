"""The metaformer block: x + mixer(norm x), then x + channel network(norm x).

Yu et al., "MetaFormer Is Actually What You Need for Vision", arXiv 2111.11418.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.bottleneck import GatePosition
from tessera.core.backbone.drop_path import DropPath
from tessera.core.backbone.plugs import Place, Plug, adn_at, call_mixer, ffn_at, gate_at, mixer_at
from tessera.core.backbone.slots.route import State


@dataclass(frozen=True, kw_only=True)
class MetaformerPlan:
    """What a block is made of.

    Args:
        mixer: Plug.
        gate: Plug.
        gate_position: At the end of the channel network (or, without one, of the mixer), or after the mixer.
        adn: Plug; its role "last" is the norm before each branch.
        ffn: Plug of the channel network; None leaves it out.
        layer_scale: First value of the learned factor of each branch; None leaves the factors out.
    """

    mixer: Plug = "conv"
    gate: Plug = "identity"
    gate_position: GatePosition = "last"
    adn: Plug = "ln_gelu"
    ffn: Plug | None = "mlp"
    layer_scale: float | None = None


class LayerScale(nn.Module):
    """A learned factor for each channel (Touvron et al., arXiv 2103.17239)."""

    def __init__(self, channels: int, value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        return x * self.gamma.reshape(-1, *[1] * (x.ndim - 2))


class Metaformer(nn.Module):
    """(B, C, *S) -> the same shape.

    Args:
        spatial_dims: Number of axes in S.
        channels: C.
        plan: What the block is made of.
        place: Where it is.
        drop_path: Probability that a sample skips a branch in training.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        channels: int,
        *,
        plan: MetaformerPlan,
        place: Place,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        gate = gate_at(plan.gate, place, spatial_dims, channels)
        gate_last = plan.gate_position == "last" and plan.ffn is not None
        scale = plan.layer_scale
        self.norm = adn_at(plan.adn, place, spatial_dims, channels, "last")
        self.mixer = mixer_at(plan.mixer, place, (spatial_dims, channels, channels, 1))
        self.mixer_end = _branch_end(channels, scale, drop_path, None if gate_last else gate)
        self.ffn: nn.Module | None = None
        if plan.ffn is not None:
            self.ffn = nn.Sequential(
                adn_at(plan.adn, place, spatial_dims, channels, "last"),
                ffn_at(plan.ffn, spatial_dims, channels),
                _branch_end(channels, scale, drop_path, gate if gate_last else None),
            )

    def forward(self, x: Tensor, state: State) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        x = x + self.mixer_end(call_mixer(self.mixer, self.norm(x), state))
        return x if self.ffn is None else x + self.ffn(x)


def _branch_end(channels: int, scale: float | None, drop_path: float, gate: nn.Module | None) -> nn.Module:
    layers: list[nn.Module] = [] if gate is None else [gate]
    if scale is not None:
        layers.append(LayerScale(channels, scale))
    if drop_path > 0:
        layers.append(DropPath(drop_path))
    return nn.Sequential(*layers)
