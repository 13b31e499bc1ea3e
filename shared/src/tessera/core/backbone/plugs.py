"""From a line such as ``gate: eca`` to the module in its place.

A plug is written as a name, or as a mapping with the name under ``kind`` beside its options; where stages
differ, as a list with one plug a stage. Some builders ask for what only the network knows (the size of the
map, whether the block is the first of its stage): an option of one of these names is filled in from the
`Place` unless it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tessera.core.backbone import slots
from tessera.core.backbone.blocks import Sizes, SpatialDims
from tessera.core.backbone.slots.adn import Role
from tessera.core.backbone.slots.route import Route, State

Plug = str | Mapping[str, Any]
PerStage = Plug | Sequence[Plug | None]
Grid = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a plug is put.

    Args:
        stage: Number of the stage, from 0; the stem has 0 too.
        first: Whether the block is the first of its stage.
        last: Whether it is the last.
        grid: Size of the plug's input, where the network was told its input's size.
    """

    stage: int = 0
    first: bool = False
    last: bool = False
    grid: Grid | None = None


def parse_plug(plug: Plug) -> tuple[str, dict[str, Any]]:
    """Name and options."""
    if isinstance(plug, str):
        return plug, {}
    options = dict(plug)
    name = options.pop("kind", None)
    if not isinstance(name, str):
        raise ValueError(f"plug {dict(plug)} has no name; write its name under kind, for instance kind: eca")
    return name, options


def at_stage(plug: PerStage | None, stage: int, stages: int, *, slot: str) -> Plug | None:
    """The plug of one stage; a plug that is no list serves all stages."""
    if plug is None or isinstance(plug, str | Mapping):
        return plug
    if len(plug) != stages:
        raise ValueError(f"{slot}: {len(plug)} plugs for {stages} stages; give one, or one for each stage")
    return plug[stage]


def mixer_at(
    plug: Plug, place: Place, sizes: tuple[SpatialDims, int, int, int], *, groups: int = 1
) -> nn.Module:
    """Mixer for (spatial_dims, c_in, c_out, stride); ``groups`` other than 1 must be an option of it."""
    name, options = _filled("mixer", slots.MIXERS, plug, {"grid": place.grid, "first": place.first})
    if groups != 1:
        options.setdefault("groups", groups)
    return slots.build_mixer(name, *sizes, **options)


def gate_at(plug: Plug, place: Place, spatial_dims: SpatialDims, channels: int) -> nn.Module:
    """Gate for (B, channels, *grid)."""
    name, options = _filled("gate", slots.GATES, plug, {"grid": place.grid})
    return slots.build_gate(name, spatial_dims, channels, **options)


def adn_at(plug: Plug, place: Place, spatial_dims: SpatialDims, channels: int, role: Role) -> nn.Module:
    """Normalisation, activation and dropout for one role."""
    name, options = _filled("adn", slots.ADNS, plug, {"last_block": place.last})
    return slots.build_adn(name, spatial_dims, channels, role, place.stage, **options)


def down_at(plug: Plug, place: Place, sizes: tuple[SpatialDims, int, int, Sizes]) -> nn.Module:
    """Downsampling for (spatial_dims, c_in, c_out, stride)."""
    name, options = _filled("down", slots.DOWNS, plug, {"grid": place.grid})
    return slots.build_down(name, *sizes, **options)


def route_at(plug: Plug, spatial_dims: SpatialDims, channels: Sequence[int]) -> Route:
    """Route from outputs with these channels."""
    name, options = parse_plug(plug)
    return slots.build_route(name, spatial_dims, channels, **options)


def ffn_at(plug: Plug, spatial_dims: SpatialDims, channels: int) -> nn.Module:
    """Channel network."""
    name, options = parse_plug(plug)
    return slots.build_ffn(name, spatial_dims, channels, **options)


def head_for(
    plug: Plug, spatial_dims: SpatialDims, channels: Sequence[int], num_classes: int, *, dropout: float = 0.0
) -> nn.Module:
    """Head over maps with these channels."""
    name, options = parse_plug(plug)
    return slots.build_head(name, spatial_dims, channels, num_classes, **{"dropout": dropout, **options})


def with_weights(module: nn.Module, plugs: Plug | Sequence[Plug]) -> nn.Module:
    """The module after one weights plug, or several in this order."""
    for plug in [plugs] if isinstance(plugs, str | Mapping) else plugs:
        name, options = parse_plug(plug)
        module = slots.apply_weights(name, module, **options)
    return module


def call_mixer(mixer: nn.Module, x: Tensor, state: State) -> Tensor:
    """A mixer with side tokens reads and writes ``state``; the others never see it."""
    return mixer(x, state) if getattr(mixer, "uses_state", False) else mixer(x)


def _filled(
    slot: str, table: Mapping[str, Callable[..., nn.Module]], plug: Plug, known: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Name and options, completed by what the builder asks for and the network knows."""
    name, options = parse_plug(plug)
    if name not in table:
        return name, options
    parameters = slots.keyword_options(table[name])
    for option, value in known.items():
        if option in parameters and option not in options and value is not None:
            options[option] = value
    grid = parameters.get("grid")
    if grid is not None and grid.default is grid.empty and "grid" not in options:
        raise ValueError(
            f"{slot} {name!r} is made for one size of map; give the network an input_size, or the plug a grid"
        )
    return name, options
