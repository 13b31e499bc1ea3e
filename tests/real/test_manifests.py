from __future__ import annotations

import csv
import runpy
from collections import Counter
from pathlib import Path

import pytest

from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import fold_names, make_split

pytestmark = pytest.mark.real

COUNTS = {"esc10": 320, "fsdd": 2250, "bioacoustic_samples": 22}  # the sets' README files


@pytest.fixture(params=COUNTS)
def manifest(request: pytest.FixtureRequest, real_data: Path) -> Manifest:
    if not (real_data / request.param).is_dir():
        pytest.skip(f"{request.param} is not in {real_data}")
    return Manifest.load(request.param)


def test_every_listed_file_is_there_and_right(manifest: Manifest) -> None:
    assert len(manifest.cases) == COUNTS[manifest.info.id]
    assert manifest.verify() == []
    assert manifest.warnings == ()


def test_the_manifest_says_what_the_index_says(manifest: Manifest, real_data: Path) -> None:
    path = real_data / manifest.info.id / "index.csv"
    with path.open(encoding="utf-8", newline="") as file:
        index = {Path(row["path"]).stem: row for row in csv.DictReader(file)}
    assert {case.id: case.targets["label"] for case in manifest.cases} == {
        name: row["label"] for name, row in index.items()
    }
    if manifest.info.id == "esc10":
        assert all(
            (case.group, case.split) == (index[case.id]["group"], index[case.id]["fold"])
            for case in manifest.cases
        )
    if manifest.info.id == "fsdd":
        assert all((case.group, case.split) == (index[case.id]["group"], "") for case in manifest.cases)


def test_the_committed_manifests_are_what_their_script_writes(
    real_data: Path, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not all((real_data / name).is_dir() for name in COUNTS):
        pytest.skip(f"not all of {', '.join(COUNTS)} are in {real_data}")
    script = runpy.run_path(str(checkout / "data_manifests/make_manifests.py"))
    script["main"].__globals__["HERE"] = tmp_path
    script["main"]()
    for name in COUNTS:
        for file in ("dataset.yaml", "samples.csv"):
            committed = checkout / "data_manifests" / name / file
            assert (tmp_path / name / file).read_bytes() == committed.read_bytes()


def test_environmental_sounds_have_four_official_folds_of_eighty(real_data: Path) -> None:
    manifest = Manifest.load("esc10")
    assert fold_names(manifest.cases, 5) == ("1", "2", "3", "4")
    for fold in "1234":
        split = make_split(manifest.cases, fold=fold, val_fraction=0.15, seed=1, target="label")
        counts = Counter(split.roles.values())
        assert counts["test"] == 80
        assert abs(counts["val"] - 36) <= 3
        assert split.warnings == ()
        labels = Counter(case.targets["label"] for case in split.cases(manifest.cases, "test"))
        assert set(labels.values()) == {8}


def test_spoken_digits_leave_one_speaker_out(real_data: Path) -> None:
    manifest = Manifest.load("fsdd")
    speakers = []
    for fold in fold_names(manifest.cases, 5):
        split = make_split(manifest.cases, fold=fold, n_folds=5, seed=1, target="label")
        tested = {case.group for case in split.cases(manifest.cases, "test")}
        validated = {case.group for case in split.cases(manifest.cases, "val")}
        assert (len(tested), len(validated)) == (1, 1)
        speakers += sorted(tested)
    assert sorted(speakers) == ["george", "jackson", "lucas", "nicolas", "theo"]
