"""Labels and lumens on a grid against closed forms, components and a parser written out here."""

from __future__ import annotations

import math

import cc3d
import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import convolve, label
from skimage.morphology import skeletonize

from tessera.medical.simulate.airway_volume import airway_label, airway_parts, in_view, wall_mm
from tessera.medical.simulate.growth import grow_tree
from tessera.medical.simulate.tables import symmetric_tree
from tessera.medical.simulate.thorax import Thorax
from tessera.medical.simulate.tree import ROOT, Branch, Tree
from tessera.medical.simulate.tubes import Grid

THORAX = Thorax(scale=0.9, fat_mm=10.0)


def tree_of(*tubes: tuple[int, tuple[float, ...], tuple[float, ...], float]) -> Tree:
    """Straight branches: (parent, start, end, radius)."""
    return Tree(
        tuple(
            Branch(
                id=id,
                parent=parent,
                generation=0,
                name="",
                points_mm=np.array([start, end], float),
                radius_mm=np.full(2, float(radius)),
            )
            for id, (parent, start, end, radius) in enumerate(tubes)
        )
    )


def grid(*shape: int, step: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Grid:
    i, j, k = shape
    return Grid((i, j, k), step, (0.0, 0.0, 0.0))


def components(mask: npt.NDArray[np.uint8]) -> int:
    return int(cc3d.connected_components(mask, connectivity=26, return_N=True)[1])


def pieces(mask: npt.NDArray[np.uint8]) -> int:
    """Branches as ATM'22 parses them: thin, drop voxels with 3 neighbours or more, then pieces below 5."""
    skeleton = (skeletonize(mask.astype(bool), method="lee") > 0).astype(int)
    lines = skeleton * (convolve(skeleton, np.ones((3, 3, 3), int), mode="constant") <= 3)
    named, _ = label(lines, np.ones((3, 3, 3)))
    return int((np.bincount(named.ravel())[1:] >= 5).sum())


Y3 = tree_of(
    (ROOT, (58, 32, 32), (34, 32, 32), 4),
    (0, (34, 32, 32), (10, 32, 14), 3),
    (0, (34, 32, 32), (10, 32, 50), 3),
)
B7 = tree_of(
    (ROOT, (90, 48, 48), (66, 48, 48), 5),
    (0, (66, 48, 48), (46, 48, 28), 4),
    (0, (66, 48, 48), (46, 48, 68), 4),
    (1, (46, 48, 28), (24, 32, 20), 3),
    (1, (46, 48, 28), (24, 64, 36), 3),
    (2, (46, 48, 68), (24, 32, 60), 3),
    (2, (46, 48, 68), (24, 64, 76), 3),
)


@pytest.mark.parametrize(("tree", "size"), [(Y3, 64), (B7, 96)], ids=["Y3", "B7"])
def test_as_many_branches_are_parsed_as_were_drawn(tree: Tree, size: int) -> None:
    found = airway_label(grid(size, size, size), tree)
    assert pieces(found.lumen) == len(tree)
    assert components(found.lumen) == 1


@pytest.mark.parametrize("diameter", [4.0, 5.0, 8.0, 11.0])
@pytest.mark.parametrize("end", [(38.0, 34.0, 70.0), (55.0, 45.0, 60.0)])
def test_volume_of_a_lumen_of_four_voxels_or_more_is_within_five_percent(
    diameter: float, end: tuple[float, ...]
) -> None:
    tree = tree_of((ROOT, (30.3, 30.2, 10.1), end, diameter / 2))
    caps = math.pi / 6 * diameter**3
    expected = tree.volume_mm3 + caps
    assert airway_label(grid(80, 80, 80), tree).lumen.sum() == pytest.approx(expected, rel=0.05)
    parts = airway_parts(grid(80, 80, 80), tree, walls_mm=[1.0])
    assert parts.lumen.sum() == pytest.approx(expected, rel=0.02)
    wide = math.pi * (diameter / 2 + 1) ** 2 * tree.length_mm + 4 / 3 * math.pi * (diameter / 2 + 1) ** 3
    assert parts.outer.sum() == pytest.approx(wide, rel=0.02)


def test_partial_volumes_of_thin_airways_hold_their_volume() -> None:
    tree = tree_of((ROOT, (10.3, 10.4, -5), (14.1, 17.2, 50), 0.45))
    parts = airway_parts(grid(30, 30, 40), tree, walls_mm=[0.3])
    inside = tree.length_mm * 40 / 55
    assert parts.lumen.sum() == pytest.approx(math.pi * 0.45**2 * inside, rel=0.04)
    assert (parts.lumen <= parts.outer + 1e-6).all()


def test_voxels_belong_to_the_branch_whose_axis_is_near() -> None:
    found = airway_label(grid(64, 64, 64), Y3)
    for branch in Y3:
        middle = np.rint(branch.at(0.6)[0]).astype(int)
        assert found.branches[tuple(middle)] == branch.id + 1
    assert ((found.branches > 0) == (found.lumen > 0)).all()
    assert np.bincount(found.branches.ravel())[1:].tolist() == pytest.approx([1277, 871, 862], rel=0.1)


def test_the_carina_is_rounded_by_little() -> None:
    sharp = airway_label(grid(64, 64, 64), Y3, carina=0.0).lumen
    smooth = airway_label(grid(64, 64, 64), Y3).lumen
    assert (smooth >= sharp).all()
    assert int(sharp.sum()) == pytest.approx(3010, abs=2)
    assert 0 < int(smooth.sum()) - int(sharp.sum()) < 0.03 * int(sharp.sum())


@pytest.mark.parametrize("step", [(1.5, 1.5, 1.5), (2.5, 2.5, 2.5), (1.2, 1.2, 5.0), (4.0, 3.0, 2.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_label_is_one_component_at_any_spacing(step: tuple[float, float, float], seed: int) -> None:
    tree = grow_tree(np.random.default_rng(seed), thorax=THORAX, beyond_segments=2, min_diameter_mm=1.2)
    shape = tuple(int(size / s) for size, s in zip((190, 130, 220), step, strict=True))
    where = Grid.around(np.array([0.0, 0.0, 0.0]), shape=shape, spacing_mm=step)
    found = airway_label(where, tree)
    assert components(found.lumen) == 1
    for id in in_view(where, tree):  # the axis of every branch lies in the label
        i, j, k = where.index(tree.branches[id].points_mm).T
        assert found.lumen[i, j, k].all()


def test_a_branch_below_a_voxel_is_drawn_wider_and_counted() -> None:
    tree = tree_of((ROOT, (15, 15, 2), (15, 15, 20), 4), (0, (15, 15, 20), (25, 20, 38), 0.3))
    found = airway_label(grid(30, 30, 40), tree)
    assert found.widened == (1,)
    assert components(found.lumen) == 1
    assert found.lumen[24, 19, 36] or found.lumen[24, 20, 36] or found.lumen[24, 19, 37]


def test_airways_too_thin_for_the_label_take_their_subtree_with_them() -> None:
    tree = tree_of(
        (ROOT, (15, 15, 2), (15, 15, 12), 4),
        (0, (15, 15, 12), (20, 15, 22), 1),
        (1, (20, 15, 22), (25, 15, 36), 3),
    )
    found = airway_label(grid(30, 30, 40), tree, min_diameter_mm=3.0)
    assert found.left_out == (1, 2)
    assert not found.lumen[:, :, 25:].any()
    assert airway_label(grid(30, 30, 40), tree).lumen[:, :, 25:].any()


def test_a_tree_that_leaves_and_comes_back_keeps_its_largest_part() -> None:
    tree = tree_of(
        (ROOT, (5, 5, 2), (5, 5, 30), 2), (0, (5, 5, 30), (-20, 5, 20), 2), (1, (-20, 5, 20), (3, 25, 20), 2)
    )
    found = airway_label(grid(20, 40, 40), tree)
    assert components(found.lumen) == 1
    assert not found.lumen[:, 20:].any()


def test_weibels_tree_fills_the_volume_that_is_not_shared() -> None:
    tree = symmetric_tree("weibel", generations=3)
    where = Grid.around(np.array([0.0, 0, 20]), shape=(150, 150, 240), spacing_mm=(0.9, 0.9, 0.9))
    volume = airway_label(where, tree).lumen.sum() * 0.9**3
    assert tree.volume_mm3 * 0.9 < volume < tree.volume_mm3 * 1.05


def test_an_empty_field_of_view_gives_an_empty_label() -> None:
    where = Grid((8, 8, 8), (1.0, 1.0, 1.0), (500.0, 0.0, 0.0))
    found = airway_label(where, Y3)
    assert not found.lumen.any() and found.widened == ()
    assert not airway_parts(where, Y3, walls_mm=[1, 1, 1]).outer.any()


def test_wall_has_the_thickness_of_the_table() -> None:
    table = {18.0: 2.05, 5.6: 0.81, 3.2: 0.57, 1.8: 0.43}
    for diameter, thickness in table.items():
        assert wall_mm(diameter) == pytest.approx(thickness, abs=5.1e-3)
    assert wall_mm(5.0, scale=1.6) == pytest.approx(1.6 * wall_mm(5.0))
