"""The table of plugs: which rows it has, and that its numbers are the network's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from tessera.core import backbone_bench
from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone_bench import INPUTS, build_host, measure_plugs
from tessera.core.backbone_config import PLUG_NAMES

HOST_2D = (
    (18 * 32 + 32 + 64) + (288 * 32 + 64) * 2 + (288 * 64 + 128) + (576 * 64 + 128) + (32 * 64 + 128) + 650
)
"""By hand: stem with a bias, a block of 32 channels, one of 64 with its shortcut, classes; all with norms."""


def clock(*laps: float) -> Callable[[], float]:
    """A timer that is read twice a lap."""
    now = 0.0

    def readings() -> Iterator[float]:
        nonlocal now
        for lap in laps:
            yield now
            now += lap
            yield now

    return readings().__next__


def test_the_first_row_is_the_plain_network() -> None:
    first, *_ = measure_plugs("gate", 2, turns=1)
    assert (first.plug, first.parameters, first.times_host) == ("identity", HOST_2D, 1.0)
    kernels = 18 * 32 + 288 * 32 * 2  # on 32 x 32 pixels
    strided = 288 * 64 + 576 * 64 + 32 * 64  # on 16 x 16
    assert first.macs == 1024 * kernels + 256 * strided + 64 * 10


def test_a_gate_adds_its_own_parameters_and_multiply_adds() -> None:
    costs = {cost.plug: cost for cost in measure_plugs("gate", 2, turns=1)}
    se, plain = costs["se"], costs["identity"]
    assert se.parameters - plain.parameters == (2 * 32 * 2 + 34) + (2 * 64 * 4 + 68)  # type: ignore[operator]
    assert se.macs - plain.macs == 2 * 32 * 2 + 2 * 64 * 4  # type: ignore[operator]


SLOTS = ["down", "gate", "adn", "route", "ffn", "head", pytest.param("mixer", marks=pytest.mark.slow)]


@pytest.mark.parametrize("slot", SLOTS)
def test_every_plug_has_a_row(slot: str) -> None:
    costs = measure_plugs(slot, 1, turns=1)
    names = [cost.plug for cost in costs if cost.plug != "none"]
    assert sorted(names) == sorted(PLUG_NAMES[slot])
    assert costs[0].times_host == 1.0
    for cost in costs:
        assert (cost.refused is None) == (cost.macs is not None) == (cost.milliseconds is not None)


@pytest.mark.parametrize("dims", [1, 3])
def test_a_plug_that_refuses_a_dimension_says_why(dims: SpatialDims) -> None:
    refused = [cost for cost in measure_plugs("down", dims, turns=1) if cost.refused]
    assert [cost.plug for cost in refused] == ["log_polar"]
    assert refused[0].refused == f"down 'log_polar' cannot serve spatial_dims={dims}; it serves 2"
    assert refused[0].parameters is refused[0].times_host is None


def test_times_are_medians_over_turns_beside_the_host_of_the_same_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PLUG_NAMES, "gate", ("eca", "identity"))
    uncounted, turns = (100.0, 1.0), [(1.0, 3.0), (10.0, 20.0), (2.0, 2.0)]
    host, eca = measure_plugs("gate", 1, turns=3, timer=clock(*uncounted, *itertools.chain(*turns)))
    assert (host.plug, host.milliseconds, host.times_host) == ("identity", 2e3, 1.0)
    assert (eca.plug, eca.milliseconds, eca.times_host) == ("eca", 3e3, 2.0)


def test_the_number_of_threads_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLUG_NAMES, "gate", ("identity",))
    counts: list[int] = []

    def threads(network: nn.Module, x: torch.Tensor) -> int:
        counts.append(torch.get_num_threads())
        return 0

    monkeypatch.setattr(backbone_bench, "count_macs", threads)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        measure_plugs("gate", 1, turns=1)
        assert (counts, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dims", INPUTS)
def test_the_plug_is_where_the_table_says(dims: SpatialDims) -> None:
    def kinds(slot: str, plug: str) -> set[str]:
        return {type(module).__name__ for module in build_host(slot, plug, dims).modules()}

    assert {"SEGate", "Bottleneck"} <= kinds("gate", "se")
    assert {"ASPHead", "Bottleneck"} <= kinds("head", "asp")
    assert {"DAFF", "Metaformer", "ChannelLayerNorm"} <= kinds("ffn", "daff")
    assert {"SPDDown", "Bottleneck"} <= kinds("down", "spd")
