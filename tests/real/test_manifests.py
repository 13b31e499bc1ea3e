from __future__ import annotations

import csv
import runpy
from collections import Counter
from pathlib import Path

import pytest

from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import fold_names, make_split

pytestmark = pytest.mark.real

COUNTS = {  # the sets' README files
    "esc10": 320,
    "fsdd": 2250,
    "bioacoustic_samples": 22,
    "corn_leaf": 880,
    "omniglot_small": 3520,
}


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
        index = {name_in(manifest, row): row for row in csv.DictReader(file)}
    assert {case.id: case.targets["label"] for case in manifest.cases} == {
        name: row["label"] for name, row in index.items()
    }
    for case in manifest.cases:
        row = index[case.id]
        assert case.split == ("" if manifest.info.id == "fsdd" else row.get("fold", ""))
        if manifest.info.id in ("esc10", "fsdd"):
            assert case.group == row["group"]
        if manifest.info.id == "omniglot_small":
            assert case.group == f"drawer-{row['drawer']}"
            assert (case.targets["alphabet"], case.select["row"]) == (row["alphabet"], int(row["row"]))


def name_in(manifest: Manifest, row: dict[str, str]) -> str:
    """A case's id from its row in the index."""
    stem = Path(row["path"]).stem
    named = {"corn_leaf": f"{row['label']}-{stem}", "omniglot_small": f"{row['label']}/{row.get('drawer')}"}
    return named.get(manifest.info.id, stem)


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


@pytest.mark.parametrize(("name", "folds", "per_fold"), [("corn_leaf", 4, 209), ("omniglot_small", 5, 4)])
def test_images_have_folds_that_share_no_group(real_data: Path, name: str, folds: int, per_fold: int) -> None:
    manifest = Manifest.load(name)
    names = fold_names(manifest.cases, 10)
    assert len(names) == folds
    groups = [{case.group for case in manifest.cases if case.split == fold} for fold in names]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert min(map(len, groups)) >= per_fold
