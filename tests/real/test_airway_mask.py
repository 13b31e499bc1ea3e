from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.spatial import KDTree

from tessera.medical.airway_branches import branches_json, measure_branches
from tessera.medical.airway_flags import leak_remarks
from tessera.medical.airway_tree import parse_airway, reference_airway
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.mask_scores import AirwayScores

pytestmark = pytest.mark.real


def test_a_patients_airway_divides_into_branches_with_lengths(real_data_root: Path) -> None:
    """512 x 512 x 130 voxels with a skeleton by another tool; anatomy gives the bounds."""
    folder = real_data_root / "ct_mr_example"
    if not folder.is_dir():
        pytest.skip(f"ct_mr_example is not in {real_data_root}")
    file = nibabel.load(folder / "airway_tree_mask.nii.gz")
    labels = np.asarray(file.dataobj)
    geometry = VolumeGeometry.of(labels.shape, file.affine)
    tree = parse_airway(reference_airway(labels), geometry)
    branches = measure_branches(tree)
    trachea = branches[tree.trachea - 1]
    assert tree.mask.sum() == 51005 and tree.n_branches == 37
    assert tree.generations.min() == 0 and tree.generations.max() == 5
    assert 90 < trachea.length_mm < 130 and 12 < trachea.diameter_mean_mm < 22
    assert trachea.start_mm[2] > trachea.end_mm[2] + 60  # from the throat down
    assert all(branch.length_mm > 5 for branch in branches)
    assert json.loads(branches_json(tree))["length_mm"] == pytest.approx(1292, abs=1)
    assert leak_remarks(json.loads(branches_json(tree))["branches"]) == ()
    other = np.asarray(nibabel.load(folder / "airway_tree_skeleton.nii.gz").dataobj) > 0
    apart = KDTree(geometry.to_world(np.argwhere(other))).query(tree.points_mm)[0]
    assert np.median(apart) < 1.0 and np.quantile(apart, 0.9) < 4.0
    row = AirwayScores(("background", "airway")).case(labels, labels, geometry)
    assert (row["td"], row["bd"], row["dsc"], row["branches_reference"]) == (1.0, 1.0, 1.0, 37.0)
