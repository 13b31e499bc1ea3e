"""Lengths, volumes and ancestry of trees made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.medical.simulate.tree import ROOT, Branch, Tree, bent, perpendicular


def branch(id: int = 0, parent: int = ROOT, **changes: object) -> Branch:
    values: dict[str, object] = {
        "generation": 0,
        "name": "",
        "points_mm": np.array([[0.0, 0, 0], [0, 0, 3], [0, 4, 3]]),
        "radius_mm": np.array([2.0, 2.0, 1.0]),
    }
    return Branch(id=id, parent=parent, **(values | changes))  # type: ignore[arg-type]


def test_length_and_volume_are_those_of_truncated_cones() -> None:
    one = branch()
    assert one.length_mm == pytest.approx(7.0)
    assert one.volume_mm3 == pytest.approx(math.pi * 4 * 3 + math.pi / 3 * 4 * (4 + 2 + 1))
    assert branch(oval=0.8).volume_mm3 == pytest.approx(0.8 * one.volume_mm3)


def test_mean_diameter_weighs_pieces_by_their_length() -> None:
    assert branch().diameter_mm == pytest.approx((3 * 4 + 4 * 3) / 7)


def test_place_along_a_branch_is_measured_by_length() -> None:
    point, direction, radius = branch().at(5 / 7)
    assert point == pytest.approx([0, 2, 3])
    assert direction == pytest.approx([0, 1, 0])
    assert radius == pytest.approx(1.5)
    assert branch().at(0.0)[0] == pytest.approx([0, 0, 0])
    assert branch().at(1.0)[0] == pytest.approx([0, 4, 3])


def test_subtree_holds_the_branch_and_all_beyond() -> None:
    tree = Tree(tuple(branch(id, parent) for id, parent in enumerate((ROOT, 0, 0, 1, 2, 3))))
    assert tree.subtree(1) == (1, 3, 5)
    assert tree.subtree(0) == (0, 1, 2, 3, 4, 5)
    assert tree.children == ((1, 2), (3,), (4,), (5,), (), ())


def test_a_branch_before_its_parent_is_refused() -> None:
    with pytest.raises(ValueError, match="branch 0"):
        Tree((branch(0, 1), branch(1, ROOT)))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match="trachea"):
        Tree((branch(name="trachea"),)).named("carina")


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.floats(0, 7), st.floats(0, 90))
def test_bent_directions_keep_their_length_and_their_angle(
    parts: list[float], angle: float, degrees: float
) -> None:
    direction = np.array(parts) + np.array([0.0, 0.0, 2.0])
    direction /= np.linalg.norm(direction)
    side = perpendicular(direction, angle=angle)
    assert np.linalg.norm(side) == pytest.approx(1.0)
    assert side @ direction == pytest.approx(0.0, abs=1e-12)
    turned = bent(direction, side, degrees=degrees)
    assert turned @ direction == pytest.approx(math.cos(math.radians(degrees)), abs=1e-12)
