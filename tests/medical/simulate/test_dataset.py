"""Phantoms as a data set: what is written is what the manifest says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tessera.core.data.case import FileRef
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError
from tessera.medical.simulate import AirwayConfig, airway_phantom, simulate_airway, simulate_small_airway

TINY: dict[str, Any] = {"shape": [24, 20, 28], "spacing_mm": [4.0, 4.0, 4.0], "vessels": 5, "generations": 0}


def simulate(out: Path, n: int = 2, seed: int = 1, **values: Any) -> Manifest:
    return simulate_airway(out, n=n, seed=seed, values=TINY | values)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_manifest_loads_back_and_names_image_and_mask(tmp_path: Path) -> None:
    made = simulate(tmp_path / "sims", n=6)
    loaded = Manifest.load(tmp_path / "sims")
    assert loaded.digest == made.digest and loaded.verify() == []
    assert loaded.info.simulated and (loaded.info.id, loaded.info.role) == ("sims", "image")
    assert loaded.target("label") == TargetSpec(kind="mask", classes=("background", "airway"))
    assert [case.split for case in loaded.cases] == ["1", "2", "3", "4", "5", "1"]
    for case in loaded.cases:
        assert case.group == case.id
        label = case.targets["label"]
        assert isinstance(label, FileRef) and label.path is not None
        image, mask = nibabel.load(case.path("image")), nibabel.load(label.path)
        assert image.shape == mask.shape == (24, 20, 28)
        assert (image.affine == mask.affine).all()
        assert set(np.unique(np.asarray(mask.dataobj))) == {0, 1}


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for parent, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate(tmp_path / parent / "sims", seed=seed, dicom=True, extras=True)
    a, b, c = (content(tmp_path / name / "sims") for name in "abc")
    assert a == b
    assert set(a) == set(c)
    assert all(a[name] != c[name] for name in a)
    assert len([name for name in a if name.startswith("dicom/airway-00002/")]) == 28
    assert {Path(name).parts[0] for name in a} == {
        "dataset.yaml",
        "samples.csv",
        "images",
        "labels",
        "truth",
        "dicom",
        "extras",
    }


def test_a_smaller_set_is_the_beginning_of_a_larger_one(tmp_path: Path) -> None:
    small, large = simulate(tmp_path / "small", n=1), simulate(tmp_path / "large", n=2)
    hashes = [[case.all_files()[0].sha256 for case in made.cases] for made in (small, large)]
    assert hashes[0] == hashes[1][:1]
    assert hashes[1][0] != hashes[1][1]


def test_extra_masks_hold_the_branches_of_the_truth(tmp_path: Path) -> None:
    made = simulate(tmp_path / "sims", n=1, extras=True)
    name = made.cases[0].id
    truth = json.loads((tmp_path / "sims" / made.cases[0].meta["truth"]).read_text(encoding="utf-8"))
    branches = nibabel.load(tmp_path / "sims" / "extras" / f"{name}_branches.nii.gz")
    ids = set(np.unique(np.asarray(branches.dataobj)).tolist()) - {0}
    assert branches.get_data_dtype() == np.uint16
    assert {id - 1 for id in ids} <= {row["id"] for row in truth["branches"]}
    for what in ("lungs", "wall", "arteries"):
        assert (tmp_path / "sims" / "extras" / f"{name}_{what}.nii.gz").is_file()


def test_the_phantom_of_a_set_can_be_made_alone(tmp_path: Path) -> None:
    made = simulate(tmp_path / "sims", n=2)
    phantom = airway_phantom(1, seed=1, config=AirwayConfig.model_validate(TINY))
    assert (np.asarray(nibabel.load(made.cases[1].path("image")).dataobj) == phantom.image).all()


def test_small_phantoms_are_small_unless_told_otherwise(tmp_path: Path) -> None:
    made = simulate_small_airway(tmp_path / "sims", n=1, seed=1, values={"noise_hu": [5.0, 5.0]})
    assert nibabel.load(made.cases[0].path("image")).shape == (64, 64, 64)
    assert made.cases[0].meta["noise_hu"] == "5.0"


def test_progress_is_told_after_every_phantom(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    simulate_airway(
        tmp_path / "sims", n=2, seed=1, values=TINY, progress=lambda done, n: seen.append((done, n))
    )
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(("n", "seed"), [(0, 1), (1, -1)])
def test_impossible_requests_leave_nothing_behind(tmp_path: Path, n: int, seed: int) -> None:
    with pytest.raises(ConfigError, match="cannot simulate"):
        simulate(tmp_path / "sims", n=n, seed=seed)
    assert not (tmp_path / "sims").exists()


def test_findings_are_named_in_the_manifest(tmp_path: Path) -> None:
    made = simulate(tmp_path / "sims", n=1, pathology={"nodules": 1, "emphysema": 2})
    assert made.cases[0].meta["findings"] == "emphysema, nodule"
