"""Rows of scores: names of the columns, classes that are missing, and the airway's own measures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tessera.core.errors import ConfigError, DataError
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.mask_scores import AirwayScores, SegmentationScores

from .airway_shapes import LEFT, RIGHT, TRUNK, ball, capsules, unit_grid, y3

CLASSES = ("background", "anterior", "posterior")
GRID = VolumeGeometry.of((8, 9, 10), np.diag([-1.0, 2.0, 3.0, 1.0]))


def two_blocks(*, shift: int = 0) -> np.ndarray:
    labels = np.zeros((8, 9, 10), dtype=np.uint8)
    labels[2:4, 2:6, 2 + shift : 6 + shift] = 1
    labels[5:7, 2:6, 2:6] = 2
    return labels


def test_a_shifted_block_of_two_classes() -> None:
    """One of four layers off: Dice 3/4; on its face 3 mm away, and 95 % of distances lie below that."""
    row = SegmentationScores(CLASSES, tolerance_mm=2.0).case(two_blocks(shift=1), two_blocks(), GRID)
    keys = [f"{measure}_{name}" for name in CLASSES[1:] for measure in ("dice", "surface_dice", "hd95_mm")]
    assert list(row) == keys
    assert row["dice_anterior"] == 0.75 and row["hd95_mm_anterior"] == 3.0
    assert row["surface_dice_anterior"] == 0.75  # all 32 voxels are surface, 8 of them off, both ways
    assert (row["dice_posterior"], row["surface_dice_posterior"], row["hd95_mm_posterior"]) == (1.0, 1.0, 0.0)
    wider = SegmentationScores(CLASSES, tolerance_mm=3.0).case(two_blocks(shift=1), two_blocks(), GRID)
    assert wider["surface_dice_anterior"] == 1.0


def test_classes_missing_from_one_mask_or_both() -> None:
    reference = two_blocks()
    predicted = np.where(reference == 2, 0, reference)
    row = SegmentationScores((*CLASSES, "other")).case(predicted, reference, GRID)
    assert (row["dice_posterior"], row["surface_dice_posterior"]) == (0.0, 0.0)
    assert math.isnan(row["hd95_mm_posterior"])
    assert all(math.isnan(row[f"{measure}_other"]) for measure in ("dice", "surface_dice", "hd95_mm"))


def test_turning_all_axes_round_changes_no_score() -> None:
    predicted, reference = two_blocks(shift=1), two_blocks()
    scores = SegmentationScores(CLASSES)
    turned = scores.case(predicted[::-1, ::-1, ::-1], reference[::-1, ::-1, ::-1], GRID)
    assert turned == pytest.approx(scores.case(predicted, reference, GRID))


def test_masks_of_truth_values_are_labels_too() -> None:
    reference = two_blocks() == 1
    row = SegmentationScores(("background", "block")).case(reference, reference, GRID)
    assert list(row.values()) == [1.0, 1.0, 0.0]


def test_airway_adds_its_measures() -> None:
    reference = y3().astype(np.uint8)
    predicted = capsules((64, 64, 64), TRUNK, RIGHT).astype(np.uint8)
    row = AirwayScores(("background", "airway")).case(predicted, reference, unit_grid(y3()))
    assert row["dice_airway"] == row["dsc"] == pytest.approx(0.8496, abs=1e-4)
    assert row["td"] == pytest.approx(0.6944, abs=0.02) and row["bd"] == pytest.approx(2 / 3)
    assert (row["branches_reference"], row["branches_detected"]) == (3.0, 2.0)
    assert (row["precision"], row["leak_count"], row["leak_mm3"], row["leak_ratio"]) == (1.0, 0, 0, 0)
    assert 0 < row["td_mm"] < row["length_mm_reference"] == pytest.approx(86, abs=2)
    assert row["fnr"] == pytest.approx(1 - predicted.sum() / 3010) and row["fpr"] == 0.0
    assert "surface_dice_airway" in row and "hd95_mm_airway" in row


def test_only_the_largest_part_of_a_prediction_counts_for_the_airway() -> None:
    left = capsules((64, 64, 64), LEFT)
    left[20:24] = False
    broken = capsules((64, 64, 64), TRUNK, RIGHT) | left | ball((64, 64, 64), (20, 50, 32), 2)
    row = AirwayScores(("background", "airway")).case(broken, y3(), unit_grid(y3()))
    assert row["td"] == pytest.approx(0.8056, abs=0.02) and row["bd"] == pytest.approx(2 / 3)
    assert row["precision"] == 1.0 and row["leak_mm3"] == 0.0
    assert row["dice_airway"] > row["dsc"]


def test_only_the_largest_part_of_a_reference_without_its_holes_counts_for_the_airway() -> None:
    reference = y3() | ball((64, 64, 64), (20, 50, 32), 2)
    reference[50, 32, 32] = False
    row = AirwayScores(("background", "airway")).case(y3(), reference, unit_grid(y3()))
    assert row["dice_airway"] < row["dsc"] == row["td"] == row["bd"] == 1.0
    assert row["branches_reference"] == 3.0 and row["leak_mm3"] == 0.0


def test_connectivity_of_the_largest_part_is_an_option() -> None:
    """A voxel outside hangs on by an edge."""
    predicted = capsules((64, 64, 64), TRUNK)
    predicted[50, 37, 33] = True
    rows = [
        AirwayScores(("background", "airway"), connectivity=c).case(predicted, y3(), unit_grid(y3()))
        for c in (6, 26)
    ]
    assert [row["leak_mm3"] for row in rows] == [0.0, 1.0]


def test_several_classes_are_one_airway() -> None:
    labels = y3().astype(np.uint8)
    labels[:34][labels[:34] > 0] = 2
    row = AirwayScores(("background", "trachea", "bronchi")).case(labels, labels, unit_grid(y3()))
    assert (row["td"], row["bd"], row["dsc"], row["dice_bronchi"]) == (1.0, 1.0, 1.0, 1.0)


def test_an_empty_airway_is_nan_in_its_measures_and_zero_in_dice() -> None:
    empty = np.zeros((64, 64, 64), dtype=np.uint8)
    row = AirwayScores(("background", "airway")).case(empty, y3().astype(np.uint8), unit_grid(y3()))
    assert row["dice_airway"] == 0.0 and row["td_mm"] == 0.0 and row["branches_reference"] == 3.0
    assert all(math.isnan(row[key]) for key in ("td", "bd", "dsc", "precision", "fpr", "fnr"))
    nothing = AirwayScores(("background", "airway")).case(empty, empty, unit_grid(y3()))
    assert nothing["branches_reference"] == 0.0 and math.isnan(nothing["td"])


@pytest.mark.parametrize("classes", [("background",), ("background", "a", "a"), ()])
def test_unusable_classes_are_refused(classes: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="classes"):
        SegmentationScores(classes)


def test_labels_outside_the_classes_are_refused() -> None:
    with pytest.raises(DataError, match="labels that no class has"):
        SegmentationScores(CLASSES[:2]).case(two_blocks(), two_blocks(), GRID)
