"""The slots of a network: one table of builders per slot, looked up by name.

A new plug is a builder in a file of this folder and one line in its table. A builder takes
``spatial_dims`` first, then what its slot's ``build_*`` function passes on; its own options are
keyword-only. One that serves fewer than three dimensions calls `require_dims` first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from tessera.core.backbone.blocks import Sizes, SpatialDims, require_dims
from tessera.core.backbone.slots.adn import Role, bn_elu, bn_relu
from tessera.core.backbone.slots.adn_ibn import ibn_a, ibn_b
from tessera.core.backbone.slots.adn_layer_norm import ln_gelu
from tessera.core.backbone.slots.adn_selu import selu
from tessera.core.backbone.slots.down import avg_down, conv_down, max_down, patch_down
from tessera.core.backbone.slots.down_all_cnn import all_cnn_down
from tessera.core.backbone.slots.down_log_polar import LogPolarDown
from tessera.core.backbone.slots.down_softpool import softpool_down
from tessera.core.backbone.slots.down_sope import ecvit_down, sope_down
from tessera.core.backbone.slots.down_spd import SPDDown
from tessera.core.backbone.slots.down_vmamba import vmamba_down
from tessera.core.backbone.slots.ffn import MLPFfn
from tessera.core.backbone.slots.ffn_daff import DAFF, InteractiveFfn
from tessera.core.backbone.slots.gate import ECAGate, SEGate, identity_gate
from tessera.core.backbone.slots.gate_das import DASGate
from tessera.core.backbone.slots.gate_gather_excite import ge, ge_minus, ge_plus
from tessera.core.backbone.slots.gate_senetv2 import SaEGate
from tessera.core.backbone.slots.gate_ulsam import ULSAMGate
from tessera.core.backbone.slots.head import MeanHead, MeanMaxHead
from tessera.core.backbone.slots.head_asp import ASPHead
from tessera.core.backbone.slots.head_conv_mean import ConvMeanHead
from tessera.core.backbone.slots.head_spp import SPPHead
from tessera.core.backbone.slots.mixer import conv_mixer
from tessera.core.backbone.slots.mixer_conv_kan import ConvKANMixer
from tessera.core.backbone.slots.mixer_dhvt import DHVTMixer
from tessera.core.backbone.slots.mixer_dualtoken import DualTokenMixer
from tessera.core.backbone.slots.mixer_ecvit import ECViTMixer
from tessera.core.backbone.slots.mixer_gamba import GambaMixer
from tessera.core.backbone.slots.mixer_ghost import GhostMixer
from tessera.core.backbone.slots.mixer_mobilevit import MobileViTMixer
from tessera.core.backbone.slots.mixer_replk import RepLKMixer
from tessera.core.backbone.slots.mixer_res2net import Res2NetMixer
from tessera.core.backbone.slots.mixer_scnn import SCNNMixer
from tessera.core.backbone.slots.mixer_shiftwise import ShiftwiseMixer
from tessera.core.backbone.slots.mixer_sk import SKMixer
from tessera.core.backbone.slots.mixer_ss2d import SS2DMixer
from tessera.core.backbone.slots.mixer_token_mlp import TokenMLPMixer
from tessera.core.backbone.slots.route import ConcatRoute, LastRoute, Route, SumRoute
from tessera.core.backbone.slots.route_skip_block import SkipBlockRoute
from tessera.core.backbone.slots.weights import keep_weights, lecun_normal
from tessera.core.backbone.slots.weights_conditioning import condition
from tessera.core.backbone.slots.weights_tying import tie_transposed

Builder = Callable[..., nn.Module]


def plug_table(slot: str, *plugs: tuple[str, Builder]) -> dict[str, Builder]:
    """Name -> builder; unlike a dict literal it refuses a name that comes twice."""
    table: dict[str, Builder] = {}
    for name, builder in plugs:
        if name in table:
            raise ValueError(f"{slot} {name!r} is defined twice; choose another name for one of them")
        table[name] = builder
    return table


GATES = plug_table(
    "gate",
    ("identity", identity_gate),
    ("se", SEGate),
    ("eca", ECAGate),
    ("sae", SaEGate),
    ("ge_minus", ge_minus),
    ("ge", ge),
    ("ge_plus", ge_plus),
    ("ulsam", ULSAMGate),
    ("das", DASGate),
)
ADNS = plug_table(
    "adn",
    ("bn_relu", bn_relu),
    ("bn_elu", bn_elu),
    ("ln_gelu", ln_gelu),
    ("selu", selu),
    ("ibn_a", ibn_a),
    ("ibn_b", ibn_b),
)
DOWNS = plug_table(
    "down",
    ("conv", conv_down),
    ("patch", patch_down),
    ("max", max_down),
    ("avg", avg_down),
    ("spd", SPDDown),
    ("softpool", softpool_down),
    ("all_cnn", all_cnn_down),
    ("log_polar", LogPolarDown),
    ("sope", sope_down),
    ("ecvit", ecvit_down),
    ("vmamba", vmamba_down),
)
HEADS = plug_table(
    "head",
    ("mean", MeanHead),
    ("mean_max", MeanMaxHead),
    ("conv_mean", ConvMeanHead),
    ("spp", SPPHead),
    ("asp", ASPHead),
)
MIXERS = plug_table(
    "mixer",
    ("conv", conv_mixer),
    ("conv_kan", ConvKANMixer),
    ("ghost", GhostMixer),
    ("replk", RepLKMixer),
    ("res2net", Res2NetMixer),
    ("scnn", SCNNMixer),
    ("shiftwise", ShiftwiseMixer),
    ("sk", SKMixer),
    ("ss2d", SS2DMixer),
    ("gamba", GambaMixer),
    ("token_mlp", TokenMLPMixer),
    ("mobilevit", MobileViTMixer),
    ("dhvt", DHVTMixer),
    ("ecvit", ECViTMixer),
    ("dualtoken", DualTokenMixer),
)
ROUTES = plug_table(
    "route",
    ("last", LastRoute),
    ("sum", SumRoute),
    ("concat", ConcatRoute),
    ("skip_block", SkipBlockRoute),
)
FFNS = plug_table(
    "ffn",
    ("mlp", MLPFfn),
    ("daff", DAFF),
    ("ecvit", InteractiveFfn),
)
WEIGHTS = plug_table(
    "weights",
    ("none", keep_weights),
    ("lecun_normal", lecun_normal),
    ("conditioning", condition),
    ("transposed", tie_transposed),
)


def build_gate(name: str, spatial_dims: SpatialDims, channels: int, **options: Any) -> nn.Module:
    """Gate that keeps the shape (B, C, *S)."""
    return _find("gate", GATES, name, spatial_dims, options)(spatial_dims, channels, **options)


def build_adn(
    name: str, spatial_dims: SpatialDims, channels: int, role: Role = "mid", stage: int = 0, **options: Any
) -> nn.Module:
    """Normalisation, activation and dropout for one place in stage number `stage`."""
    return _find("adn", ADNS, name, spatial_dims, options)(spatial_dims, channels, role, stage, **options)


def build_down(
    name: str, spatial_dims: SpatialDims, c_in: int, c_out: int, stride: Sizes, **options: Any
) -> nn.Module:
    """Downsampling by `stride`, one number or one per axis."""
    return _find("down", DOWNS, name, spatial_dims, options)(spatial_dims, c_in, c_out, stride, **options)


def build_head(
    name: str, spatial_dims: SpatialDims, channels: Sequence[int], num_classes: int, **options: Any
) -> nn.Module:
    """Head over maps with these channels, first stage first; every head has the option dropout."""
    return _find("head", HEADS, name, spatial_dims, options)(spatial_dims, channels, num_classes, **options)


def build_mixer(
    name: str, spatial_dims: SpatialDims, c_in: int, c_out: int, stride: int = 1, **options: Any
) -> nn.Module:
    """Spatial mixing (B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
    return _find("mixer", MIXERS, name, spatial_dims, options)(spatial_dims, c_in, c_out, stride, **options)


def build_route(name: str, spatial_dims: SpatialDims, channels: Sequence[int], **options: Any) -> Route:
    """Way from all outputs so far, with these channels, to the input of the next stage."""
    route = _find("route", ROUTES, name, spatial_dims, options)(spatial_dims, channels, **options)
    assert isinstance(route, Route), f"route {name!r} is not a Route"
    return route


def build_ffn(name: str, spatial_dims: SpatialDims, channels: int, **options: Any) -> nn.Module:
    """Channel network of a metaformer block; keeps the shape (B, C, *S)."""
    return _find("ffn", FFNS, name, spatial_dims, options)(spatial_dims, channels, **options)


def apply_weights(name: str, module: nn.Module, **options: Any) -> nn.Module:
    """Initialise, tie, re-parametrise or merge the weights of a finished module, in place or anew."""
    _check("weights", WEIGHTS, name, options)
    return WEIGHTS[name](module, **options)


def _find(
    slot: str, table: dict[str, Builder], name: str, spatial_dims: int, options: dict[str, Any]
) -> Builder:
    """The named builder, after checking what it is asked for."""
    if name in table:
        require_dims(f"{slot} {name!r}", spatial_dims)
    _check(slot, table, name, options)
    return table[name]


def _check(slot: str, table: dict[str, Builder], name: str, options: dict[str, Any]) -> None:
    if name not in table:
        raise ValueError(f"there is no {slot} {name!r}; choose one of: {', '.join(sorted(table))}")
    known = keyword_options(table[name])
    for option in options:
        if option not in known:
            offer = ", ".join(known) or "none"
            raise ValueError(f"{slot} {name!r} has no option {option!r}; its options: {offer}")


def keyword_options(builder: Builder) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a builder, which are a plug's options."""
    parameters = inspect.signature(builder).parameters.values()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
