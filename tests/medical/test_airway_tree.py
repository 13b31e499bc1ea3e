"""Division into branches: hand-countable trees, and the steps done plainly on the whole volume."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import skeletonize

from tessera.core.errors import DataError
from tessera.medical.airway_tree import AirwayTree, parse_airway, reference_airway
from tessera.medical.geometry import VolumeGeometry

from .airway_shapes import (
    LEAVES,
    STEMS,
    Mask,
    ball,
    capsules,
    crowded,
    hand_y,
    unit_grid,
    y3,
    y3_with_bump,
)


def parse(mask: Mask, *, refine: bool = True, prune_mm: float = 0.0) -> AirwayTree:
    return parse_airway(mask, unit_grid(mask), refine=refine, prune_mm=prune_mm)


def sizes(tree: AirwayTree) -> list[int]:
    """Skeleton voxels of each branch, sorted."""
    return sorted(np.bincount(tree.skeleton_ids)[1:].tolist())


def test_hand_countable_tree() -> None:
    """The arms touch the trunk by a corner only: they keep their ids, but no search reaches them."""
    tree = parse(hand_y())
    assert len(tree.skeleton) == 51
    assert sizes(tree) == [15, 15, 21]
    assert (np.bincount(tree.skeleton_ids)[tree.trachea], tree.generations[tree.trachea - 1]) == (21, 0)
    assert sorted(tree.generations.tolist()) == [-1, -1, 0] and not tree.parents.any()


def test_thick_tree() -> None:
    assert y3().sum() == 3010
    tree = parse(y3())
    assert abs(len(tree.skeleton) - 72) <= 2
    assert sizes(tree) == pytest.approx([24] * 3, abs=2)
    assert sorted(np.bincount(tree.regions.ravel())[1:].tolist()) == pytest.approx([862, 871, 1277], rel=0.02)
    assert tree.generations.tolist() == [1, 1, 0]
    assert tree.parents.tolist() == [3, 3, 0] and tree.trachea == 3


def test_tree_of_seven_branches() -> None:
    mask = capsules((96, 96, 96), *STEMS, *LEAVES)
    tree = parse(mask)
    assert mask.sum() == 8063 and abs(len(tree.skeleton) - 151) <= 2
    assert np.bincount(tree.generations).tolist() == [1, 2, 4]
    by_generation = [np.flatnonzero(tree.generations == g) + 1 for g in range(3)]
    assert by_generation[0].tolist() == [tree.trachea]
    for older, younger in pairwise(by_generation):
        assert np.bincount(tree.parents[younger - 1], minlength=8)[older].tolist() == [2] * len(older)


def test_a_bump_splits_the_trunk_until_only_children_are_merged() -> None:
    plain = parse(y3_with_bump(37), refine=False)
    assert abs(len(plain.skeleton) - 76) <= 2
    assert sizes(plain) == pytest.approx([11, 17, 24, 24], abs=2)
    assert sizes(parse(y3_with_bump(37))) == pytest.approx([24, 24, 28], abs=2)


@pytest.mark.parametrize(("end", "branches"), [(35, 3), (38, 5)])
def test_a_bump_counts_once_it_is_long_enough(end: int, branches: int) -> None:
    assert (
        parse(y3_with_bump(end)).n_branches == parse(y3_with_bump(end), refine=False).n_branches == branches
    )


@pytest.mark.parametrize("end", [37, 38, 40])
def test_pruning_takes_the_bump_off(end: int) -> None:
    assert sizes(parse(y3_with_bump(end), prune_mm=9.0)) == sizes(parse(y3()))


def test_a_tube_is_one_branch() -> None:
    tree = parse(capsules((40, 40, 80), ((20, 20, 6), (20, 20, 73), 5)))
    assert (tree.n_branches, tree.trachea, tree.generations.tolist()) == (1, 1, [0])


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5])
def test_branches_are_those_of_the_steps_done_plainly_on_the_whole_volume(seed: int) -> None:
    """Up to the search, without refinement, with the filters of scipy on every voxel."""
    mask = crowded(seed)
    skeleton = skeletonize(mask, method="lee") > 0
    block = np.ones((3, 3, 3), dtype=np.int64)
    pieces, _ = ndimage.label(skeleton & (ndimage.convolve(skeleton.astype(int), block) <= 3), block)
    kept = np.isin(pieces, np.flatnonzero(np.bincount(pieces.ravel()) >= 5)[1:])
    pieces, n = ndimage.label(kept, block)
    nearest = ndimage.distance_transform_edt(~kept, return_distances=False, return_indices=True)
    regions = np.where(mask, pieces[tuple(nearest)], 0)
    tree = parse(mask, refine=False)
    assert np.array_equal(tree.regions, regions[tree.box]) and tree.n_branches == n
    assert np.array_equal(tree.skeleton, np.argwhere(skeleton))
    for child, parent in enumerate(tree.parents.tolist(), start=1):
        near = np.unique(regions[ndimage.binary_dilation(regions == child)])
        around = [i for i in near.tolist() if i not in (0, child)]
        assert tree.generations[child - 1] <= 1 + min(tree.generations[i - 1] for i in around)
        if child != tree.trachea:
            assert parent in around
            assert tree.generations[child - 1] == 1 + tree.generations[parent - 1]


@pytest.mark.parametrize("seed", range(6))
def test_after_refinement_no_branch_is_an_only_child(seed: int) -> None:
    tree = parse(crowded(seed))
    children = np.bincount(tree.parents, minlength=tree.n_branches + 1)[1:]
    assert not np.any(children == 1)
    assert set(np.unique(tree.regions)) == {0, *range(1, tree.n_branches + 1)}
    assert np.array_equal(tree.regions > 0, tree.mask)


@pytest.mark.parametrize(
    ("seed", "published", "followed"),
    [
        (22, [10, 10, 11, 12, 26, 31, 36, 59], [10, 10, 11, 12, 22, 26, 31, 73]),
        (113, [11, 13, 24, 113], [11, 13, 15, 24, 30, 68]),
    ],
)
def test_a_branch_merged_into_a_merged_one_goes_where_it_is_told(
    seed: int, published: list[int], followed: list[int]
) -> None:
    """The published lists come from the challenge's steps carried out voxel by voxel."""
    mask = crowded(seed)
    assert sizes(parse(mask)) == published
    assert sizes(parse_airway(mask, unit_grid(mask), as_published=False)) == followed


def test_the_place_of_an_airway_in_the_volume_changes_nothing() -> None:
    mask = crowded(4)
    tree, moved = parse(mask), parse(np.pad(mask, ((7, 0), (0, 3), (11, 2))))
    assert np.array_equal(moved.regions, tree.regions) and np.array_equal(moved.parents, tree.parents)
    assert np.array_equal(moved.skeleton, tree.skeleton + np.array([7, 0, 11]))


def test_spacing_plays_no_part_in_the_division() -> None:
    mask = crowded(2)
    stretched = parse_airway(mask, VolumeGeometry.of(mask.shape, np.diag([0.7, 0.7, 3.0, 1.0])))
    assert np.array_equal(stretched.regions, parse(mask).regions)


def test_reference_is_the_largest_part_by_faces_without_holes() -> None:
    labels = y3().astype(np.int16) * 2
    labels[50, 32, 32] = 0  # a hole in the trunk
    labels[ball((64, 64, 64), (20, 50, 32), 5)] = 1
    assert np.array_equal(reference_airway(labels), y3())
    assert reference_airway(hand_y()).sum() == 21


@pytest.mark.parametrize("voxels", [0, 1, 4])
def test_a_mask_too_small_for_a_branch_has_none(voxels: int) -> None:
    mask = np.zeros((5, 6, 7), dtype=np.bool_)
    mask[2, 2, :voxels] = True
    tree = parse(mask)
    assert (tree.n_branches, tree.trachea, len(tree.skeleton)) == (0, 0, voxels)
    assert not tree.skeleton_ids.any()


def test_an_airway_in_a_volume_of_one_slice() -> None:
    mask = np.ones((1, 1, 12), dtype=np.bool_)
    assert sizes(parse(mask)) == [12]


def test_a_geometry_of_another_grid_is_refused() -> None:
    with pytest.raises(DataError, match="do not match"):
        parse_airway(y3(), VolumeGeometry.of((3, 4, 5), np.eye(4)))
