"""The tables and their lookups, and the plain plugs of every slot; papers have tests of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from tessera.core.backbone import (
    ADNS,
    DOWNS,
    FFNS,
    GATES,
    HEADS,
    MIXERS,
    ROUTES,
    SpatialDims,
    build_adn,
    build_down,
    build_ffn,
    build_gate,
    build_head,
    build_mixer,
    build_route,
    plug_table,
    require_dims,
)

from .checks import (
    CHANNELS,
    DIMS,
    SIZES,
    ExpectedShape,
    check_plug,
    floored,
    last_of_two_maps,
    logits,
    same_shape,
    strided,
)

Make = Callable[..., nn.Module]
PLAIN: list[tuple[str, Make, ExpectedShape]] = [
    *[(name, partial(build_gate, name, channels=CHANNELS), same_shape) for name in ("identity", "se", "eca")],
    *[
        (name, partial(build_adn, name, channels=CHANNELS, dropout=0.1), same_shape)
        for name in ("bn_relu", "bn_elu")
    ],
    ("conv", partial(build_down, "conv", c_in=CHANNELS, c_out=7, stride=2), strided(7, 2)),
    ("max", partial(build_down, "max", c_in=CHANNELS, c_out=7, stride=2, kernel=3), strided(7, 2)),
    *[
        (name, partial(build_down, name, c_in=CHANNELS, c_out=7, stride=2), floored(7, 2))
        for name in ("patch", "max", "avg")
    ],
    ("mixer", partial(build_mixer, "conv", c_in=CHANNELS, c_out=12, stride=2), strided(12, 2)),
    ("ffn", partial(build_ffn, "mlp", channels=CHANNELS, dropout=0.1), same_shape),
]
LOOKUPS: list[tuple[Mapping[str, Any], Make]] = [
    (GATES, lambda name, d: build_gate(name, d, 8)),
    (ADNS, lambda name, d: build_adn(name, d, 8)),
    (DOWNS, lambda name, d: build_down(name, d, 8, 8, 2)),
    (HEADS, lambda name, d: build_head(name, d, [8], 3)),
    (MIXERS, lambda name, d: build_mixer(name, d, 8, 8)),
    (ROUTES, lambda name, d: build_route(name, d, [8])),
    (FFNS, lambda name, d: build_ffn(name, d, 8)),
]


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize(("name", "make", "expected"), PLAIN, ids=[name for name, _, _ in PLAIN])
def test_plain_plugs_are_good_ones(
    name: str, make: Make, expected: ExpectedShape, spatial_dims: SpatialDims
) -> None:
    check_plug(make, spatial_dims, expected=expected)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("name", ["mean", "mean_max"])
def test_plain_heads_are_good_plugs(name: str, spatial_dims: SpatialDims) -> None:
    check_plug(
        lambda d: build_head(name, d, [4, CHANNELS], 5),
        spatial_dims,
        expected=logits(5),
        call=last_of_two_maps,
    )


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("name", ["mean", "mean_max"])
def test_plain_heads_see_the_last_map_alone(name: str, spatial_dims: SpatialDims) -> None:
    maps = [torch.randn(2, channels, *SIZES[spatial_dims]) for channels in (4, CHANNELS)]
    head = build_head(name, spatial_dims, [4, CHANNELS], 5)
    assert torch.equal(head(maps), head([torch.zeros_like(maps[0]), maps[1]]))
    assert not torch.equal(head(maps), head([maps[0], maps[1] + 1]))


@pytest.mark.parametrize(("table", "build"), LOOKUPS)
@pytest.mark.parametrize("spatial_dims", [0, 4])
def test_dimension_that_no_plug_serves_is_refused_by_name(
    table: Mapping[str, Any], build: Make, spatial_dims: int
) -> None:
    for name in table:
        with pytest.raises(ValueError, match=rf"'{name}' cannot serve spatial_dims={spatial_dims}"):
            build(name, spatial_dims)


def test_plug_for_planes_only_says_what_it_serves() -> None:
    with pytest.raises(ValueError, match="gate 'das' cannot serve spatial_dims=3; it serves 2"):
        require_dims("gate 'das'", 3, supported=(2,))
    require_dims("gate 'das'", 2, supported=(2,))


def test_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="gate 'se' is defined twice"):
        plug_table("gate", ("se", nn.Identity), ("eca", nn.Identity), ("se", nn.Identity))


@pytest.mark.parametrize(("table", "build"), LOOKUPS)
def test_unknown_name_lists_the_known_ones(table: Mapping[str, Any], build: Make) -> None:
    with pytest.raises(ValueError, match=f"'nosuch'; choose one of: {', '.join(sorted(table))}$"):
        build("nosuch", 2)


def test_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="gate 'se' has no option 'reduction'; its options: ratio, bias"):
        build_gate("se", 2, 8, reduction=16)
    with pytest.raises(ValueError, match="'identity' has no option 'ratio'; its options: none"):
        build_gate("identity", 2, 8, ratio=16)
