"""Whole phantoms: one person on many grids, and what a reader of the image can measure."""

from __future__ import annotations

import json
from typing import Any

import cc3d
import numpy as np
import pytest

from tessera.core.config import validate
from tessera.core.errors import ConfigError
from tessera.medical.simulate import AirwayConfig, Phantom, airway_phantom, simulate_phantom
from tessera.medical.simulate.dataset import SMALL
from tessera.medical.simulate.phantom import truth_of

TINY: dict[str, Any] = {"shape": [40, 36, 44], "spacing_mm": [3.0, 3.0, 3.0], "vessels": 20, "generations": 0}


def made(seed: int = 1, **values: Any) -> Phantom:
    return airway_phantom(0, seed=seed, config=config_of(**values))


def config_of(**values: Any) -> AirwayConfig:
    return validate(AirwayConfig, TINY | values, source="test")


def test_same_seed_on_another_grid_is_the_same_person() -> None:
    one = made(generations=1)
    other = made(generations=1, shape=[30, 30, 12], spacing_mm=[2.0, 2.5, 5.0])
    assert one.person.tree.as_json() == other.person.tree.as_json()
    assert one.person.walls_mm == other.person.walls_mm
    assert one.person.thorax == other.person.thorax
    assert one.image.shape == (40, 36, 44) and other.image.shape == (30, 30, 12)


def test_another_seed_is_another_person_and_the_same_seed_the_same_voxels() -> None:
    one, same, other = made(1), made(1), made(2)
    assert (one.image == same.image).all() and (one.label.lumen == same.label.lumen).all()
    assert not (one.image == other.image).all()
    assert one.person.tree.as_json() != other.person.tree.as_json()


def test_a_sequence_gives_the_same_phantom_every_time() -> None:
    sequence = np.random.SeedSequence(4)
    one, again = (simulate_phantom(sequence, config_of()) for _ in range(2))
    assert (one.image == again.image).all()


def test_findings_and_noise_leave_the_rest_of_the_person_alone() -> None:
    plain = made()
    ill = made(pathology={"mucus_plugs": 2}, noise_hu=[50.0, 50.0])
    assert plain.person.tree.as_json() == ill.person.tree.as_json()
    assert (plain.label.lumen == ill.label.lumen).all()  # plugs belong to the lumen


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_label_is_one_component_and_dark_in_the_image(seed: int) -> None:
    phantom = airway_phantom(0, seed=seed, config=validate(AirwayConfig, SMALL, source="test"))
    lumen = phantom.label.lumen
    assert lumen.dtype == np.uint8 and set(np.unique(lumen)) == {0, 1}
    assert cc3d.connected_components(lumen, connectivity=26, return_N=True)[1] == 1
    trachea = phantom.label.branches == 1
    assert np.median(phantom.image[trachea]) == pytest.approx(-1000, abs=15)
    assert phantom.image[lumen > 0].mean() < -800
    assert phantom.label.left_out == ()


def test_label_volume_of_wide_airways_is_that_of_the_tree() -> None:
    """The trachea, 6 voxels wide, cut at its lower end and at the border of the view."""
    phantom = made(spacing_mm=[2.5, 2.5, 2.5], shape=[48, 36, 64])
    branch = phantom.person.tree.branches[0]
    inside = phantom.label.branches == 1
    rows = np.flatnonzero(inside.sum(axis=(0, 1)))[2:-2]
    area = inside[:, :, rows].sum(axis=(0, 1)).mean() * 2.5**2
    assert area == pytest.approx(np.pi * (branch.diameter_mm / 2) ** 2, rel=0.06)


def test_mucus_fills_the_airway_it_lies_in() -> None:
    values = {"spacing_mm": [1.5, 1.5, 1.5], "shape": [80, 60, 80], "noise_hu": [0.0, 0.0]}
    plain, ill = made(**values), made(**values, pathology={"mucus_plugs": 4})
    for finding in ill.person.disease.findings:
        place = tuple(ill.grid.index(finding.centre_mm[None])[0])
        assert ill.image[place] > plain.image[place] + 300
    changed = np.abs(ill.image.astype(int) - plain.image) > 60
    assert 0 < changed.sum() < 2000


def test_thick_slices_blur_along_the_body_and_keep_one_component() -> None:
    thin = made(shape=[60, 50, 60], spacing_mm=[2.0, 2.0, 2.0], noise_hu=[0.0, 0.0])
    thick = made(shape=[60, 50, 24], spacing_mm=[2.0, 2.0, 5.0], noise_hu=[0.0, 0.0])
    wide = made(shape=[60, 50, 24], spacing_mm=[2.0, 2.0, 5.0], noise_hu=[0.0, 0.0], slice_thickness_mm=12.0)
    assert thick.grid.shape == (60, 50, 24)
    assert cc3d.connected_components(thick.label.lumen, connectivity=26, return_N=True)[1] == 1
    assert wide.image.astype(float).std() < thick.image.astype(float).std()
    assert thick.label.lumen.sum() * 20 == pytest.approx(float(thin.label.lumen.sum()) * 8, rel=0.1)


def test_motion_doubles_edges_in_the_image_and_not_in_the_label() -> None:
    still, moved = made(), made(pathology={"motion_mm": 9.0})
    assert (still.label.lumen == moved.label.lumen).all()
    assert (
        np.abs(np.diff(moved.image.astype(float), axis=1)).max()
        < np.abs(np.diff(still.image.astype(float), axis=1)).max()
    )


def test_extra_masks_agree_with_the_image() -> None:
    phantom = made(extras=True, spacing_mm=[2.0, 2.0, 2.0], shape=[60, 50, 60])
    assert set(phantom.masks) == {"lungs", "wall", "arteries"}
    lungs = phantom.masks["lungs"] > 0
    assert -900 < np.median(phantom.image[lungs]) < -780
    assert phantom.image[phantom.masks["wall"] > 0].mean() > phantom.image[lungs].mean()
    assert phantom.image[phantom.masks["arteries"] > 0].mean() > -300
    assert not (phantom.masks["wall"] * phantom.masks["arteries"]).any()


@pytest.mark.parametrize("table", ["weibel", "horsfield"])
def test_symmetric_tables_can_be_scanned(table: str) -> None:
    phantom = made(tree=table, generations=6)
    truth = truth_of(phantom, case="a", seed=1, config=config_of(tree=table, generations=6))
    assert truth["n_branches"] == 127
    if table == "weibel":
        assert (truth["length_mm"], truth["volume_mm3"]) == (1473.6, pytest.approx(57347, abs=1))


def test_truth_is_plain_and_counts_what_the_label_lacks() -> None:
    config = config_of(generations=2, label_min_diameter_mm=3.0)
    phantom = airway_phantom(0, seed=1, config=config)
    truth = json.loads(json.dumps(truth_of(phantom, case="a", seed=1, config=config), allow_nan=False))
    tree = phantom.person.tree
    assert truth["n_branches"] == len(truth["branches"]) == len(tree)
    thin = {b.id for b in tree if b.diameter_mm < 3.0}
    assert thin <= set(truth["unlabelled_branches"])
    assert truth["n_subvoxel_branches"] == sum(
        b.diameter_mm / 2 < 1.8 for b in tree if b.id not in truth["unlabelled_branches"]
    )
    assert truth["config"] == config.model_dump(mode="json")
    lengths = [row["length_mm"] for row in truth["branches"]]
    assert sum(lengths) == pytest.approx(truth["length_mm"], abs=0.02)
    for row, branch in zip(truth["branches"], tree, strict=True):
        steps = np.linalg.norm(np.diff(row["nodes_mm"], axis=0), axis=1)
        assert steps.sum() == pytest.approx(branch.length_mm, abs=0.01)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"noise_hu": [30, 20]}, "lower bound comes first"),
        ({"shape": [1024, 1024, 1024]}, "voxels"),
        ({"tree": "weibel", "generations": 7}, "tables end at 6"),
        ({"body_scale": [0.0, 1.0]}, "body_scale"),
        ({"psf_fwhm_mm": [-1.0, 1.0]}, "psf_fwhm_mm"),
        ({"branches": 5}, "branches"),
    ],
)
def test_impossible_phantoms_are_refused_with_the_field(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        try:
            config_of(**values)
        except ConfigError as error:
            raise ConfigError(str(error)) from None


def test_extreme_settings_still_give_a_volume() -> None:
    phantom = made(
        shape=[8, 8, 8],
        spacing_mm=[0.2, 10.0, 5.0],
        generations=4,
        noise_hu=[0.0, 0.0],
        psf_fwhm_mm=[0.0, 0.0],
        vessels=0,
        label_min_diameter_mm=0.0,
    )
    assert phantom.image.shape == phantom.label.lumen.shape == (8, 8, 8)
