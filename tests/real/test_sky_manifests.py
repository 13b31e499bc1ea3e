"""The sets of galaxies and density maps: the manifests say what the copies hold, and the maps teach."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tessera.astronomy.density_files import DensityReader
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import fold_names, make_split

pytestmark = pytest.mark.real


@pytest.fixture
def galaxies(real_data: Path) -> Manifest:
    if not (real_data / "efigi_galaxies").is_dir():
        pytest.skip(f"efigi_galaxies is not in {real_data}")
    return Manifest.load("efigi_galaxies")


@pytest.fixture
def maps(real_data: Path) -> Manifest:
    if not (real_data / "quijote_density").is_dir():
        pytest.skip(f"quijote_density is not in {real_data}")
    return Manifest.load("quijote_density")


def index_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_galaxy_is_there_with_the_label_of_its_perturbation(
    galaxies: Manifest, real_data: Path
) -> None:
    assert galaxies.verify() == [] and galaxies.warnings == ()
    rows = {row["group"]: row for row in index_of(real_data / "efigi_galaxies")}
    assert len(galaxies.cases) == len(rows) == 3564
    labels = Counter(case.targets.get("label") for case in galaxies.cases)
    assert labels == {"none": 1947, "tidal": 704, None: 913}
    for case in galaxies.cases:
        row = rows[case.id]
        expected = {"0": "none", "0.25": None}.get(row["Perturbation"], "tidal")
        assert case.targets.get("label") == expected
        assert (case.group, case.split) == (case.id, row["fold"])
        assert case.meta["T"] == row["T"] and len(case.meta) == 21


def test_every_labelled_galaxy_is_tested_in_exactly_one_fold(galaxies: Manifest) -> None:
    cases = galaxies.training_cases("label")
    folds = fold_names(cases, 5)
    assert folds == ("1", "2", "3", "4")
    tested: Counter[str] = Counter()
    for fold in folds:
        split = make_split(cases, fold=fold, val_fraction=0.1, seed=0, target="label")
        tested.update(case.id for case in split.cases(cases, "test"))
    assert set(tested.values()) == {1} and len(tested) == 2651


def test_unlabelled_galaxies_have_positions_and_no_target(galaxies: Manifest) -> None:
    manifest = Manifest.load("efigi_unlabelled")
    assert manifest.verify() == [] and manifest.warnings == ()
    assert len(manifest.cases) == 1510
    assert not any(case.targets for case in manifest.cases)
    positions = [(float(case.meta["ra_deg"]), float(case.meta["dec_deg"])) for case in manifest.cases]
    assert all(0 <= ra < 360 and -90 <= dec <= 90 for ra, dec in positions)
    known = {reference.sha256 for case in galaxies.cases for reference in case.all_files()}
    assert not known & {reference.sha256 for case in manifest.cases for reference in case.all_files()}


def test_every_density_map_has_the_parameters_of_its_simulation(maps: Manifest, real_data: Path) -> None:
    assert maps.verify() == [] and maps.warnings == ()
    assert len(maps.cases) == 159 and fold_names(maps.cases, 5) == ("0", "1", "2", "3", "4")
    with np.load(real_data / "quijote_density" / "fields.npz", allow_pickle=False) as arrays:
        for case in maps.cases:
            row = case.select["row"]
            assert case.group == f"sim-{arrays['sim_id'][row]:04d}"
            expected = arrays["params"][row]
            for place, name in ((0, "omega_m"), (4, "sigma_8")):
                assert case.targets[name] == pytest.approx(expected[place], abs=1e-9)
            assert case.targets["parameters"] == (case.targets["omega_m"], case.targets["sigma_8"])
            meta = [float(case.meta[name]) for name in ("Omega_b", "h", "n_s")]
            assert np.allclose(meta, expected[1:4], rtol=1e-5)


def test_the_maps_belong_to_their_parameters(maps: Manifest) -> None:
    """The correlation that the set's README states, and the mean density where little of it is cut off."""
    reader = DensityReader()
    fraction, sigma = [], []
    for case in maps.cases:
        density = 10.0 ** reader.open(case).read()["input"].numpy()
        assert density.shape == (1, 369, 368)
        fraction.append((density > 0.5 * 1.0001).mean())
        sigma.append(case.targets["sigma_8"])
    assert np.corrcoef(fraction, np.array(sigma, dtype=float))[0, 1] == pytest.approx(-0.92, abs=0.02)
