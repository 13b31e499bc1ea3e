"""Depth, patch and batch size against the published worked plans of the nnU-Net v2 rules."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.medical.planning.topology import (
    PRESETS,
    RESIDUAL_BLOCKS,
    Topology,
    batch_size,
    first_patch,
    fit_patch,
    memory_elements,
    topology_of,
)


class Plan(NamedTuple):
    """A worked plan: what goes in, then what must come out."""

    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    channels: int
    classes: int
    cases: int
    patch: tuple[int, ...]
    pools: tuple[int, ...]
    batch: int
    elements: int
    parameters: int | None


ABDOMEN = ((2.5, 0.8, 0.8), (97, 512, 512), 1, 14, 50)
BRATS = ((1, 1, 1), (138, 169, 138), 4, 4, 484)
WORKED = {
    "hippocampus": Plan(
        (1, 1, 1), (36, 50, 35), 1, 3, 260, (40, 56, 40), (3, 3, 3), 9, 19_174_400, 5_603_177
    ),
    "brats": Plan(*BRATS, (128,) * 3, (5, 5, 5), 2, 454_893_568, 31_199_796),
    "prostate": Plan(
        (3.6, 0.625, 0.625),
        (20, 320, 319),
        2,
        3,
        32,
        (20, 320, 256),
        (2, 6, 6),
        2,
        483_315_200,
        44_578_770,
    ),
    "liver": Plan(
        (1, 0.767, 0.767), (482, 512, 512), 1, 3, 131, (128,) * 3, (5, 5, 5), 2, 452_796_416, 31_196_399
    ),
    "abdomen-ct": Plan(*ABDOMEN, (40, 224, 192), (3, 5, 5), 2, 481_447_680, 30_713_158),
    "abdomen-mr": Plan(
        (3, 1.2, 1.2),
        (72, 260, 320),
        1,
        14,
        60,
        (48, 160, 224),
        (3, 5, 5),
        2,
        481_447_680,
        30_713_158,
    ),
    "acdc": Plan(
        (5, 1.5625, 1.5625),
        (18, 237, 208),
        1,
        4,
        200,
        (20, 256, 224),
        (2, 5, 5),
        4,
        310_481_920,
        30_377_428,
    ),
    "cbct": Plan(
        (0.3, 0.3, 0.3),
        (273, 410, 410),
        1,
        2,
        100,
        (96, 160, 160),
        (4, 5, 5),
        2,
        528_211_200,
        30_785_994,
    ),
    "airway-ct": Plan(
        (0.65, 0.75, 0.75),
        (600, 512, 512),
        1,
        2,
        299,
        (128,) * 3,
        (5, 5, 5),
        2,
        450_699_264,
        31_195_594,
    ),
    "cells-2d": Plan((1, 1), (512, 512), 3, 3, 1000, (512, 512), (7, 7), 12, 82_886_656, 46_327_157),
    "abdomen-mr-2d": Plan(
        (1.2, 1.2), (260, 320), 1, 14, 72 * 60, (320, 320), (6, 6), 30, 33_459_200, 33_489_940
    ),
    "generic-2d": Plan((1, 1), (256, 256), 1, 4, 10_000, (256, 256), (6, 6), 49, 20_758_528, 33_474_840),
    "endovis-old": Plan((1, 1), (1080, 1920), 3, 8, 1800, (384, 640), (6, 6), 13, 78_827_520, 33_481_456),
    "endovis": Plan((1, 1), (1080, 1920), 3, 8, 1800, (896, 1536), (7, 8), 2, 442_208_256, 58_668_800),
}
RESIDUAL = {
    "resenc-m": [
        Plan(*ABDOMEN, (40, 224, 192), (3, 5, 5), 2, 653_466_240, 101_867_334),
        Plan(*BRATS, (128,) * 3, (5, 5, 5), 2, 559_517_696, 102_353_972),
    ],
    "resenc-l": [
        Plan(*ABDOMEN, (56, 320, 256), (3, 6, 6), 2, 1_743_517_440, 141_001_428),
        Plan(*BRATS, (160, 192, 160), (5, 5, 5), 3, 1_311_369_600, None),
    ],
    "resenc-xl": [
        Plan(*ABDOMEN, (64, 384, 384), (4, 6, 6), 2, 3_583_300_608, 141_411_028),
        Plan(*BRATS, (160, 192, 160), (5, 5, 5), 5, 1_311_369_600, None),
    ],
}


def parameters(net: Topology, channels: int, classes: int, *, residual: bool) -> int:
    """Parameters of the network as the sheet describes it, counted layer by layer."""

    def conv(kernel: tuple[int, ...], width_in: int, width: int) -> int:
        return (math.prod(kernel) * width_in + 3) * width  # bias, and the norm's two

    total, width_in = 0, channels
    if residual:
        total, width_in = conv(net.kernels[0], channels, net.features[0]), net.features[0]
    for stage, (kernel, width) in enumerate(zip(net.kernels, net.features, strict=True)):
        if residual:
            if width_in != width:
                total += (width_in + 2) * width
            total += conv(kernel, width_in, width) + conv(kernel, width, width)
            total += (RESIDUAL_BLOCKS[stage] - 1) * 2 * conv(kernel, width, width)
        else:
            total += conv(kernel, width_in, width) + conv(kernel, width, width)
        width_in = width
    for stage in range(len(net.features) - 2, -1, -1):
        below, width, kernel = net.features[stage + 1], net.features[stage], net.kernels[stage]
        total += (math.prod(net.strides[stage + 1]) * below + 1) * width
        total += conv(kernel, 2 * width, width) + (0 if residual else conv(kernel, width, width))
        total += (width + 1) * classes
    return total


def check(plan: Plan, preset_name: str, *, rule: str | None = None) -> Topology:
    preset = PRESETS[preset_name]
    preset = replace(preset, rule=rule) if rule else preset
    limit = preset.elements[len(plan.spacing)]
    net = fit_patch(plan.spacing, plan.shape, classes=plan.classes, preset=preset, limit=limit)
    elements = memory_elements(net, classes=plan.classes, residual=preset.residual)
    batch, _ = batch_size(net, plan.shape, cases=plan.cases, elements=elements, preset=preset, limit=limit)
    assert (net.patch, net.pools, elements, batch) == (plan.patch, plan.pools, plan.elements, plan.batch)
    if plan.parameters is not None:
        assert parameters(net, plan.channels, plan.classes, residual=preset.residual) == plan.parameters
    return net


@pytest.mark.parametrize("name", WORKED)
def test_worked_plan_is_reproduced(name: str) -> None:
    check(WORKED[name], "default", rule="old" if name.endswith("-old") else "current")


@pytest.mark.parametrize("preset", RESIDUAL)
@pytest.mark.parametrize("which", [0, 1])
def test_worked_residual_plan_is_reproduced(preset: str, which: int) -> None:
    check(RESIDUAL[preset][which], preset)


@pytest.mark.parametrize("name", ["abdomen-ct", "abdomen-mr"])
def test_strides_and_kernels_of_thick_slices(name: str) -> None:
    net = check(WORKED[name], "default")
    assert net.strides == ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))
    assert net.kernels == ((1, 3, 3), *[(3, 3, 3)] * 5)


def test_strides_and_kernels_of_very_thick_slices() -> None:
    prostate, acdc = check(WORKED["prostate"], "default"), check(WORKED["acdc"], "default")
    two, flat = (2, 2, 2), (1, 2, 2)
    assert prostate.strides == ((1, 1, 1), flat, flat, two, two, flat, flat)
    assert prostate.kernels == ((1, 3, 3), (1, 3, 3), *[(3, 3, 3)] * 5)
    assert acdc.strides == ((1, 1, 1), flat, two, two, flat, flat)
    assert acdc.kernels == ((1, 3, 3), *[(3, 3, 3)] * 5)


def test_strides_of_cone_beam_ct() -> None:
    assert check(WORKED["cbct"], "default").strides == ((1, 1, 1), *[(2, 2, 2)] * 4, (1, 2, 2))


@pytest.mark.parametrize(
    ("name", "patch"),
    [
        ("hippocampus", (36, 50, 35)),
        ("prostate", (20, 320, 319)),
        ("liver", (215, 280, 280)),
        ("abdomen-ct", (97, 374, 374)),
        ("acdc", (18, 237, 208)),
        ("airway-ct", (282, 244, 244)),
    ],
)
def test_first_patch_is_that_of_the_sheet(name: str, patch: tuple[int, ...]) -> None:
    assert first_patch(WORKED[name].spacing, WORKED[name].shape) == patch


@pytest.mark.parametrize(("thick", "together"), [(1.99, True), (2.0, False)])
def test_an_axis_twice_as_coarse_waits(thick: float, together: bool) -> None:
    net = topology_of((thick, 1, 1), (32, 32, 32))
    assert net.strides[1] == ((2, 2, 2) if together else (1, 2, 2))
    assert net.kernels[0] == ((3, 3, 3) if together else (1, 3, 3))


def test_a_last_axis_alone_is_halved_from_twelve_on() -> None:
    assert topology_of((1, 1, 1), (4, 4, 11)).pools == (0, 0, 0)
    assert topology_of((1, 1, 1), (4, 4, 12)).pools == (0, 0, 1)


def test_first_patch_has_equal_extents() -> None:
    assert first_patch((2.5, 0.8, 0.8), (999, 999, 999)) == (120, 374, 374)
    assert first_patch((5, 1.5625, 1.5625), (999, 999, 999)) == (118, 377, 377)


def test_memory_of_the_published_examples() -> None:
    net = topology_of((1, 1, 1), (128, 128, 128))
    assert memory_elements(net, classes=3) == 452_796_416
    assert memory_elements(net, classes=3, residual=True) == 557_420_544
    flat = topology_of((1, 1), (512, 512))
    assert memory_elements(flat, classes=3) == 82_886_656


def test_hippocampus_batch_is_capped_by_the_data() -> None:
    plan = WORKED["hippocampus"]
    net = topology_of(plan.spacing, plan.shape)
    preset = PRESETS["default"]
    limits = {"elements": plan.elements, "limit": preset.elements[3]}
    assert batch_size(net, plan.shape, cases=10**6, preset=preset, **limits)[0] == 58
    assert batch_size(net, plan.shape, cases=260, preset=preset, **limits) == (9, 9)


@given(
    st.lists(st.floats(0.3, 6.0), min_size=3, max_size=3),
    st.lists(st.integers(1, 300), min_size=3, max_size=3),
)
def test_strides_divide_the_patch_and_never_shrink_an_axis_below_four(
    spacing: list[float], shape: list[int]
) -> None:
    net = topology_of(spacing, shape)
    assert len(net.strides) == len(net.kernels) == len(net.features)
    for axis, (n, asked) in enumerate(zip(net.patch, shape, strict=True)):
        assert n % net.divisor[axis] == 0
        assert asked <= n < asked + net.divisor[axis]
        assert net.pools[axis] == 0 or n // net.divisor[axis] >= 4


@given(st.lists(st.floats(0.5, 3.0), min_size=2, max_size=3), st.floats(1e6, 1e9))
def test_shrinking_ends_below_the_limit(spacing: list[float], limit: float) -> None:
    preset = replace(PRESETS["default"], rule="old")
    net = fit_patch(spacing, [200] * len(spacing), classes=2, preset=preset, limit=limit)
    assert memory_elements(net, classes=2) <= limit or min(net.patch) <= 8
