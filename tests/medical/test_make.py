"""Pairs of volumes and labels from folders as people keep them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tessera.core.errors import DataError
from tessera.medical.make import VolumePairs, class_names, classes_found, make_volume_cases, unusable
from tessera.medical.readers import VolumeReader

from .dicom_files import ct_values, series_datasets, write_series

SHAPE = (3, 4, 5)


def volume(path: Path, values: Any = None, affine: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = ct_values(SHAPE) if values is None else values
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def label(path: Path, highest: int = 1) -> Path:
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[0, 0, : highest + 1] = range(highest + 1)
    return volume(path, values)


def pairs(folder: Path, **options: Any) -> VolumePairs:
    return make_volume_cases(folder / "imagesTr", folder / "labelsTr", **options)


def summary(made: VolumePairs) -> dict[str, list[str]]:
    return {case.id: [str(ref.path and ref.path.name) for ref in case.all_files()] for case in made.cases}


def test_names_that_are_equal_are_pairs_and_the_rest_is_named(tmp_path: Path) -> None:
    for name in ("a", "b", "lonely"):
        volume(tmp_path / "imagesTr" / f"{name}.nii.gz")
    for name in ("a.nii.gz", "b.nii", "widow.nii.gz"):
        label(tmp_path / "labelsTr" / name)
    made = pairs(tmp_path)
    assert summary(made) == {"a": ["a.nii.gz"], "b": ["b.nii.gz"]}
    assert made.cases[1].target_file("label").path == tmp_path / "labelsTr" / "b.nii"
    assert "1 volumes without labels, left out: lonely.nii.gz" in made.warnings
    assert "1 files of labels without a volume: widow.nii.gz" in made.warnings
    assert any("--patient-id" in warning for warning in made.warnings)


def test_nnunets_channels_are_gathered_in_order(tmp_path: Path) -> None:
    for name in ("p1_0001", "p1_0000", "p2_0000", "p2_0001", "p3_0000", "p4_0000", "p4_0001"):
        volume(tmp_path / "imagesTr" / f"{name}.nii.gz")
    for name in ("p1", "p2", "p3"):
        label(tmp_path / "labelsTr" / f"{name}.nii.gz")
    made = pairs(tmp_path)
    assert summary(made) == {n: [f"{n}_0000.nii.gz", f"{n}_0001.nii.gz"] for n in ("p1", "p2")}
    assert "1 volumes with fewer than 2 channels, left out: p3" in made.warnings
    assert VolumeReader(channels=2).open(made.cases[0]).channels == 2


def test_one_channel_is_one_file_and_a_number_may_be_part_of_the_name(tmp_path: Path) -> None:
    for name in ("scan_0001", "scan_0002"):
        volume(tmp_path / "imagesTr" / f"{name}.nii")
        label(tmp_path / "labelsTr" / f"{name}.nii")
    assert summary(pairs(tmp_path)) == {n: [f"{n}.nii"] for n in ("scan_0001", "scan_0002")}
    volume(tmp_path / "imagesTr" / "x_0000.nii")
    label(tmp_path / "labelsTr" / "x.nii")
    made = pairs(tmp_path)
    assert [case.path("image").name for case in made.cases if case.id == "x"] == ["x_0000.nii"]


def test_folders_below_belong_to_the_name(tmp_path: Path) -> None:
    for site in ("s1", "s2"):
        volume(tmp_path / "imagesTr" / site / "a.nii")
        label(tmp_path / "labelsTr" / site / "a.nii.gz")
    made = pairs(tmp_path, patient_id=r"^(\w+)/")
    assert [(case.id, case.group) for case in made.cases] == [("s1/a", "s1"), ("s2/a", "s2")]
    assert made.warnings == ()


def test_patients_are_groups(tmp_path: Path) -> None:
    for name in ("anna_1", "anna_2", "bert_1"):
        volume(tmp_path / "imagesTr" / f"{name}.nii")
        label(tmp_path / "labelsTr" / f"{name}.nii")
    made = pairs(tmp_path, patient_id=r"(\w+)_.*")
    assert [case.group for case in made.cases] == ["anna", "anna", "bert"]


@pytest.mark.parametrize(
    ("regex", "words"),
    [("(", "no regular expression"), ("x", "must mark"), ("(a)(b)", "must mark"), ("z(.)", "finds no")],
)
def test_expressions_that_find_no_patient_are_refused(tmp_path: Path, regex: str, words: str) -> None:
    volume(tmp_path / "imagesTr" / "a.nii")
    label(tmp_path / "labelsTr" / "a.nii")
    with pytest.raises(DataError, match=words):
        pairs(tmp_path, patient_id=regex)


def test_a_dicom_series_is_called_as_its_folder(tmp_path: Path) -> None:
    write_series(tmp_path / "imagesTr" / "p7", series_datasets(ct_values(SHAPE)))
    (case,) = VolumeReader().find(tmp_path / "imagesTr")
    grid = VolumeReader().open(case).grid
    volume(tmp_path / "labelsTr" / "p7.nii.gz", np.ones(SHAPE, dtype=np.uint8), grid.matrix)
    made = pairs(tmp_path)
    assert [case.id for case in made.cases] == ["p7"]
    assert len(made.cases[0].all_files()) == 5
    assert VolumeReader().open_mask(made.cases[0], "label").counts() == {1: 60}


def test_folders_without_pairs_are_refused(tmp_path: Path) -> None:
    volume(tmp_path / "imagesTr" / "a.nii")
    with pytest.raises(DataError, match="no folder"):
        pairs(tmp_path)
    label(tmp_path / "labelsTr" / "b.nii")
    with pytest.raises(DataError) as error:
        pairs(tmp_path)
    assert "a.nii" in str(error.value)
    label(tmp_path / "labelsTr" / "b.nii.gz")
    with pytest.raises(DataError, match="two files of labels are called b"):
        pairs(tmp_path)


@pytest.mark.parametrize(
    "labels", [{"background": 0, "front": 1, "back": 2}, {"0": "background", "1": "front", "2": "back"}]
)
def test_classes_are_taken_from_both_kinds_of_dataset_json(tmp_path: Path, labels: Any) -> None:
    images = tmp_path / "imagesTr"
    assert class_names(images) == ()
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert class_names(images) == ("background", "front", "back")


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"labels": {"a": [1, 2]}}', '{"labels": {"a": 0, "b": 2}}']
)
def test_a_dataset_json_that_says_nothing_useful_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=r"dataset\.json"):
        class_names(tmp_path / "imagesTr")


def test_classes_are_counted_where_nobody_names_them_and_bad_cases_are_listed(tmp_path: Path) -> None:
    for name, highest in (("a", 1), ("b", 3)):
        volume(tmp_path / "imagesTr" / f"{name}.nii")
        label(tmp_path / "labelsTr" / f"{name}.nii", highest)
    made = pairs(tmp_path)
    classes = classes_found(made.cases)
    assert classes == ("background", "label_1", "label_2", "label_3")
    assert list(unusable(VolumeReader(), made.cases, classes)) == []
    ((name, reason),) = unusable(VolumeReader(), made.cases, classes[:2])
    assert name == "b"
    assert "2 (1 voxels), 3 (1 voxels)" in reason
