"""The tables, their lookups, and what every plug of every slot must do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import (
    ADNS,
    DOWNS,
    GATES,
    HEADS,
    build_adn,
    build_down,
    build_gate,
    build_head,
    plug_table,
    require_dims,
)

DIMS = (1, 2, 3)
CHANNELS = 6
CLASSES = 5
SIZES = {1: (33,), 2: (33, 34), 3: (7, 10, 9)}

Make = Callable[[Any], nn.Module]
SAME_SHAPE: list[tuple[str, Make]] = [
    *[(f"gate/{name}", partial(build_gate, name, channels=CHANNELS)) for name in GATES],
    *[(f"adn/{name}", partial(build_adn, name, channels=CHANNELS, dropout=0.1)) for name in ADNS],
]
DOWN: list[tuple[str, Make]] = [
    (f"down/{name}-{c_out}", partial(build_down, name, c_in=CHANNELS, c_out=c_out, stride=2))
    for name in DOWNS
    for c_out in (CHANNELS, 7)
]
HEAD: list[tuple[str, Make]] = [
    (f"head/{name}", partial(build_head, name, channels=[4, CHANNELS], num_classes=CLASSES)) for name in HEADS
]
EVERY_PLUG = [*SAME_SHAPE, *DOWN, *HEAD]


def names(plugs: list[tuple[str, Make]]) -> list[str]:
    return [name for name, _ in plugs]


def example(spatial_dims: int, batch: int = 2, channels: int = CHANNELS) -> Tensor:
    return torch.randn(batch, channels, *SIZES[spatial_dims])


def run(name: str, plug: nn.Module, x: Tensor) -> Tensor:
    return plug([x[:, :4], x]) if name.startswith("head/") else plug(x)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize(("name", "make"), SAME_SHAPE, ids=names(SAME_SHAPE))
def test_gates_and_adns_keep_odd_shapes(name: str, make: Make, spatial_dims: int) -> None:
    x = example(spatial_dims)
    assert make(spatial_dims)(x).shape == x.shape


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize(("name", "make"), DOWN, ids=names(DOWN))
def test_downs_halve_odd_shapes_within_one(name: str, make: Make, spatial_dims: int) -> None:
    y = make(spatial_dims)(example(spatial_dims))
    assert y.shape[1] == int(name.rsplit("-", 1)[1])
    assert all(abs(out - size / 2) <= 0.5 for out, size in zip(y.shape[2:], SIZES[spatial_dims], strict=True))


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize(("name", "make"), HEAD, ids=names(HEAD))
def test_heads_turn_the_last_of_several_maps_into_logits(name: str, make: Make, spatial_dims: int) -> None:
    maps = [example(spatial_dims, channels=4), example(spatial_dims)]
    head = make(spatial_dims)
    assert head(maps).shape == (2, CLASSES)
    assert torch.equal(head(maps), head([torch.zeros_like(maps[0]), maps[1]]))
    assert not torch.equal(head(maps), head([maps[0], maps[1] + 1]))


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize(("name", "make"), EVERY_PLUG, ids=names(EVERY_PLUG))
def test_gradient_reaches_input_and_every_parameter(name: str, make: Make, spatial_dims: int) -> None:
    plug, x = make(spatial_dims).eval(), example(spatial_dims).requires_grad_()
    run(name, plug, x).square().sum().backward()  # type: ignore[no-untyped-call]
    for tensor in (x, *plug.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().max() > 0


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize(("name", "make"), EVERY_PLUG, ids=names(EVERY_PLUG))
def test_weights_carried_over_give_the_same_output(name: str, make: Make, spatial_dims: int) -> None:
    one, other, x = make(spatial_dims), make(spatial_dims), example(spatial_dims)
    run(name, one, x)  # moves the running statistics of batch norms
    other.load_state_dict(one.state_dict())
    one.eval(), other.eval()
    assert torch.equal(run(name, one, x), run(name, other, x))
    assert torch.equal(run(name, one, x), run(name, one, x))


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize(("name", "make"), EVERY_PLUG, ids=names(EVERY_PLUG))
def test_batch_of_two_equals_two_of_one(name: str, make: Make, spatial_dims: int) -> None:
    plug, x = make(spatial_dims).eval(), example(spatial_dims)
    one_by_one = torch.cat([run(name, plug, x[:1]), run(name, plug, x[1:])])
    torch.testing.assert_close(run(name, plug, x), one_by_one)


@pytest.mark.parametrize(("name", "make"), EVERY_PLUG, ids=names(EVERY_PLUG))
@pytest.mark.parametrize("spatial_dims", [0, 4])
def test_dimension_that_no_plug_serves_is_refused_by_name(name: str, make: Make, spatial_dims: int) -> None:
    plug = name.split("/")[1].split("-", maxsplit=1)[0]
    with pytest.raises(ValueError, match=rf"'{plug}' cannot serve spatial_dims={spatial_dims}"):
        make(spatial_dims)


def test_plug_for_planes_only_says_what_it_serves() -> None:
    with pytest.raises(ValueError, match="gate 'das' cannot serve spatial_dims=3; it serves 2"):
        require_dims("gate 'das'", 3, supported=(2,))
    require_dims("gate 'das'", 2, supported=(2,))


def test_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="gate 'se' is defined twice"):
        plug_table("gate", ("se", nn.Identity), ("eca", nn.Identity), ("se", nn.Identity))


@pytest.mark.parametrize(
    ("build", "known"),
    [
        (lambda: build_gate("sse", 2, 8), "eca, identity, se"),
        (lambda: build_adn("in_relu", 2, 8), "bn_elu, bn_relu"),
        (lambda: build_down("soft", 2, 8, 8, 2), "avg, conv, max"),
        (lambda: build_head("spp", 2, [8], 3), "mean, mean_max"),
    ],
)
def test_unknown_name_lists_the_known_ones(build: Callable[[], nn.Module], known: str) -> None:
    with pytest.raises(ValueError, match=f"choose one of: {known}$"):
        build()


def test_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="gate 'se' has no option 'reduction'; its options: ratio, bias"):
        build_gate("se", 2, 8, reduction=16)
    with pytest.raises(ValueError, match="'identity' has no option 'ratio'; its options: none"):
        build_gate("identity", 2, 8, ratio=16)
