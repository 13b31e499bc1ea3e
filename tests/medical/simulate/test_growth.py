"""Grown trees have the shape that anatomy says they have."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tessera.medical.simulate.bronchi import LOBAR, MAIN, SEGMENTS
from tessera.medical.simulate.growth import SPACE, WALLS_MM, grow_tree
from tessera.medical.simulate.thorax import Thorax
from tessera.medical.simulate.tree import ROOT, Branch, Tree

THORAX = Thorax(scale=0.9, fat_mm=10.0)
SEEDS = range(4)


def grown(seed: int = 0, beyond: int = 2, thinnest: float = 1.2) -> Tree:
    rng = np.random.default_rng(seed)
    return grow_tree(rng, thorax=THORAX, beyond_segments=beyond, min_diameter_mm=thinnest)


def from_vertical(branch: Branch) -> float:
    """Degrees between a branch and straight down."""
    return math.degrees(math.acos(-branch.direction[2]))


@pytest.mark.parametrize("seed", SEEDS)
def test_right_main_bronchus_is_shorter_wider_and_steeper(seed: int) -> None:
    tree = grown(seed, beyond=0)
    right, left = tree.named("right main"), tree.named("left main")
    assert right.length_mm < left.length_mm - 10
    assert right.diameter_mm > left.diameter_mm
    assert from_vertical(right) < from_vertical(left) - 10
    assert 20 <= right.length_mm <= 25.5 and 40 <= left.length_mm <= 50.5
    assert 12 <= right.diameter_mm <= 16 and 10 <= left.diameter_mm <= 14
    assert from_vertical(right) == pytest.approx(25, abs=3.1)
    assert from_vertical(left) == pytest.approx(45, abs=4.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_sides_have_their_segments_on_their_side_of_the_body(seed: int) -> None:
    tree = grown(seed, beyond=0)
    names = [branch.name for branch in tree]
    assert sum(name.startswith("right ") and name.split()[1].isdigit() for name in names) == 10
    assert (
        sum(name.startswith("left ") and name.split()[1][0].isdigit() for name in names) == 9
    )  # 9+10 is a stem
    for branch in tree:
        if branch.name.startswith(("right", "middle", "intermediate")):
            assert branch.points_mm[-1, 0] > 0  # RAS: right is positive
        elif branch.name.startswith(("left", "lingula", "upper division")):
            assert branch.points_mm[-1, 0] < 0


@pytest.mark.parametrize("seed", SEEDS)
def test_upper_lobe_leaves_before_the_intermediate_bronchus_divides(seed: int) -> None:
    tree = grown(seed, beyond=0)
    carina = tree.named("trachea").points_mm[-1]
    assert carina == pytest.approx([0, 0, 0])
    assert tree.named("right upper").points_mm[0] == pytest.approx(tree.named("right main").points_mm[-1])
    assert tree.named("right upper").points_mm[0][2] > tree.named("middle").points_mm[0][2]
    assert tree.named("right 1").direction[2] > 0.5  # apical: up
    assert tree.named("right 6").direction[1] < -0.5  # superior segment of the lower lobe: back
    assert tree.named("middle").direction[1] > 0.3  # middle lobe: front


def test_two_generations_give_about_as_many_branches_as_a_labelled_scan() -> None:
    counts = [len(grown(seed)) for seed in range(8)]
    assert 100 <= np.mean(counts) <= 183
    assert max(counts) <= 141
    assert {len(grown(seed, beyond=0)) for seed in SEEDS} == {33} == {1 + len((*MAIN, *LOBAR, *SEGMENTS))}


@pytest.mark.parametrize("seed", SEEDS)
def test_length_and_volume_are_near_those_of_the_symmetric_tree(seed: int) -> None:
    tree = grown(seed)
    assert tree.length_mm == pytest.approx(1474, rel=0.25)
    assert tree.volume_mm3 == pytest.approx(57350, rel=0.35)


@pytest.mark.parametrize("seed", SEEDS)
def test_cubes_of_two_childrens_diameters_add_up_to_their_parents(seed: int) -> None:
    tree = grown(seed, beyond=2)
    pairs = [
        (branch, [tree.branches[child] for child in tree.children[branch.id]])
        for branch in tree
        if tree.children[branch.id] and not tree.branches[tree.children[branch.id][0]].name
    ]
    assert len(pairs) > 20
    for parent, children in pairs:
        cubes = sum(child.diameter_mm**3 for child in children)
        assert cubes == pytest.approx(parent.diameter_mm**3, rel=1e-6)
        ratio = max(child.diameter_mm for child in children) / parent.diameter_mm
        assert 0.79 <= ratio <= 0.93


@pytest.mark.parametrize("seed", SEEDS)
def test_grown_branches_stay_in_the_lung_and_off_each_other(seed: int) -> None:
    tree = grown(seed, beyond=2)
    grown_ids = [branch.id for branch in tree if not branch.name]
    for id in grown_ids:
        branch = tree.branches[id]
        assert THORAX.in_lungs(branch.points_mm[2:]).max() < 0
        above = {id}
        while (last := tree.branches[min(above)].parent) != ROOT:
            above.add(last)
        for other in tree.branches[:id]:
            if other.id in above or other.parent == branch.parent:
                continue
            apart = np.linalg.norm(branch.points_mm[1:, None] - other.points_mm[None], axis=2).min()
            radii = branch.radius_mm.max() + other.radius_mm.max()
            assert apart >= max(SPACE * radii, radii + WALLS_MM)


def test_same_state_gives_the_same_tree_and_another_another() -> None:
    assert grown(3).as_json() == grown(3).as_json()
    assert grown(3).as_json() != grown(4).as_json()


def test_nothing_grows_below_the_smallest_diameter() -> None:
    tree = grown(0, beyond=6, thinnest=3.0)
    assert min(branch.diameter_mm for branch in tree) >= 3.0
    assert len(tree) > 33
