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
from tessera.core.backbone.slots.down import avg_down, conv_down, max_down
from tessera.core.backbone.slots.gate import ECAGate, SEGate, identity_gate
from tessera.core.backbone.slots.head import MeanHead, MeanMaxHead

Builder = Callable[..., nn.Module]


def plug_table(slot: str, *plugs: tuple[str, Builder]) -> dict[str, Builder]:
    """Name -> builder; unlike a dict literal it refuses a name that comes twice."""
    table: dict[str, Builder] = {}
    for name, builder in plugs:
        if name in table:
            raise ValueError(f"{slot} {name!r} is defined twice; choose another name for one of them")
        table[name] = builder
    return table


GATES = plug_table("gate", ("identity", identity_gate), ("se", SEGate), ("eca", ECAGate))
ADNS = plug_table("adn", ("bn_relu", bn_relu), ("bn_elu", bn_elu))
DOWNS = plug_table("down", ("conv", conv_down), ("max", max_down), ("avg", avg_down))
HEADS = plug_table("head", ("mean", MeanHead), ("mean_max", MeanMaxHead))


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


def _find(
    slot: str, table: dict[str, Builder], name: str, spatial_dims: int, options: dict[str, Any]
) -> Builder:
    """The named builder, after checking what it is asked for."""
    if name not in table:
        raise ValueError(f"there is no {slot} {name!r}; choose one of: {', '.join(sorted(table))}")
    require_dims(f"{slot} {name!r}", spatial_dims)
    parameters = inspect.signature(table[name]).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            offer = ", ".join(known) or "none"
            raise ValueError(f"{slot} {name!r} has no option {option!r}; its options: {offer}")
    return table[name]
