"""Orders of windows: everything covered, the budget kept, few repeats."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.core.data.geometry import Region
from tessera.core.inference.schedule import Schedule, schedule
from tessera.core.inference.tiling import window_regions


def planned(budget: int, *, between: bool = False, classes: int = 105) -> tuple[list[Region], Schedule]:
    shape, patch = (160, 160, 128), (64, 64, 64)
    regions = window_regions(shape, patch, (32, 32, 32))
    made = schedule(regions, shape, patch, classes=classes, budget_bytes=budget, between=[between] * 3)
    return regions, made


def test_enough_room_keeps_the_order_and_repeats_nothing() -> None:
    regions, made = planned(2**40)
    assert list(made.regions) == regions
    assert (len(made.strips), made.slow, made.depth) == (1, 0, 64)
    assert planned(2**40, between=True)[1].depth == 65


def test_half_a_gibibyte_for_105_classes_repeats_one_row_of_windows() -> None:
    regions, made = planned(512 * 2**20)  # 64 planes of 160 x 128 take 525 MiB
    assert [(strip.low, strip.high, strip.end) for strip in made.strips] == [(0, 96, 96), (96, 160, 160)]
    assert (len(regions), len(made.regions)) == (48, 60)


def test_outputs_between_elements_need_the_element_behind_the_cut() -> None:
    _, made = planned(512 * 2**20, between=True)
    assert [strip.end - strip.high for strip in made.strips] == [1] * (len(made.strips) - 1) + [0]


def test_too_small_a_budget_cuts_wherever_a_window_starts_or_stops() -> None:
    _, made = planned(1)
    length = (160, 160, 128)[made.cross]
    assert [strip.low for strip in made.strips] == list(range(0, length, 32))


def test_planes_run_along_the_axis_that_needs_least() -> None:
    shape, patch = (20, 400), (16, 16)
    regions = window_regions(shape, patch, (8, 8))
    made = schedule(regions, shape, patch, classes=100, budget_bytes=200_000, between=[True, True])
    assert made.slow == 1
    assert len(made.strips) == 1
    assert [region.start[1] for region in made.regions] == sorted(region.start[1] for region in regions)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=3),
    st.integers(1, 40_000), st.booleans(), st.randoms(use_true_random=False),
)  # fmt: skip
def test_each_strip_holds_every_window_that_touches_it_sorted(
    axes: list[tuple[int, int, int]], budget: int, between: bool, random: Random
) -> None:
    shape, patch, step = zip(*axes, strict=True)
    regions = window_regions(shape, patch, [min(a, b) for a, b in zip(step, patch, strict=True)])
    random.shuffle(regions)
    made = schedule(regions, shape, patch, classes=3, budget_bytes=budget, between=[between] * len(shape))
    assert set(made.regions) == set(regions)
    for strip in made.strips:
        inside = made.regions[strip.first : strip.stop]
        assert [r.start[made.slow] for r in inside] == sorted(r.start[made.slow] for r in inside)
        assert len(set(inside)) == len(inside)
        if made.cross != made.slow:
            cross = [(r.start[made.cross], r.stop[made.cross], r) for r in regions]
            assert set(inside) == {r for a, b, r in cross if a < strip.end and b > strip.low}
    if made.cross != made.slow:
        bounds = [(strip.low, strip.high) for strip in made.strips]
        assert bounds[0][0] == 0
        assert bounds[-1][1] == shape[made.cross]
        assert all(a[1] == b[0] for a, b in pairwise(bounds))
