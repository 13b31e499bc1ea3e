"""ATM'22's measures: the tables of hand-countable trees, and what the challenge's code does at the edges."""

from __future__ import annotations

import logging
import math
from functools import cache

import numpy as np
import pytest
from scipy import ndimage
from tests.medical.airway_shapes import (
    LEAVES,
    LEFT,
    RIGHT,
    STEMS,
    TRUNK,
    Mask,
    ball,
    capsules,
    hand_y,
    unit_grid,
    y3,
)

from tessera.core.errors import DataError
from tessera.medical.airway_tree import AirwayTree, parse_airway
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.metrics import (
    branches_detected,
    count_airway,
    largest_component,
    leakage,
    length_found_mm,
)

SHAPE = (64, 64, 64)


@cache
def y3_tree() -> AirwayTree:
    return parse_airway(y3(), unit_grid(y3()))


def y3_without_left(*, keep_from: int | None = None) -> Mask:
    """The trunk and the right arm, and of the left one what lies at or above that plane."""
    left = capsules(SHAPE, LEFT)
    left[: 64 if keep_from is None else keep_from] = False
    return capsules(SHAPE, TRUNK, RIGHT) | left


def y3_broken() -> Mask:
    left = capsules(SHAPE, LEFT)
    left[20:24] = False
    return capsules(SHAPE, TRUNK, RIGHT) | left


PREDICTIONS = {
    "the mask": (y3, 100.0, 100.0, 100.0, 100.0),
    "without left": (y3_without_left, 69.44, 66.67, 84.96, 100.0),
    "left from 22": (lambda: y3_without_left(keep_from=22), 83.33, 66.67, 91.82, 100.0),
    "left from 16": (lambda: y3_without_left(keep_from=16), 91.67, 66.67, 95.69, 100.0),
    "left from 14": (lambda: y3_without_left(keep_from=14), 94.44, 100.0, 96.88, 100.0),
    "a ball apart": (lambda: y3() | ball(SHAPE, (20, 50, 32), 5), 100.0, 100.0, 92.12, 85.39),
    "a ball attached": (lambda: y3() | ball(SHAPE, (20, 32, 50), 6), 100.0, 100.0, 87.76, 78.182),
    "broken": (y3_broken, 94.44, 100.0, 97.71, 100.0),
    "its largest part": (lambda: largest_component(y3_broken()), 80.56, 66.67, 90.53, 100.0),
    "all ones": (lambda: np.ones(SHAPE, dtype=np.bool_), 100.0, 100.0, 2.27, 1.148),
    "empty": (lambda: np.zeros(SHAPE, dtype=np.bool_), 0.0, 0.0, 0.0, 100.0),
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_of_the_thick_tree_score_as_in_the_challenge(name: str) -> None:
    make, *expected = PREDICTIONS[name]
    found = count_airway(make(), y3_tree()).atm22()
    assert [found[key] for key in ("td", "bd", "dsc", "precision")] == pytest.approx(expected, abs=0.006)


def test_rates_of_the_thick_tree() -> None:
    broken = count_airway(largest_component(y3_broken(), connectivity=6), y3_tree()).atm22()
    assert broken["fnr"] == pytest.approx(17.309) and broken["sensitivity"] == pytest.approx(82.691)
    apart = count_airway(y3() | ball(SHAPE, (20, 50, 32), 5), y3_tree()).atm22()
    assert apart["fpr"] == pytest.approx(0.199) and apart["specificity"] == pytest.approx(99.801)
    attached = count_airway(y3() | ball(SHAPE, (20, 32, 50), 6), y3_tree()).atm22()
    assert attached["fpr"] == pytest.approx(0.324)


@cache
def b7_tree() -> AirwayTree:
    mask = capsules((96, 96, 96), *STEMS, *LEAVES)
    return parse_airway(mask, unit_grid(mask))


@pytest.mark.parametrize(("leaves", "td", "bd", "dsc"), [(3, 87.42, 85.71, 95.03), (0, 49.67, 42.86, 76.62)])
def test_leaves_missing_from_the_tree_of_seven_branches(
    leaves: int, td: float, bd: float, dsc: float
) -> None:
    found = count_airway(capsules((96, 96, 96), *STEMS, *LEAVES[:leaves]), b7_tree()).atm22()
    assert [found[key] for key in ("td", "bd", "dsc")] == pytest.approx([td, bd, dsc], abs=0.006)


def test_a_mask_eroded_by_a_voxel_has_all_branches_and_a_low_dice() -> None:
    tree = b7_tree()
    mask = np.zeros(tree.geometry.shape, dtype=np.bool_)
    mask[tree.box] = tree.mask
    found = count_airway(ndimage.binary_erosion(mask), tree).atm22()
    assert [found[key] for key in ("td", "bd", "dsc")] == pytest.approx([100, 100, 74.29], abs=0.006)


@pytest.mark.parametrize(("cut", "td", "bd"), [(0, 100.0, 100.0), (3, 94.12, 100.0), (4, 92.16, 66.67)])
def test_hand_counted_tree_loses_a_branch_below_eighty_per_cent(cut: int, td: float, bd: float) -> None:
    predicted = hand_y()
    for k in range(16 - cut, 16):
        predicted[20 - k, 20, 20 - k] = False
    found = count_airway(predicted, parse_airway(hand_y(), unit_grid(hand_y()))).atm22()
    assert (found["td"], found["bd"]) == (td, bd)


def test_an_id_without_voxels_counts_as_missed() -> None:
    ids = np.repeat([1, 3], 10)
    assert branches_detected(ids, np.ones(20, dtype=np.bool_)) == (3, 2)
    assert branches_detected(ids, np.arange(20) < 10) == (3, 1)
    assert branches_detected(ids, np.arange(20) != np.arange(20).clip(8, 9)) == (3, 2)
    assert branches_detected(ids, np.arange(20) >= 3) == (3, 1)
    assert branches_detected(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.bool_)) == (0, 0)


def test_fractions_are_the_same_measures_without_rounding() -> None:
    counts = count_airway(y3_without_left(keep_from=16), y3_tree())
    published, ours = counts.atm22(), counts.fractions()
    for name, value in ours.items():
        assert 100 * value == pytest.approx(published[name], abs=0.006), name
    assert ours["bd"] == 2 / 3 and ours["precision"] == 1.0


def test_an_empty_prediction_is_nan_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        counts = count_airway(np.zeros(SHAPE, dtype=np.bool_), y3_tree())
    assert "empty" in caplog.text
    assert all(math.isnan(value) for value in counts.fractions().values())
    assert counts.atm22()["precision"] == 100.0


def test_an_empty_reference_has_no_ratios() -> None:
    empty = np.zeros(SHAPE, dtype=np.bool_)
    tree = parse_airway(empty, unit_grid(empty))
    found = count_airway(y3(), tree).fractions()
    assert math.isnan(found["td"]) and math.isnan(found["bd"]) and math.isnan(found["fnr"])
    assert found["dsc"] == 0.0 and found["precision"] == 0.0
    assert math.isnan(count_airway(y3(), tree).atm22()["bd"])
    assert math.isnan(leakage(y3(), tree).leak_ratio)
    assert length_found_mm(y3(), tree) == (0.0, 0.0)


def test_leaks_are_counted_measured_and_related_to_the_reference() -> None:
    apart = leakage(y3() | ball(SHAPE, (20, 50, 32), 5), y3_tree())
    assert (apart.leak_count, apart.leak_mm3, apart.leak_largest_mm3) == (0, 515.0, 0.0)
    assert apart.leak_ratio == pytest.approx(0.17110, abs=1e-5)
    attached = y3() | ball(SHAPE, (20, 32, 50), 6)
    attached[50, 32, 37] = True  # one voxel on the trunk
    found = leakage(attached, y3_tree())
    assert (found.leak_count, found.leak_mm3, found.leak_largest_mm3) == (2, 841.0, 840.0)
    assert found.leak_ratio == pytest.approx(841 / 3010)
    assert leakage(y3(), y3_tree()).leak_count == 0


def test_leaks_are_measured_in_the_voxels_of_the_file() -> None:
    tree = parse_airway(y3(), VolumeGeometry.of(SHAPE, np.diag([0.5, 2.0, -3.0, 1.0])))
    assert leakage(y3() | ball(SHAPE, (20, 50, 32), 5), tree).leak_mm3 == pytest.approx(515 * 3.0)


def test_length_found_runs_along_the_reference_in_mm() -> None:
    """A straight line: 20 steps of 2 mm, of which a gap of one voxel takes two."""
    line = np.zeros((5, 5, 25), dtype=np.bool_)
    line[2, 2, 2:23] = True
    tree = parse_airway(line, VolumeGeometry.of(line.shape, np.diag([1.0, 1.0, 2.0, 1.0])))
    predicted = line.copy()
    predicted[2, 2, 10] = False
    assert length_found_mm(line, tree) == (40.0, 40.0)
    assert length_found_mm(predicted, tree) == (36.0, 40.0)
    assert count_airway(predicted, tree).fractions()["td"] == pytest.approx(20 / 21)


def test_a_prediction_on_another_grid_is_refused() -> None:
    with pytest.raises(DataError, match="one grid"):
        count_airway(y3()[1:], y3_tree())
