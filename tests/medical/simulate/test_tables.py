"""Symmetric trees against the published tables, computed by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from tessera.medical.simulate.tables import HORSFIELD, WEIBEL, symmetric_tree, weibel_closed_form


def test_weibel_tree_to_generation_six_has_the_published_count_length_and_volume() -> None:
    tree = symmetric_tree("weibel", generations=6)
    assert len(tree) == 127
    assert tree.length_mm == pytest.approx(1473.6, abs=0.05)
    assert tree.volume_mm3 == pytest.approx(57347, abs=1)


@pytest.mark.parametrize(
    ("generation", "volume_cm3"),
    [(0, 30.5), (1, 11.1), (2, 4.11), (3, 1.50), (4, 3.23), (5, 3.29), (6, 3.55)],
)
def test_every_generation_has_the_volume_of_weibels_table(generation: int, volume_cm3: float) -> None:
    tree = symmetric_tree("weibel", generations=6)
    own = [branch for branch in tree if branch.generation == generation]
    assert len(own) == 2**generation
    assert sum(branch.volume_mm3 for branch in own) / 1000 == pytest.approx(volume_cm3, rel=5e-3)


@pytest.mark.parametrize("generation", range(11))
def test_weibels_closed_form_stays_near_his_table(generation: int) -> None:
    diameter, length = weibel_closed_form(generation)
    assert diameter == pytest.approx(WEIBEL[generation].diameter_mm, rel=0.03)
    assert length == pytest.approx(WEIBEL[generation].length_mm, rel=0.05)


def test_closed_form_has_the_values_worked_out_by_hand() -> None:
    assert weibel_closed_form(3)[0] == pytest.approx(5.62, abs=5e-3)
    assert weibel_closed_form(4) == pytest.approx((4.45, 12.67), abs=5e-3)
    assert weibel_closed_form(1)[1] == pytest.approx(47.8, abs=0.05)


@pytest.mark.parametrize("generation", range(1, 7))
def test_children_leave_at_the_angle_of_horsfields_table(generation: int) -> None:
    tree = symmetric_tree("horsfield", generations=6)
    for branch in tree:
        if branch.generation == generation:
            cosine = branch.direction @ tree.branches[branch.parent].direction
            assert math.degrees(math.acos(cosine)) == pytest.approx(HORSFIELD[generation].angle, abs=1e-6)


def test_successive_bifurcation_planes_are_normal_to_each_other() -> None:
    tree = symmetric_tree("weibel", generations=4)
    normals = {}
    for branch in tree:
        if children := tree.children[branch.id]:
            one, other = (tree.branches[child].direction for child in children)
            normals[branch.id] = np.cross(one, other) / np.linalg.norm(np.cross(one, other))
    for branch in tree:
        if branch.parent in normals and branch.id in normals:
            assert abs(normals[branch.id] @ normals[branch.parent]) < 1e-9


def test_branches_start_where_their_parents_end_and_the_trachea_points_down() -> None:
    tree = symmetric_tree("weibel", generations=5)
    assert tree.branches[0].direction == pytest.approx([0, 0, -1])
    assert tree.branches[0].points_mm[-1] == pytest.approx([0, 0, 0])
    for branch in tree.branches[1:]:
        assert branch.points_mm[0] == pytest.approx(tree.branches[branch.parent].points_mm[-1])
    assert Counter(map(len, tree.children)) == {2: 31, 0: 32}


def test_a_table_that_ends_says_so() -> None:
    with pytest.raises(ValueError, match="generations 0 to 6"):
        symmetric_tree("horsfield", generations=7)
