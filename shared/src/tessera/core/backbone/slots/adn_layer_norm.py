"""Layer norm over channels, and its bundle with GELU."""

from __future__ import annotations

from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.slots.adn import Role, bundle


class ChannelLayerNorm(nn.LayerNorm):
    """Standardise the channels of each position: (B, C, *S) -> the same shape."""

    def __init__(self, channels: int, *, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def ln_gelu(
    spatial_dims: SpatialDims,
    channels: int,
    role: Role,
    stage: int,
    *,
    dropout: float = 0.0,
    norm_after_add: bool = False,
) -> nn.Module:
    """Layer norm over channels, GELU, dropout; see `bundle` for the roles beside an addition.

    Ba et al., "Layer Normalization", arXiv 1607.06450; Hendrycks and Gimpel, "Gaussian Error Linear
    Units", arXiv 1606.08415. Rows of a batch stay independent, in training as well.
    """
    norm = ChannelLayerNorm(channels)
    return bundle(norm, nn.GELU(), role, dropout=dropout, norm_after_add=norm_after_add)
