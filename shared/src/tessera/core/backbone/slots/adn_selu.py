"""Self-normalising bundle: SELU and alpha dropout, no norm."""

from __future__ import annotations

from torch import nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.slots.adn import Role


def selu(
    spatial_dims: SpatialDims, channels: int, role: Role, stage: int, *, dropout: float = 0.0
) -> nn.Module:
    """SELU, alpha dropout; nothing at all in the role ``last``, where the sum is activated instead.

    Klambauer et al., "Self-Normalizing Neural Networks", arXiv 1706.02515. Mean 0 and variance 1 pass
    from layer to layer only with standardised inputs and LeCun weights (biases 0, weights of variance
    1 / fan-in: ``kaiming_normal_`` with nonlinearity "linear"), and without batch norm or ordinary
    dropout elsewhere. The paper has no shortcuts: an addition adds variances.
    """
    if role == "last":
        return nn.Identity()
    if dropout > 0:
        return nn.Sequential(nn.SELU(), nn.AlphaDropout(dropout))
    return nn.SELU()
