"""Thorax, tissues, vessels and findings: things lie where a body has them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from tessera.medical.simulate.airway_config import Densities, PathologyConfig
from tessera.medical.simulate.airway_volume import wall_mm
from tessera.medical.simulate.growth import grow_tree
from tessera.medical.simulate.pathology import with_findings
from tessera.medical.simulate.thorax import CAGE_RADII, Thorax
from tessera.medical.simulate.tissue import Chest
from tessera.medical.simulate.tree import Tree
from tessera.medical.simulate.tubes import Grid
from tessera.medical.simulate.vessels import (
    LEAF_RADIUS_MM,
    accompanying_arteries,
    places_in_lungs,
    vessel_tree,
)

THORAX = Thorax(scale=1.0, fat_mm=10.0)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return grow_tree(np.random.default_rng(0), thorax=THORAX, beyond_segments=1, min_diameter_mm=1.2)


def at(*point: float) -> float:
    return float(THORAX.in_lungs(np.array([point]))[0])


def test_lungs_lie_beside_the_carina_above_the_diaphragm_and_below_the_neck() -> None:
    assert at(80, 0, 0) < -20 and at(-80, 0, 0) < -20
    assert at(0, 0, 0) > 0  # mediastinum
    assert at(-20, 40, -85) > 20  # heart, left of the middle
    assert at(70, 40, -85) < at(-70, 40, -85)  # and not on the right
    assert at(60, 0, -170) > 0 and at(60, 0, 100) > 0
    assert at(66, 8, -115) > 0 > at(-62, 8, -110)  # the right dome is higher


def test_distances_are_exact_at_the_surface_and_grow_outwards() -> None:
    x = np.array([CAGE_RADII[0], CAGE_RADII[0] + 5, CAGE_RADII[0] - 5])
    found = THORAX.cage((x, np.full(3, 8.0), np.full(3, -100.0)))
    assert found == pytest.approx([0, 5, -5], abs=1e-9)
    low = np.array([[30.0, 5, -60], [75, 20, 10], [-60, -20, -40]])
    scaled = Thorax(scale=0.8, fat_mm=10).in_lungs(0.8 * low)
    assert scaled == pytest.approx(0.8 * THORAX.in_lungs(low), rel=0.1, abs=2.0)


def test_ribs_stay_outside_the_lungs_and_below_the_skin() -> None:
    for tube in THORAX.rib_cage():
        middle = tube.points_mm
        assert THORAX.in_lungs(middle).min() > -1.0
        assert np.max(THORAX.skin(middle[:, 0], middle[:, 1])) < 0


def test_coarse_organs_interpolate_to_those_on_the_voxels() -> None:
    grid = Grid((20, 18, 22), (1.7, 1.9, 1.1), (20.0, -30.0, -20.0))
    x, y, z = grid.axes
    exact = THORAX.lungs((x[:, None, None], y[None, :, None], z[None, None, :]))
    assert Chest(grid, THORAX).lungs() == pytest.approx(exact, abs=0.8)


def test_interpolation_is_that_of_scipy() -> None:
    chest = Chest(Grid((9, 8, 7), (1.3, 5.0, 0.6), (1.0, 2.0, 3.0)), THORAX)
    field = np.random.default_rng(0).standard_normal(chest._coarse.shape).astype(np.float32)
    points = np.stack(np.meshgrid(*chest.grid.axes, indexing="ij"), axis=-1)
    expected = RegularGridInterpolator(chest._coarse.axes, field)(points)
    assert chest._fine(field) == pytest.approx(expected, abs=1e-4)


def test_tissues_have_their_densities() -> None:
    grid = Grid.around(np.array([0.0, 6, -20]), shape=(86, 64, 70), spacing_mm=(4.0, 4.0, 4.0))
    chest, values = Chest(grid, THORAX), Densities(parenchyma=(-860, -860), gravity=(40, 40))
    lungs = chest.lungs()
    image = chest.density(np.random.default_rng(0), values, lungs=lungs, emphysema=[])

    def value(*point: float) -> float:
        i, j, k = grid.index(np.array([point]))[0]
        return float(image[i, j, k])

    inside = image[lungs < -4]
    assert inside.mean() == pytest.approx(-860, abs=15)
    assert inside.std() == pytest.approx(25, abs=10)
    assert value(-20, 40, -85) == pytest.approx(50)  # heart
    assert value(66, 8, -150) == pytest.approx(50)  # liver
    assert value(0, 123, 60) == pytest.approx(-100, abs=1)  # fat below the skin
    assert value(0, 128, 0) < -900  # in front of the body
    y = grid.axes[1]
    front, back = (image[:, part][lungs[:, part] < -4].mean() for part in (y > 60, y < -40))
    assert 15 < back - front < 40
    chest.add_bones(image, values)
    assert value(0, -52, 28) == pytest.approx(values.marrow, abs=60)
    assert image.max() > 250  # thin bone in voxels of 4 mm


def test_every_bronchus_has_an_artery_beside_it_that_leaves_its_lumen_alone(tree: Tree) -> None:
    walls = tuple(wall_mm(branch.diameter_mm) for branch in tree)
    tubes = accompanying_arteries(np.random.default_rng(0), tree, walls_mm=walls, ratio=(0.8, 0.8))
    beyond = [branch for branch in tree if branch.generation >= 2]
    assert len(tubes) == len(beyond)
    for branch, tube in zip(beyond, tubes, strict=True):
        assert tube.radius_mm[0] == pytest.approx(branch.diameter_mm / 0.8 / 2)
        own = tube.points_mm[-len(branch.points_mm) + 1 :]
        apart = np.linalg.norm(own[:, None] - branch.points_mm[None], axis=2).min(axis=1)
        assert (apart > 0.9 * (branch.diameter_mm / 2 + walls[branch.id] + tube.radius_mm[0])).all()


def test_vessels_follow_murrays_law_and_reach_every_place() -> None:
    rng = np.random.default_rng(0)
    places = places_in_lungs(rng, THORAX, count=60)
    assert len(places) == 60 and THORAX.in_lungs(places).max() < -6
    roots = np.array([[20.0, 0, -50], [-20, 0, -50]])
    tubes = vessel_tree(roots, places)
    ends = {tuple(np.round(tube.points_mm[-1], 6)) for tube in tubes}
    assert ends == {tuple(np.round(place, 6)) for place in places}
    starts = [tuple(np.round(tube.points_mm[0], 6)) for tube in tubes]
    for tube in tubes:
        end = tuple(np.round(tube.points_mm[-1], 6))
        wide = tube.radius_mm[-1] / 0.9
        beyond = [t.radius_mm[-1] / 0.9 for t, start in zip(tubes, starts, strict=True) if start == end]
        expected = sum(r**3 for r in beyond) ** (1 / 3) if beyond else LEAF_RADIUS_MM
        assert wide == pytest.approx(min(expected, 6.0), rel=1e-6)


def test_findings_are_what_was_asked_for(tree: Tree) -> None:
    config = PathologyConfig(mucus_plugs=3, stenoses=2, bronchiectases=1, emphysema=2, nodules=4)
    found = with_findings(np.random.default_rng(0), tree, config, wall_scale=1.0)
    kinds = [finding.kind for finding in found.findings]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "mucus plug": 3,
        "stenosis": 2,
        "bronchiectasis": 1,
        "emphysema": 2,
        "nodule": 4,
    }
    assert (len(found.plugs), len(found.emphysema), len(found.nodules)) == (3, 2, 4)
    assert len({finding.branch for finding in found.findings}) == 12


def test_a_stenosis_narrows_to_two_fifths_over_a_centimetre(tree: Tree) -> None:
    found = with_findings(np.random.default_rng(0), tree, PathologyConfig(stenoses=1), wall_scale=1.0)
    (finding,) = found.findings
    before, after = tree.branches[finding.branch], found.tree.branches[finding.branch]
    assert after.radius_mm.min() == pytest.approx(0.4 * before.diameter_mm / 2, rel=0.1)
    narrow = after.steps_mm[(after.radius_mm < 0.98 * before.radius_mm.min())[1:]].sum()
    assert 6 <= narrow <= 11
    assert after.length_mm == pytest.approx(before.length_mm, rel=0.01)


def test_bronchiectasis_widens_a_branch_and_everything_beyond_it(tree: Tree) -> None:
    found = with_findings(np.random.default_rng(1), tree, PathologyConfig(bronchiectases=1), wall_scale=1.0)
    (finding,) = found.findings
    assert 1.5 <= finding.size_mm <= 2.5
    for before, after in zip(tree, found.tree, strict=True):
        wider = finding.size_mm if before.id in tree.subtree(finding.branch) else 1.0
        assert after.diameter_mm == pytest.approx(wider * before.diameter_mm)


def test_nodules_touch_the_wall_of_their_airway(tree: Tree) -> None:
    found = with_findings(np.random.default_rng(2), tree, PathologyConfig(nodules=5), wall_scale=1.2)
    for finding in found.findings:
        branch = tree.branches[finding.branch]
        share = np.linspace(0, 1, 400)
        axis = np.stack([branch.at(part)[0] for part in share])
        apart = np.linalg.norm(axis - finding.centre_mm, axis=1).min()
        expected = branch.diameter_mm / 2 + wall_mm(branch.diameter_mm, scale=1.2) + finding.size_mm / 2
        assert apart == pytest.approx(expected, abs=0.5)


def test_more_findings_than_airways_are_cut_off() -> None:
    small = grow_tree(np.random.default_rng(0), thorax=THORAX, beyond_segments=0, min_diameter_mm=1.2)
    found = with_findings(np.random.default_rng(0), small, PathologyConfig(nodules=50), wall_scale=1.0)
    assert 20 < len(found.nodules) <= 30
