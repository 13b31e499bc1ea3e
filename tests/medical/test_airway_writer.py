"""Files of airway masks: the branches of a tree that can be counted by hand, and what is remarked on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np

from tessera.core.data.case import Case, FileRef
from tessera.core.data.targets import TargetSpec
from tessera.core.inference.interfaces import CaseResult, Outcome, OutcomeWriter, Written
from tessera.medical.airway_writer import AirwayWriter
from tessera.medical.config import AirwayConfig
from tessera.medical.output_config import AirwayOutput
from tessera.medical.pipelines import AIRWAY
from tessera.medical.readers import VolumeReader

CONFIG = AirwayConfig.model_validate({"pipeline": "airway", "preset": "smoke"})
TARGET = TargetSpec(kind="mask", classes=("background", "airway"))
SHAPE = (48, 16, 40)


def fork() -> np.ndarray:
    """A trachea of 5 x 5 voxels from the top down, and two bronchi that leave it downwards at 45 degrees."""
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[22:27, 6:11, 20:40] = 1
    for step in range(16):
        for side in (-1, 1):
            centre = 24 + side * step
            mask[centre - 2 : centre + 3, 6:11, 18 - step : 21 - step] = 1
    return mask


def result_of(folder: Path, mask: np.ndarray, *, dark: int = -1000) -> CaseResult:
    values = np.where(mask > 0, dark, 40).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / "a.nii")
    case = Case(id="a.nii", files={"image": FileRef(path=folder / "a.nii")}, group="g")
    grid = VolumeReader().open(case).grid
    empty = np.zeros((0, 2), dtype=np.float32)
    return CaseResult(case, grid, (), empty, np.bincount(mask.ravel(), minlength=2), mask=mask)


def write(folder: Path, mask: np.ndarray, *, dark: int = -1000, branches: bool = True) -> Written:
    options = None if branches else AirwayOutput(branches=False)
    return AirwayWriter(CONFIG, TARGET, options=options).write(result_of(folder, mask, dark=dark), folder)


def test_the_pipeline_uses_it() -> None:
    assert AIRWAY.resolve("writer") is AirwayWriter
    assert AIRWAY.resolve("predict_options") is AirwayOutput
    assert isinstance(AirwayWriter(CONFIG, TARGET), OutcomeWriter)


def test_a_fork_has_three_branches_in_both_files_and_in_the_summary(tmp_path: Path) -> None:
    written = write(tmp_path, fork())
    assert written.files == ("masks/a.nii.gz", "branches/a.csv", "branches/a.json", "thumbnails/a.png")
    with (tmp_path / "branches/a.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert sorted(row["generation"] for row in rows) == ["0", "1", "1"]
    record = json.loads((tmp_path / "branches/a.json").read_text())
    assert record["n_branches"] == 3
    (summary,) = written.rows["summary"]
    assert summary["branches"] == 3
    assert summary["generations"] == 1
    assert summary["length_mm"] == record["length_mm"]
    assert summary["voxels_airway"] == int(fork().sum())
    assert 20 + 2 * 16 < summary["length_mm"] < 20 + 2 * 16 * 2**0.5 + 6
    assert written.flags == (
        f"airway of {fork().sum() / 1000:.1f} ml, not 20 to 200",
        "airway of 3 branches, fewer than 20",
        "perhaps a leak: the largest branch is not the uppermost, as the trachea is",  # it is a bronchus
        "no lungs found",
    )


def test_branches_that_nobody_asked_for_are_not_measured(tmp_path: Path) -> None:
    written = write(tmp_path, fork(), branches=False)
    assert written.files == ("masks/a.nii.gz", "thumbnails/a.png")
    assert "branches" not in written.rows["summary"][0]
    assert written.flags == (f"airway of {fork().sum() / 1000:.1f} ml, not 20 to 200", "no lungs found")


def test_a_trachea_at_the_upper_face_is_no_remark_but_a_bronchus_at_another_is(tmp_path: Path) -> None:
    mask = fork()
    assert not any("border" in flag for flag in write(tmp_path, mask).flags)
    mask[24:, 6:11, 10:12] = 1
    assert "touches the border of the scan: airway" in write(tmp_path, mask).flags


def test_an_empty_mask_has_no_tree(tmp_path: Path) -> None:
    written = write(tmp_path, np.zeros(SHAPE, dtype=np.uint8))
    assert written.files == ("masks/a.nii.gz", "thumbnails/a.png")
    assert written.flags[0] == "nothing found"


def test_a_mask_too_small_for_a_branch_is_written(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[24, 8, 20:22] = 1
    written = write(tmp_path, mask)
    assert json.loads((tmp_path / "branches/a.json").read_text())["n_branches"] == 0
    assert written.rows["summary"][0]["generations"] == ""


def test_a_bronchus_that_ends_in_a_lake_of_air_is_remarked_on(tmp_path: Path) -> None:
    mask = fork()
    mask[20:29, 4:13, 20:40] = 1
    assert not any("leak" in flag for flag in write(tmp_path, mask).flags)
    mask[1:15, 1:15, 1:14] = 1  # larger than the trachea, which it is taken for
    (leak,) = (flag for flag in write(tmp_path, mask).flags if "leak" in flag)
    assert "not the uppermost" in leak


def test_noise_is_remarked_on_and_not_measured(tmp_path: Path) -> None:
    noise = (np.random.default_rng(0).random((32, 32, 32)) < 0.5).astype(np.uint8)
    written = write(tmp_path, noise)
    assert written.files == ("masks/a.nii.gz", "thumbnails/a.png")
    assert "airway too rough to be divided into branches" in written.flags


def test_a_mask_without_an_outside_is_measured_without_warnings(tmp_path: Path) -> None:
    assert write(tmp_path, np.ones((5, 5, 30), dtype=np.uint8)).rows["summary"][0]["branches"] == 1


def test_a_scan_that_is_not_in_hounsfield_units_is_remarked_on(tmp_path: Path) -> None:
    assert not any("Hounsfield" in flag for flag in write(tmp_path, fork()).flags)
    flags = write(tmp_path, fork(), dark=0).flags
    assert "not in Hounsfield units: values from 0 to 40" in flags


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        written = write(folder, fork())
        outcome = Outcome(result_of(folder, fork()).case, "suspicious", "; ".join(written.flags), written)
        tables = AirwayWriter(CONFIG, TARGET).collect_outcomes(iter([outcome]), folder)
        assert tables == ("contact-sheet.png", "summary.csv")
        found.append({file: (folder / file).read_bytes() for file in (*written.files, *tables)})
    assert found[0] == found[1]
    head, row = (tmp_path / "one/summary.csv").read_text().splitlines()
    assert head == (
        "case_id,status,flags,shape,spacing_mm,voxels_airway,ml_airway,branches,generations,length_mm"
    )
    assert row.startswith('a.nii,suspicious,"airway of')
    assert "48x16x40,1x1x1," in row


def test_only_the_largest_part_is_written_unless_all_are_wanted(tmp_path: Path) -> None:
    mask = fork()
    size = int(mask.sum())
    mask[2:6, 2:6, 30:34] = 1  # 64 voxels apart from the tree
    written = write(tmp_path, mask)
    stored = np.asarray(nibabel.load(tmp_path / "masks/a.nii.gz").dataobj)
    np.testing.assert_array_equal(stored, fork())
    assert written.rows["summary"][0]["voxels_airway"] == size
    (row,) = written.rows["volumes"]
    assert row["voxels"] == size
    remark = f"{64 / (size + 64):.0%} of the airway's voxels left out: apart from its largest part"
    assert written.flags[0] == remark and row["remarks"].startswith(remark)
    assert written.flags.count(remark) == 1

    writer = AirwayWriter(CONFIG, TARGET, options=AirwayOutput(largest_component=False))
    whole = writer.write(result_of(tmp_path, mask), tmp_path)
    assert int(np.asarray(nibabel.load(tmp_path / "masks/a.nii.gz").dataobj).sum()) == size + 64
    assert remark not in whole.flags and "airway in 2 parts" in whole.flags


def test_specks_are_left_out_without_a_remark(tmp_path: Path) -> None:
    mask = fork()
    mask[2, 2, 30:34] = 1  # less than a hundredth of the tree
    assert write(tmp_path, mask).flags == write(tmp_path, fork()).flags
