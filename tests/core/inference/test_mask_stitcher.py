"""Masks from windows: equal to keeping all logits, whatever the sizes, the order and the budget."""

from __future__ import annotations

import subprocess
import sys
from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.core.data.geometry import Pixels, Placement, Region
from tessera.core.errors import DataError
from tessera.core.inference.blending import constant, gaussian, importance
from tessera.core.inference.mask_stitcher import MaskRules, MaskStitcher
from tessera.core.inference.tiling import window_regions

from .masks_by_hand import CASE, check_mask, on_source, same_place, spread, stitched


@st.composite
def situations(draw: st.DrawFn) -> dict[str, Any]:
    """A grid, its windows and its place on a source."""
    n_axes = draw(st.integers(1, 3))
    size = [draw(st.integers(1, 14)) for _ in range(n_axes)]
    patch = [draw(st.integers(1, 9)) for _ in range(n_axes)]
    step = [draw(st.integers(1, length)) for length in patch]
    axes = draw(st.permutations(range(n_axes)))
    scale = [draw(st.sampled_from([1.0, 1.0, -1.0, 0.5, -0.7, 1.6, 3.0])) for _ in range(n_axes)]
    source, offset = [0] * n_axes, [0.0] * n_axes
    for axis, target in enumerate(axes):
        before, after = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        length = ceil(size[axis] * abs(scale[axis]))
        source[target] = before + length + after
        start = (abs(scale[axis]) - 1) / 2 + before
        offset[axis] = start if scale[axis] > 0 else start + (size[axis] - 1) * abs(scale[axis])
    return {
        "size": size,
        "regions": window_regions(size, patch, step, draw(st.sampled_from(["pad", "back"]))),
        "patch": patch,
        "source": source,
        "place": Placement(tuple(axes), tuple(scale), tuple(offset)),
        "classes": draw(st.integers(2, 5)),
        "seed": draw(st.integers(0, 9999)),
    }


def logits(found: dict[str, Any]) -> list[Any]:
    rng = np.random.default_rng(found["seed"])
    shape = (len(found["regions"]), found["classes"], *found["patch"])
    return list(rng.normal(size=shape).astype(np.float32))


@settings(max_examples=80, deadline=None)
@given(situations(), st.sampled_from([1, 600, 4000, 2**30]), st.sampled_from([gaussian, constant]))
def test_a_mask_equals_that_of_all_logits_at_once(found: dict[str, Any], budget: int, profile: Any) -> None:
    raws = logits(found)
    keep = {key: found[key] for key in ("source", "size", "place")}
    result = stitched(found["regions"], raws, **keep, budget_bytes=budget, profile=profile).finish()
    weights = importance(found["patch"], profile).double().numpy()
    values = spread(found["regions"], raws, found["size"], weights)
    on, inside = on_source(values, found["place"], found["source"])
    assert result.mask is not None
    check_mask(result.mask, on, inside)
    assert result.summary.tolist() == np.bincount(result.mask.ravel(), minlength=found["classes"]).tolist()


@settings(max_examples=20, deadline=None)
@given(situations(), st.sampled_from([1, 2**30]), st.randoms(use_true_random=False))
def test_the_order_in_which_windows_come_changes_no_element(
    found: dict[str, Any], budget: int, random: Any
) -> None:
    raws = logits(found)
    keep = {key: found[key] for key in ("source", "size", "place")}
    first = stitched(found["regions"], raws, **keep, budget_bytes=budget)
    order = list(range(len(first.finish().regions)))
    random.shuffle(order)
    again = stitched(found["regions"], raws, **keep, budget_bytes=budget, order=order)
    np.testing.assert_array_equal(first.finish().mask, again.finish().mask)


def test_windows_that_are_no_lattice_leave_background_between_them() -> None:
    regions = [Region((0, 0), (4, 4)), Region((2, 3), (6, 7)), Region((7, 1), (11, 5))]
    rng = np.random.default_rng(0)
    raws = [rng.normal(size=(3, 4, 4)).astype(np.float32) - [[[9.0]], [[0.0]], [[0.0]]] for _ in regions]
    place = Placement((0, 1), (2.0, 1.5), (0.5, 0.25))
    values = spread(regions, raws, (11, 8), importance((4, 4), gaussian).double().numpy())
    on, inside = on_source(values, place, (22, 12))
    for budget in (1, 2**30):
        made = stitched(regions, raws, source=(22, 12), size=(11, 8), place=place, budget_bytes=budget)
        mask = made.finish().mask
        assert mask is not None
        check_mask(mask, on, inside)
        assert mask[0, 0] > 0
        assert mask[2, 11] == mask[14, 11] == 0


def test_a_window_may_reach_outside_the_grid_on_both_sides() -> None:
    regions = [Region((-2,), (4,)), Region((1,), (7,))]
    rng = np.random.default_rng(1)
    raws = list(rng.normal(size=(2, 3, 6)).astype(np.float32))
    mask = stitched(regions, raws, source=(5,), size=(5,), place=same_place(1)).finish().mask
    values = spread(regions, raws, (5,), importance((6,), gaussian).double().numpy())
    assert mask is not None
    assert mask.tolist() == values.argmax(axis=0).tolist()


def test_planes_of_fewer_axes_stack_along_the_first() -> None:
    regions = [Region((i, 0, 0), (i + 1, 4, 5)) for i in range(3)]
    raws = list(np.random.default_rng(2).normal(size=(3, 2, 4, 5)).astype(np.float32))
    mask = stitched(regions, raws, source=(3, 4, 5), size=(3, 4, 5), place=same_place(3)).finish().mask
    np.testing.assert_array_equal(mask, np.stack(raws).argmax(axis=1))


def test_the_first_of_equal_classes_wins() -> None:
    raw = np.array([[1.0, 2.0, 0.0], [1.0, 2.0, 5.0], [0.0, 2.0, 5.0]], dtype=np.float32)
    for scale, length, expected in ((1.0, 3, [0, 0, 1]), (0.5, 2, [0, 1])):
        place = Placement((0,), (scale,), ((scale - 1) / 2,))
        mask = stitched([Region((0,), (3,))], [raw], source=(length,), size=(3,), place=place).finish().mask
        assert mask is not None
        assert mask.tolist() == expected


def test_nearest_takes_whole_classes_and_linear_bends_between_them() -> None:
    raw = np.array([[4.0, -9.0], [0.0, 1.0]], dtype=np.float32)
    options = {"source": (8,), "size": (2,), "place": Placement((0,), (4.0,), (1.5,))}
    linear, nearest = (
        stitched([Region((0,), (2,))], [raw], **options, nearest=nearest).finish().mask
        for nearest in (False, True)
    )
    assert linear is not None
    assert nearest is not None
    assert nearest.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert linear.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]  # at 1/8: 2.375 against 0.125, at 3/8: -0.875


@pytest.mark.parametrize(("classes", "kind"), [(256, np.uint8), (257, np.uint16), (300, np.uint16)])
def test_many_classes_fit_their_type(classes: int, kind: type) -> None:
    raw = np.eye(classes, dtype=np.float32)[:, [0, classes - 1, 5]]
    made = stitched([Region((0,), (3,))], [raw], source=(3,), size=(3,), place=same_place(1)).finish()
    assert made.mask is not None
    assert made.mask.dtype == kind
    assert made.mask.tolist() == [0, classes - 1, 5]
    assert made.scores.shape == (0, classes)


def test_a_mask_of_background_alone_is_remarked() -> None:
    regions = [Region((0,), (3,))]
    raw = np.array([[1.0] * 3, [0.0] * 3], dtype=np.float32)
    options = {"source": (5,), "size": (3,), "place": same_place(1)}
    made = stitched(regions, [raw], **options).finish()
    assert made.flags == ("nothing found",)
    assert made.summary.tolist() == [5, 0]
    assert stitched(regions, [-raw], **options).finish().flags == ()


def fresh(n: int = 3) -> MaskStitcher:
    rules = MaskRules(classes=2, patch=(2,))
    grid = Pixels((2 * n,))
    schedule = rules.schedule(grid, [Region((2 * i,), (2 * i + 2,)) for i in range(n)])
    return MaskStitcher(CASE, grid, grid, schedule, rules=rules)


def test_missing_repeated_and_unknown_windows_are_errors() -> None:
    stitcher, raw = fresh(), torch.zeros(2, 2)
    stitcher.add(0, raw)
    stitcher.add(2, raw)
    for index in (0, 2):
        with pytest.raises(ValueError, match=f"region {index} of 3 was added twice"):
            stitcher.add(index, raw)
    for index in (3, -1):
        with pytest.raises(ValueError, match=f"region {index} of 3 does not exist"):
            stitcher.add(index, raw)
    with pytest.raises(ValueError, match=r"1 of 3 regions are missing, first \[1\]"):
        stitcher.finish()
    with pytest.raises(ValueError, match="0 of 0"):
        fresh(0).finish()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_named_with_their_place(bad: float) -> None:
    raw = np.array([[0.0, bad], [0.0, 1.0]], dtype=np.float32)
    with pytest.raises(DataError, match=r"not finite(.|\n)*1 of 4 values for elements \(4,\) to \(6,\)"):
        fresh().add(2, raw)


def test_finite_logits_may_be_as_large_as_float32_allows() -> None:
    stitcher = fresh(1)
    stitcher.add(0, np.full((2, 2), 3e38, dtype=np.float32))
    assert stitcher.finish().mask is not None


def test_logits_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"another shape(.|\n)*\(2, 1\)(.|\n)*\(2, 2\)"):
        fresh().add(0, np.zeros((2, 1), dtype=np.float32))


def test_an_early_window_is_kept_as_it_was() -> None:
    stitcher, raw = fresh(), np.zeros((2, 2), dtype=np.float32)
    raw[1] = 1.0
    stitcher.add(1, raw)
    raw[:] = 0.0
    stitcher.add(0, raw)
    stitcher.add(2, raw)
    assert stitcher.finish().mask.tolist() == [0, 0, 1, 1, 0, 0]  # type: ignore[union-attr]


MEASURE = """
import sys
import torch
from tessera.core.data.case import Case
from tessera.core.data.geometry import Pixels
from tessera.core.inference.mask_stitcher import MaskRules, MaskStitcher
from tessera.core.inference.summary import peak_bytes
from tessera.core.inference.tiling import window_regions

torch.set_num_threads(1)
prepared = Pixels((144, 128, 128)).resample((128, 128, 128))
rules = MaskRules(classes=int(sys.argv[1]), patch=(32, 32, 32), budget_bytes=64 * 2**20)
schedule = rules.schedule(prepared, window_regions(prepared.shape, rules.patch, (32, 16, 32)))
raw = torch.randn(rules.classes, *rules.patch)
before = peak_bytes()
case = Case(id="a", files={}, group="g")
stitcher = MaskStitcher(case, Pixels((144, 128, 128)), prepared, schedule, rules=rules)
for index in range(len(schedule.regions)):
    stitcher.add(index, raw)
assert stitcher.finish().mask is not None
print(peak_bytes() - before)
"""


def growth(classes: int) -> int:
    """Bytes that stitching takes in a process of its own, beyond one window's logits."""
    command = [sys.executable, "-c", MEASURE, str(classes)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow  # two processes, and half a gigabyte of sums
def test_memory_does_not_grow_with_the_number_of_classes() -> None:
    few, many = map(growth, (8, 200))
    if not many:
        pytest.skip("this system does not say how much memory a process takes")
    assert 4 * 200 * 128**3 > 2**30  # what all logits would take
    assert many - few < 64 * 2**20  # the budget
    assert many < 100 * 2**20
