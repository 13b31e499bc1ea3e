"""The measures that the pipelines judge masks by, as tables name them."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.core.config import validate
from tessera.core.data.targets import TargetSpec
from tessera.core.evaluation.mask_predictions import MaskScores
from tessera.medical.config import AirwayConfig, VolumeConfig
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.scores import build_airway_scores, build_volume_scores

VOLUMES = validate(VolumeConfig, {"pipeline": "volumes", "preset": "smoke"}, source="test")
AIRWAY = validate(AirwayConfig, {"pipeline": "airway", "preset": "smoke"}, source="test")
GRID = VolumeGeometry.of((8, 9, 20), np.diag([1.0, 1.0, 2.0, 1.0]))


def test_every_class_of_the_target_is_scored() -> None:
    spec = TargetSpec(kind="mask", classes=("background", "head", "tail"))
    judge = build_volume_scores(VOLUMES, spec)
    assert isinstance(judge, MaskScores)
    reference = np.zeros(GRID.size, dtype=np.uint8)
    reference[2:4, 2:4, 4:8] = 1
    reference[2:4, 2:4, 8:12] = 2
    predicted = np.zeros_like(reference)
    predicted[2:4, 2:4, 4:10] = 1  # takes half of the tail
    predicted[2:4, 2:4, 10:12] = 2
    row = judge.case(predicted, reference, GRID)
    assert row["dice_head"] == pytest.approx(2 * 16 / (24 + 16))
    assert row["dice_tail"] == pytest.approx(2 * 8 / (8 + 16))
    assert (row["hd95_mm_head"], row["hd95_mm_tail"]) == (4.0, 4.0)  # two slices of 2 mm
    assert not [name for name in row if "background" in name or name in ("td", "bd")]


def test_an_airway_is_scored_as_a_tree_too() -> None:
    """A straight tube of which the lower half was found."""
    judge = build_airway_scores(AIRWAY, TargetSpec(kind="mask", classes=("background", "airway")))
    assert isinstance(judge, MaskScores)
    reference = np.zeros(GRID.size, dtype=np.uint8)
    reference[3:6, 3:6, 2:18] = 1
    predicted = reference.copy()
    predicted[:, :, 10:] = 0
    row = judge.case(predicted, reference, GRID)
    assert row["dice_airway"] == pytest.approx(2 / 3)
    assert row["precision"] == 1.0
    assert 0.3 < row["td"] < 0.7
    whole = judge.case(reference, reference, GRID)
    assert (whole["td"], whole["bd"], whole["dsc"], whole["leak_mm3"]) == (1.0, 1.0, 1.0, 0.0)
    assert set(whole) == set(row)


def test_of_an_airway_the_largest_part_is_judged() -> None:
    """What lies apart from the tree is not in the file, so it costs nothing and is counted beside."""
    judge = build_airway_scores(AIRWAY, TargetSpec(kind="mask", classes=("background", "airway")))
    reference = np.zeros(GRID.size, dtype=np.uint8)
    reference[3:6, 3:6, 2:18] = 1  # 144 voxels
    predicted = reference.copy()
    predicted[0, 0, :16] = 1
    row = judge.case(predicted, reference, GRID)
    assert (row["dice_airway"], row["hd95_mm_airway"], row["left_out"]) == (1.0, 0.0, 0.1)
    assert judge.case(reference, reference, GRID)["left_out"] == 0.0
