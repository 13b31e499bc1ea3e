"""Building blocks of networks for one, two and three spatial dimensions; imports torch only."""

from tessera.core.backbone.blocks import (
    Sizes,
    SpatialDims,
    avg_pool,
    batch_norm,
    conv,
    max_pool,
    per_axis,
    require_dims,
)
from tessera.core.backbone.slots import (
    ADNS,
    DOWNS,
    GATES,
    HEADS,
    build_adn,
    build_down,
    build_gate,
    build_head,
    plug_table,
)
from tessera.core.backbone.slots.adn import Role

__all__ = [
    "ADNS",
    "DOWNS",
    "GATES",
    "HEADS",
    "Role",
    "Sizes",
    "SpatialDims",
    "avg_pool",
    "batch_norm",
    "build_adn",
    "build_down",
    "build_gate",
    "build_head",
    "conv",
    "max_pool",
    "per_axis",
    "plug_table",
    "require_dims",
]
