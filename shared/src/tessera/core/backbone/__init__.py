"""Networks for one, two and three spatial dimensions, and the slots they are made of; imports torch only."""

from tessera.core.backbone.axis_norm import AxisNorm
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
from tessera.core.backbone.encoders import Classifier, Encoder, MapEncoder
from tessera.core.backbone.fpn import FeaturePyramid, PyramidEncoder
from tessera.core.backbone.last_map import GivesMaps
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.merging import merge_branches
from tessera.core.backbone.slots import (
    ADNS,
    DOWNS,
    FFNS,
    GATES,
    HEADS,
    MIXERS,
    ROUTES,
    WEIGHTS,
    apply_weights,
    build_adn,
    build_down,
    build_ffn,
    build_gate,
    build_head,
    build_mixer,
    build_route,
    plug_table,
)
from tessera.core.backbone.slots.adn import Role
from tessera.core.backbone.slots.route import Route, State
from tessera.core.backbone.slots.weights_conditioning import merge_conditioning
from tessera.core.backbone.unet import UNet

__all__ = [
    "ADNS",
    "DOWNS",
    "FFNS",
    "GATES",
    "HEADS",
    "MIXERS",
    "ROUTES",
    "WEIGHTS",
    "AxisNorm",
    "Classifier",
    "Encoder",
    "EncoderLayout",
    "FeaturePyramid",
    "GivesMaps",
    "MapEncoder",
    "PyramidEncoder",
    "Role",
    "Route",
    "Sizes",
    "SpatialDims",
    "State",
    "UNet",
    "apply_weights",
    "avg_pool",
    "batch_norm",
    "build_adn",
    "build_down",
    "build_ffn",
    "build_gate",
    "build_head",
    "build_mixer",
    "build_route",
    "conv",
    "max_pool",
    "merge_branches",
    "merge_conditioning",
    "per_axis",
    "plug_table",
    "require_dims",
]
