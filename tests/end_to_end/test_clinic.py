"""A clinic's archive: what is broken fails with its reason, what is odd is remarked on, the rest is done."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from tests.end_to_end.conftest import Tessera
from tests.medical.dicom_files import (
    ORIENTATIONS,
    PATIENT,
    ct_values,
    series_datasets,
    slice_dataset,
    uid,
    write_series,
)

from tessera.medical.dicom_files import short_digest

SHAPE = (12, 10, 6)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("clinic")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESSERA_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def sims(tessera: Tessera, place: Path) -> Path:
    """Phantoms as NIfTI, with the series they were made of."""
    words = ("--n", 3, "--seed", 1, "--out", place / "sims", "--set", "shape=[40,40,40]", "--dicom", "-q")
    outcome = tessera("simulate", "airway-small", *words)
    assert outcome.code == 0, outcome.err
    return place / "sims"


@pytest.fixture(scope="module")
def bundle(tessera: Tessera, place: Path, sims: Path) -> Path:
    words = ("--preset", "smoke", "--data", sims, "--fold", 1, "--out", place / "run", "--quiet")
    outcome = tessera("train", "airway", *words)
    assert outcome.code == 0, outcome.err
    return place / "run" / "bundle"


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["case_id"]: row for row in csv.DictReader(stream)}


def series(folder: Path, name: str, values: Any = None, **elements: Any) -> str:
    """A series in a folder of its own; its case's id."""
    values = ct_values(SHAPE) if values is None else values
    write_series(folder / name, series_datasets(values, series=name, **elements))
    return short_digest(uid(name))


def good_and_odd(folder: Path) -> dict[str, str]:
    """What is predicted: words that the case's remarks must have, by case."""
    found = {
        series(folder, "plain"): "",
        series(folder, "no-hu", intercept=None, slope=None): "no air in CT",
        series(folder, "thick", step=7.5): "unlike the training scans: spacing of 7.5 mm feet to head",
    }
    for orientation in ("negated column", "oblique", "coronal"):
        found[series(folder, orientation, orientation=ORIENTATIONS[orientation])] = ""
    both = [
        *series_datasets(ct_values(SHAPE), series="one"),
        *series_datasets(ct_values(SHAPE), series="two"),
    ]
    write_series(folder / "mixed", both)  # two series in one folder are two cases
    found |= {short_digest(uid("one")): "", short_digest(uid("two")): ""}
    for name, shape in (("one-slice", (12, 10, 1)), ("tiny", (3, 2, 4))):  # patches have 32 voxels a side
        affine = np.diag([2.5, 2.5, 2.5, 1.0])
        nibabel.save(nibabel.Nifti1Image(ct_values(shape) - 1024, affine), folder / f"{name}.nii.gz")
        found[f"{name}.nii.gz"] = "one slice" if name == "one-slice" else "unlike the training scans: extent"
    return found


def broken_series(folder: Path) -> dict[str, str]:
    """What fails: words that the cause must have, by case."""
    localizer = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    found = {
        series(folder, "mr", Modality="MR"): "a DICOM series of modality MR; expected: CT",
        series(folder, "pet", Modality="PT"): "use a bundle trained on PT",
        series(folder, "localizer", **localizer): "is a localizer",
    }
    datasets = series_datasets(ct_values(SHAPE), series="missing")
    write_series(folder / "missing", [*datasets[:2], *datasets[3:]])
    found[short_digest(uid("missing"))] = "misses slices"
    twice = [series_datasets(ct_values(SHAPE, seed=s), series="twice", AcquisitionNumber=s) for s in (1, 2)]
    for dataset in twice[1]:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid(dataset.SOPInstanceUID)
    write_series(folder / "twice", twice[0] + twice[1])
    found[short_digest(uid("twice"))] = "several images at the same place"
    datasets = series_datasets(ct_values(SHAPE), series="tilt")
    for k, dataset in enumerate(datasets):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, float(y) + k * 2.5 * np.tan(np.radians(12)), z]
    write_series(folder / "tilt", datasets)
    found[short_digest(uid("tilt"))] = "gantry tilt"
    datasets = series_datasets(ct_values(SHAPE), series="patients")
    datasets[3].PatientID = "another"
    write_series(folder / "patients", datasets)
    found[short_digest(uid("patients"))] = "differ in patient or study"
    rgb = np.zeros((4, 4, 3), dtype=np.uint8)
    colour = slice_dataset(rgb, series="colour", SamplesPerPixel=3, PhotometricInterpretation="RGB")
    write_series(folder / "colour", [colour])
    found[short_digest(uid("colour"))] = "colour images"
    found[series(folder, "corrupt")] = "cannot read the DICOM file"
    file = sorted((folder / "corrupt").iterdir())[2]
    file.write_bytes(file.read_bytes()[:-40])
    return found


def test_every_case_of_an_archive_has_one_row_with_its_reason(
    tessera: Tessera, bundle: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "archive", tmp_path / "out"
    odd, broken = good_and_odd(folder), broken_series(folder)
    outcome = tessera("predict", bundle, folder, "--out", out, "--json", "--formats", "nifti,dicom-seg")
    assert outcome.code == 3, outcome.err
    counts = json.loads(outcome.out)
    assert (counts["ok"] + counts["suspicious"], counts["failed"]) == (len(odd), len(broken))
    summary = rows_of(out / "summary.csv")
    assert set(summary) == {*odd, *broken}
    for case_id, words in odd.items():
        assert summary[case_id]["status"] in ("ok", "suspicious"), summary[case_id]
        assert words in summary[case_id]["flags"], summary[case_id]["flags"]
        assert (out / "masks" / f"{case_id.removesuffix('.nii.gz')}.nii.gz").is_file()
    for case_id, words in broken.items():
        assert summary[case_id]["status"] == "failed"
        assert words in summary[case_id]["flags"], summary[case_id]["flags"]
    assert set(rows_of(out / "failures.csv")) == set(broken)
    tables = [path for path in out.rglob("*") if path.suffix in (".csv", ".json")]
    assert not any(PATIENT.encode() in path.read_bytes() for path in tables)
    report = tessera("report", out)
    assert report.code == 0, report.err
    page = Path(report.out.strip()).read_text(encoding="utf-8")
    assert all(case_id in page for case_id in broken)
    assert "unlike the training scans" in page


@pytest.mark.slow  # six predictions
def test_masks_of_series_are_scored_by_labels_of_their_nifti_twins(
    tessera: Tessera, bundle: Path, sims: Path, tmp_path: Path
) -> None:
    """A series is stored the other way round; its folder has the name of the labelled case."""
    scores: list[Any] = []
    for name in ("dicom", "images"):
        out = tmp_path / name
        assert tessera("predict", bundle, sims / name, "--out", out, "-q").code == 0
        outcome = tessera("evaluate", out, "--data", sims, "--json")
        assert outcome.code == 0, outcome.err
        scores.append(json.loads(outcome.out))
    assert scores[0]["n"] == 3
    assert scores[0]["metrics"]["dice_airway"] == scores[1]["metrics"]["dice_airway"]


def test_masks_of_a_series_that_lies_elsewhere_are_not_scored(
    tessera: Tessera, bundle: Path, sims: Path, tmp_path: Path
) -> None:
    values = np.full((40, 40, 40), 1000, dtype=np.int16)
    values[8:30, 8:30, 8:30] = 20
    for name, shape in (("airway-00001", (40, 40, 40)), ("airway-00002", (40, 40, 39))):
        write_series(
            tmp_path / "in" / name,
            series_datasets(values[:, :, : shape[2]], series=name, spacing=(2.5, 2.5), origin=(0, 0, 0)),
        )
    assert tessera("predict", bundle, tmp_path / "in", "--out", tmp_path / "out", "-q").code == 0
    outcome = tessera("evaluate", tmp_path / "out", "--data", sims)
    assert outcome.code == 2
    assert "case airway-00001: the mask that was predicted for" in outcome.err
    assert "does not lie on its scan" in outcome.err
    assert "origin mm" in outcome.err
    assert "case airway-00003 was not predicted" in outcome.err
