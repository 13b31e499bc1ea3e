"""Files of masks: in the input's place, bit for bit, with its volumes, and without its patient."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydantic import ValidationError

from tessera.core.data.case import Case, FileRef
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError, DataError
from tessera.core.inference.interfaces import CaseResult, Outcome, OutcomeWriter, Writer, Written
from tessera.core.run_config import RunConfig
from tessera.medical.config import VolumeConfig
from tessera.medical.dicom_seg import read_seg
from tessera.medical.output_config import VolumeOutput
from tessera.medical.planning.data_config import CTConfig
from tessera.medical.readers import VolumeReader
from tessera.medical.scan_facts import look_at, seen_scans
from tessera.medical.stored_volume import slices_first
from tessera.medical.writers import VolumeWriter, output_name, write_mask

from .dicom_files import ORIENTATIONS, PATIENT, ct_values, series_datasets, uid, write_series

SHAPE = (6, 8, 5)
CONFIG = RunConfig(pipeline="airway", preset="smoke")
TARGET = TargetSpec(kind="mask", classes=("background", "airway", "wall"))
OBLIQUE = np.array(
    [[-0.7, 0.05, 0.1, 90.0], [0.05, 0.69, 0.3, 80.0], [0.02, -0.2, 2.5, -300.0], [0, 0, 0, 1]]
)


def mask_of(shape: tuple[int, ...] = SHAPE, kind: Any = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 3, size=shape).astype(kind)


def writer(**options: Any) -> VolumeWriter:
    return VolumeWriter(CONFIG, TARGET, options=VolumeOutput(**options))


def result_of(case: Case, mask: np.ndarray | None = None, **parts: Any) -> CaseResult:
    grid = VolumeReader().open(case).grid
    mask = mask_of(grid.shape) if mask is None else mask
    empty = np.zeros((0, 3), dtype=np.float32)
    return CaseResult(case, grid, (), empty, np.bincount(mask.ravel(), minlength=3), mask=mask, **parts)


def file_case(path: Path, values: Any, affine: Any = OBLIQUE) -> Case:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(values, affine), path)
    else:
        image = SimpleITK.GetImageFromArray(np.asarray(values).transpose(2, 1, 0))
        image.SetSpacing((0.7, 0.8, 2.5))
        image.SetOrigin((1 / 3, -20, 30))
        c, s = np.cos(0.3), np.sin(0.3)
        image.SetDirection((0, -s, c, 0, c, s, -1, 0, 0))
        SimpleITK.WriteImage(image, str(path))
    return Case(id=path.name, files={"image": FileRef(path=path)}, group="g")


def series_case(folder: Path, orientation: str = "axial", **options: Any) -> Case:
    write_series(folder, series_datasets(ct_values(SHAPE), orientation=ORIENTATIONS[orientation], **options))
    (case,) = VolumeReader().find(folder)
    return case


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def masks(names: Iterable[str]) -> list[str]:
    """The masks among the names of outputs."""
    return [name for name in names if name.startswith(("masks/", "seg/"))]


def test_it_keeps_the_cores_protocol() -> None:
    assert isinstance(writer(), Writer)
    assert isinstance(writer(), OutcomeWriter)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_nifti_mask_has_its_images_shape_and_affine_bit_for_bit(
    tmp_path: Path, name: str, kind: Any
) -> None:
    case = file_case(tmp_path / name, ct_values(SHAPE))
    mask = mask_of(kind=kind)
    written = writer().write(result_of(case, mask), tmp_path / "out")
    assert written.files == ("masks/a.nii.gz", "thumbnails/a.png")
    found, image = nibabel.load(tmp_path / "out" / written.files[0]), nibabel.load(tmp_path / name)
    np.testing.assert_array_equal(np.asarray(found.dataobj), mask)
    assert found.get_data_dtype() == kind
    assert found.shape == image.shape
    assert found.affine.tobytes() == image.affine.tobytes()


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product((1, -1), repeat=3)))
def test_all_48_orientations_go_in_and_out(tmp_path: Path, axes: Any, flips: Any) -> None:
    """What a network sees in RAS is written at the same place in space, whatever the order of the axes."""
    turn = np.eye(4)
    turn[:3, :3] = np.eye(3)[:, list(axes)] * flips * (0.7, 0.8, 2.5)
    turn[:3, 3] = 10, -20, 30
    case = file_case(tmp_path / "a.nii", ct_values((2, 3, 4)), turn)
    result = result_of(case, np.zeros((2, 3, 4), dtype=np.uint8))
    ras = mask_of(result.grid.canonical().shape)  # a mask in the network's own order
    order, reverse = result.grid.towards_ras()
    own = np.flip(ras, tuple(np.flatnonzero(reverse))).transpose(np.argsort(order))
    writer().write(replace(result, mask=np.ascontiguousarray(own)), tmp_path)
    found = nibabel.load(tmp_path / "masks" / "a.nii.gz")
    assert found.affine.tobytes() == nibabel.load(tmp_path / "a.nii").affine.tobytes()
    np.testing.assert_array_equal(nibabel.as_closest_canonical(found).dataobj, ras)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(33, 3, 17), (16, 5, 16), (1, 2, 50), (7, 40, 1)])
def test_the_order_of_voxels_in_memory_does_not_matter(shape: tuple[int, ...], order: Any) -> None:
    mask = np.array(mask_of(shape), order=order)
    found = slices_first(mask)
    np.testing.assert_array_equal(found, mask.transpose(2, 1, 0))
    assert found.flags.c_contiguous


def test_slices_and_fourth_axes_of_one_are_answered_in_three_axes_or_two(tmp_path: Path) -> None:
    flat = file_case(tmp_path / "flat.nii", ct_values((6, 8)), np.diag([1.0, 2, 3, 1]))
    writer().write(result_of(flat), tmp_path)
    assert nibabel.load(tmp_path / "masks/flat.nii.gz").shape == (6, 8)
    four = file_case(tmp_path / "four.nii", ct_values((6, 8, 5, 1)))
    writer().write(result_of(four), tmp_path)
    assert nibabel.load(tmp_path / "masks/four.nii.gz").shape == SHAPE


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_series_gets_nifti_and_seg_at_the_same_place(tmp_path: Path, orientation: str) -> None:
    case = series_case(tmp_path / "in", orientation)
    result = result_of(case)
    written = writer(formats="nifti,dicom-seg").write(result, tmp_path)
    assert written.files[:2] == (f"masks/{case.id}.nii.gz", f"seg/{case.id}.dcm")
    image = nibabel.load(tmp_path / written.files[0])
    np.testing.assert_allclose(image.affine, result.grid.matrix, atol=1e-5)
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    assert result.mask is not None
    np.testing.assert_array_equal(np.asarray(image.dataobj), result.mask)
    np.testing.assert_array_equal(read_seg(tmp_path / written.files[1], result.grid)[0], result.mask)
    read = SimpleITK.ReadImage(str(tmp_path / written.files[0]))  # a second program, in LPS
    for index in ((0, 0, 0), (5, 7, 4), (2, 1, 3)):
        place = np.array(read.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        np.testing.assert_allclose(place, result.grid.to_world([index])[0], atol=1e-4)
        assert read[index] == result.mask[index]


@pytest.mark.parametrize("source", ["a.nrrd", "a.mha", "a.nii.gz"])
@pytest.mark.parametrize("kind", ["nrrd", "mha"])
def test_nrrd_and_mha_lie_where_their_image_lies(tmp_path: Path, source: str, kind: str) -> None:
    straight = np.array([[0, -0.8, 0, 1 / 3], [0.7, 0, 0, 5], [0, 0, 2.5, 7], [0, 0, 0, 1]])  # of the NIfTI
    case = file_case(tmp_path / source, ct_values(SHAPE), straight)
    result = result_of(case)
    written = writer(formats=(kind,)).write(result, tmp_path / "out")
    found = SimpleITK.ReadImage(str(tmp_path / "out" / written.files[0]))
    assert result.mask is not None
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(found).transpose(2, 1, 0), result.mask)
    image = SimpleITK.ReadImage(str(tmp_path / source))
    np.testing.assert_allclose(found.GetDirection(), image.GetDirection(), atol=1e-7)
    np.testing.assert_allclose(found.GetOrigin(), image.GetOrigin(), rtol=1e-7)
    if source.endswith(kind):  # through another format the text of the numbers may round
        assert found.GetOrigin() == image.GetOrigin()
        assert found.GetSpacing() == image.GetSpacing()
        assert found.GetDirection() == image.GetDirection()


def test_oblique_axes_that_are_not_at_right_angles_need_nifti(tmp_path: Path) -> None:
    sheared = np.array([[1.0, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    case = file_case(tmp_path / "a.nii", ct_values(SHAPE), sheared)
    with pytest.raises(DataError, match="cannot hold this volume"):
        writer(formats=("nrrd",)).write(result_of(case), tmp_path)


def test_volumes_are_counted_in_millilitres(tmp_path: Path) -> None:
    case = file_case(tmp_path / "a.nii", ct_values((20, 20, 20)), np.diag([-0.5, 2, 3, 1]))
    mask = np.zeros((20, 20, 20), dtype=np.uint8)
    mask[:10, :10, :10] = 1  # 1000 voxels of 3 mm3: 3 ml
    mask[19, 19, 19] = 2
    written = writer().write(result_of(case, mask, flags=("one", "two")), tmp_path)
    rows = [tuple(row.values()) for row in written.rows["volumes"]]
    remarks = "one|two|touches the border of the scan: airway, wall"
    assert rows == [
        ("a.nii", "airway", 1000, "3.000", remarks),
        ("a.nii", "wall", 1, "0.003", remarks),
    ]
    assert writer().collect(iter([(case, written)]), tmp_path) == ("volumes.csv",)
    with (tmp_path / "volumes.csv").open(newline="") as text:
        table = list(csv.DictReader(text))
    assert [(row["case_id"], row["class"], row["volume_ml"]) for row in table] == [
        ("a.nii", "airway", "3.000"),
        ("a.nii", "wall", "0.003"),
    ]
    assert all(row["remarks"].startswith("one|two") for row in table)


def test_an_empty_mask_is_an_empty_nifti_and_no_seg(tmp_path: Path) -> None:
    case = series_case(tmp_path / "in")
    empty = np.zeros(SHAPE, dtype=np.uint8)
    written = writer(formats=("nifti", "dicom-seg")).write(result_of(case, empty), tmp_path / "out")
    expected = {f"masks/{case.id}.nii.gz", f"thumbnails/{case.id}.png"}
    assert set(contents(tmp_path / "out")) == set(written.files) == expected
    assert {row["remarks"] for row in written.rows["volumes"]} == {"nothing found|no DICOM-SEG: empty mask"}
    assert written.flags == ("nothing found",)


def test_a_file_that_is_no_series_gets_no_seg(tmp_path: Path) -> None:
    case = file_case(tmp_path / "a.nii", ct_values(SHAPE))
    written = writer(formats=("nifti", "dicom-seg")).write(result_of(case), tmp_path)
    assert written.files == ("masks/a.nii.gz", "thumbnails/a.png")
    assert "no DICOM series" in written.rows["volumes"][0]["remarks"]
    with pytest.raises(DataError, match="cannot be answered as DICOM-SEG"):
        writer(formats=("dicom-seg",)).write(result_of(case), tmp_path)


@pytest.mark.parametrize("formats", [("nifti",), ("nrrd", "mha"), ("dicom-seg",)])
def test_writing_again_gives_the_same_bytes(tmp_path: Path, formats: tuple[str, ...]) -> None:
    result = result_of(series_case(tmp_path / "in"))
    for name in ("one", "two"):
        writer(formats=formats).write(result, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == len(formats) + 1  # and the thumbnail


def test_no_patient_is_named_anywhere_at_level_none(tmp_path: Path) -> None:
    case = series_case(tmp_path / "in" / PATIENT)
    level = writer(formats=("nifti", "nrrd", "mha"), anonymise="none")
    written = level.write(result_of(case), tmp_path / "out")
    level.collect(iter([(case, written)]), tmp_path / "out")
    level.collect_outcomes(iter([Outcome(case, "ok", "", written)]), tmp_path / "out")
    found = contents(tmp_path / "out")
    assert len(found) == 7
    source = pydicom.dcmread(case.all_files()[0].path or "")
    secrets = [
        PATIENT,
        "Mustermann",
        "PAT-4711",
        "19610203",
        "ACC-0099",
        "20240229",
        str(source.StudyInstanceUID),
    ]
    for name, content in found.items():
        for secret in secrets:
            assert secret not in name
            assert secret.encode() not in content, (name, secret)


def test_pseudonyms_lie_outside_the_outputs_and_hold_over_runs(tmp_path: Path) -> None:
    result = result_of(series_case(tmp_path / "in"))
    options: dict[str, Any] = {"formats": ("dicom-seg",), "anonymise": "pseudo"}
    name, thumbnail = writer(**options).write(result, tmp_path / "out").files
    before = contents(tmp_path / "out")
    assert set(before) == {name, thumbnail}
    assert (tmp_path / "out.pseudonyms" / "key").exists()
    writer(**options).write(result, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert b"Mustermann" not in before[name]
    with pytest.raises(ConfigError, match="must not lie among the outputs"):
        writer(**options, pseudonyms=tmp_path / "out" / "who").write(result, tmp_path / "out")
    writer(**options, pseudonyms=tmp_path / "elsewhere").write(result, tmp_path / "out")
    assert contents(tmp_path / "out") != before


def test_kept_identity_matches_the_study(tmp_path: Path) -> None:
    result = result_of(series_case(tmp_path / "in"))
    name = writer(formats=("dicom-seg",)).write(result, tmp_path).files[0]
    seg = pydicom.dcmread(tmp_path / name)
    assert seg.PatientName == PATIENT
    assert seg.StudyInstanceUID == uid("study")


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="belongs to a patient"):
        VolumeOutput(formats=("dicom-seg",), anonymise="none")
    with pytest.raises(ValidationError):
        VolumeOutput(formats=())
    with pytest.raises(ValidationError):
        VolumeOutput.model_validate({"formats": "nifti,jpeg"})
    with pytest.raises(ConfigError, match="writes masks"):
        VolumeWriter(CONFIG, TargetSpec(kind="class", classes=("a", "b")))


def test_a_changed_model_gives_seg_other_uids(tmp_path: Path) -> None:
    result = result_of(series_case(tmp_path / "in"))
    uids = set()
    for digest in ("one", "two"):
        options = VolumeOutput(formats=("dicom-seg",))
        changed = VolumeWriter(CONFIG, TARGET, options=options, model_digest=digest)
        name = changed.write(result, tmp_path).files[0]
        uids.add(pydicom.dcmread(tmp_path / name).SOPInstanceUID)
    assert len(uids) == 2


def test_results_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    case = file_case(tmp_path / "a.nii", ct_values(SHAPE))
    result = result_of(case)
    for wrong in (None, mask_of((6, 8, 4)), mask_of().astype(np.int64)):
        with pytest.raises(TypeError, match="expected a mask"):
            writer().write(replace(result, mask=wrong), tmp_path)
    with pytest.raises(DataError, match="is no class"):
        writer().write(replace(result, mask=np.full(SHAPE, 3, dtype=np.uint8)), tmp_path)
    file_case(tmp_path / "a.nii", ct_values(SHAPE), OBLIQUE + np.diag([0.3, 0, 0, 0]))
    with pytest.raises(DataError, match="lies elsewhere"):
        writer().write(result, tmp_path)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = file_case(tmp_path / "a.nii", ct_values(SHAPE))
    result = result_of(case)
    monkeypatch.setattr("gzip.GzipFile.write", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(OSError, match="disk full"):
        writer().write(result, tmp_path / "out")
    assert not contents(tmp_path / "out")


def test_names_of_files_follow_the_case() -> None:
    assert output_name("hippocampus_001") == "hippocampus_001"
    assert output_name("sub/a.nii.gz") == "sub/a"
    assert output_name("A.NRRD") == "A"
    assert output_name("0ab12cd34ef5") == "0ab12cd34ef5"
    assert output_name(".nii.gz") != ""
    odd = [output_name(name) for name in ("Müller Hans", "Müller_Hans", "Möller Hans", "x" * 200, "x" * 201)]
    assert len(set(odd)) == 5
    assert all(part.isascii() and " " not in part and len(part) < 110 for part in odd)


def test_written_is_the_cores_record(tmp_path: Path) -> None:
    case = file_case(tmp_path / "a.nii", ct_values(SHAPE))
    assert isinstance(writer().write(result_of(case), tmp_path), Written)
    write_mask(tmp_path / "b.nii", mask_of(), VolumeReader().open(case).grid, like=tmp_path / "a.nii")
    np.testing.assert_array_equal(nibabel.load(tmp_path / "b.nii").dataobj, mask_of())


def test_a_scan_unlike_the_training_scans_is_remarked_on_with_the_reason(tmp_path: Path) -> None:
    case = file_case(tmp_path / "a.nii", ct_values(SHAPE))
    facts = look_at(VolumeReader().open(case))
    scheme = CTConfig(low=-1000, high=500, mean=0, std=1)
    like = seen_scans([facts], [scheme])
    thin = seen_scans([replace(facts, spacing_mm=(0.7, 0.8, 0.5))], [scheme])
    remark = "unlike the training scans: spacing of 2.52 mm feet to head, not 0.5 to 0.5"
    for seen, flags in ((None, ()), (like, ()), (thin, (remark,))):
        config = VolumeConfig(pipeline="volumes", preset="smoke", scans=seen)
        written = VolumeWriter(config, TARGET).write(result_of(case), tmp_path / "out")
        assert tuple(flag for flag in written.flags if "training" in flag) == flags
        assert all((remark in row["remarks"]) == bool(flags) for row in written.rows["volumes"])
