"""Scans of other people: each is read where other programs put it, or refused for its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tessera.core.data.case import FileRef, Source
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError
from tessera.core.inference.interfaces import CaseResult
from tessera.core.run_config import RunConfig
from tessera.medical.dicom_seg import read_seg
from tessera.medical.output_config import VolumeOutput
from tessera.medical.planning.data_config import CTConfig
from tessera.medical.readers import VolumeReader
from tessera.medical.scan_facts import look_at, seen_scans, unlike
from tessera.medical.writers import VolumeWriter

pytestmark = [
    pytest.mark.real,
    # pydicom remarks on these files' own faults, as values that do not fit their type
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom"),
]


def values(source: Source) -> np.ndarray:
    return np.asarray(source.read()["input"].numpy())


def test_every_file_of_dicom_small_is_read_or_refused_for_its_reason(real_data_root: Path) -> None:
    reader = VolumeReader()
    singles = {
        "693_J2KI.dcm": (512, 512, 1),
        "CT_small.dcm": (128, 128, 1),
        "MR_small.dcm": (64, 64, 1),
        "MR_small_RLE.dcm": (64, 64, 1),
        "MR_small_bigendian.dcm": (64, 64, 1),
        "MR_small_implicit.dcm": (64, 64, 1),
        "MR_small_padded.dcm": (64, 64, 1),
        "examples_overlay.dcm": (484, 300, 1),
        "MR_truncated.dcm": "8130 vs 8192 bytes",
        "ExplVR_BigEnd.dcm": "colour",
        "SC_rgb_rle_2frame.dcm": "colour",
        "examples_jpeg2k.dcm": "colour",
        "examples_palette.dcm": "colour",
        "examples_rgb_color.dcm": "colour",
        "examples_ybr_color.dcm": "colour",
        "JPEG-lossy.dcm": "without a place in the patient",
        "JPEG2000.dcm": "without a place in the patient",
        "JPGExtended.dcm": "without a place in the patient",
        "no_meta.dcm": "cannot read the DICOM file",
        "liver_1frame.dcm": "but no image",
        "reportsi.dcm": "but no image",
        "rtdose_1frame.dcm": "but no image",
        "rtstruct.dcm": "but no image",
        "waveform_ecg.dcm": "but no image",
    }
    folder = real_data_root / "dicom_small"
    assert set(singles) == {file.name for file in folder.glob("*.dcm")}
    for name, expected in singles.items():
        if isinstance(expected, tuple):
            (case,) = reader.find(folder / name)
            assert reader.open(case).grid.shape == expected, name
            continue
        with pytest.raises(DataError) as error:
            (case,) = reader.find(folder / name)
            reader.open(case)
        assert expected in str(error.value), name


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("98892001/CT5N", [(16, 16, 5)]),
        ("98892003/MR1", [(16, 16, 1)] * 3),
        ("98892001/CT2N", ["is a localizer"]),
        ("77654033/CT2", ["a step of 202.500 mm"]),
        ("77654033/CR1", ["without a place in the patient"]),
        ("98892003/MR700", ["differ in orientation"]),
        ("98892003/MR2", [(16, 16, 1), "differ in orientation", "differ in orientation"]),
    ],
)
def test_the_series_of_dicom_small_are_read_or_refused(
    real_data_root: Path, folder: str, expected: list[Any]
) -> None:
    reader = VolumeReader()
    found: list[Any] = []
    for case in reader.find(real_data_root / "dicom_small" / "series" / folder):
        try:
            found.append(reader.open(case).grid.shape)
        except DataError as error:
            found.append(str(error))
    assert len(found) == len(expected)
    for wanted in expected:
        match = next(
            one for one in found if one == wanted or (isinstance(wanted, str) and wanted in str(one))
        )
        found.remove(match)


def test_a_real_series_of_another_modality_is_refused(real_data_root: Path) -> None:
    reader = VolumeReader()
    series = real_data_root / "dicom_small" / "series"
    (ct,), mr = reader.find(series / "98892001" / "CT5N"), reader.find(series / "98892003" / "MR1")
    reader.modalities = ("CT",)
    assert reader.open(ct).grid.shape == (16, 16, 5)
    for case in mr:
        with pytest.raises(DataError, match="another modality") as error:
            reader.open(case)
        assert error.value.found == "a DICOM series of modality MR"


def test_a_real_ct_is_unlike_a_real_mr_and_like_itself(real_data_root: Path) -> None:
    reader = VolumeReader()
    (ct,), (mr,) = (
        reader.find(real_data_root / "ct_mr_example" / f"{name}.nii.gz") for name in ("ct_full", "mr_crop")
    )
    scheme = CTConfig(low=-1000, high=500, mean=0, std=1)
    facts = {case.id: look_at(reader.open(case)) for case in (ct, mr)}
    seen = seen_scans([facts[ct.id]], [scheme])
    assert unlike(facts[ct.id], seen) == ()
    assert any("low value" in remark for remark in unlike(facts[mr.id], seen))


def test_every_volume_of_ct_mr_example_is_read_where_nibabel_puts_it(real_data_root: Path) -> None:
    reader = VolumeReader()
    cases = reader.find(real_data_root / "ct_mr_example")
    assert len(cases) == 13
    for case in cases:
        source = reader.open(case)
        if isinstance(case.files["image"], FileRef):
            image = nibabel.load(case.path("image"))
            assert source.grid.matrix.tobytes() == image.affine.tobytes()
            np.testing.assert_array_equal(values(source)[0], image.get_fdata(dtype=np.float32))
    assert json.loads((real_data_root / "ct_mr_example" / "label_names.json").read_text())


def test_the_real_series_and_its_nifti_twin_lie_at_the_same_place(real_data_root: Path) -> None:
    """The twin is a label map made from the same images with rows stored the other way round."""
    folder = real_data_root / "ct_mr_example"
    reader = VolumeReader()
    (case,) = reader.find(folder / "ct_dicom")
    source, twin = reader.open(case), nibabel.load(folder / "ct_dicom_seg.nii.gz")
    move = np.linalg.solve(twin.affine, source.grid.matrix)  # our indices to the twin's
    np.testing.assert_allclose(move, np.rint(move), atol=1e-3)
    corners = np.rint(move @ [[0, 511], [0, 511], [0, 19], [1, 1]])[:3].astype(int)
    assert np.array_equal(np.sort(corners, axis=1), [[0, 511], [0, 511], [0, 19]])
    labels = nibabel.as_closest_canonical(twin).get_fdata().astype(int)
    axes, flips = source.grid.towards_ras()
    turned = values(source)[0].transpose(axes)
    image = np.flip(turned, tuple(np.flatnonzero(flips)))
    names = json.loads((folder / "label_names.json").read_text())
    number = {name: int(key) for key, name in names.get("total", names).items() if isinstance(name, str)}
    bone = [n for name, n in number.items() if "vertebrae" in name or "hip" in name or "rib" in name]
    hard, soft = np.isin(labels, bone), labels == 0
    assert hard.sum() > 1000
    assert image[hard].mean() > 150 > image[soft].mean()


def test_a_real_series_is_answered_at_its_place(real_data_root: Path, tmp_path: Path) -> None:
    """Bone by its density, as NIfTI and as DICOM-SEG; this archive was emptied of its UIDs."""
    (case,) = VolumeReader().find(real_data_root / "ct_mr_example" / "ct_dicom")
    source = VolumeReader().open(case)
    mask = (values(source)[0] > 300).astype(np.uint8)
    config = RunConfig(pipeline="volumes", preset="unet")
    spec = TargetSpec(kind="mask", classes=("background", "bone"))
    options = VolumeOutput(formats=("nifti", "dicom-seg"))
    empty = np.zeros((0, 2), dtype=np.float32)
    counts = np.bincount(mask.ravel())
    result = CaseResult(case, source.grid, (), empty, counts, mask=mask)
    masks, seg = VolumeWriter(config, spec, options=options).write(result, tmp_path).files[:2]
    np.testing.assert_array_equal(read_seg(tmp_path / seg, source.grid)[0], mask)
    image = nibabel.load(tmp_path / masks)
    np.testing.assert_array_equal(np.asarray(image.dataobj), mask)
    np.testing.assert_allclose(image.affine, source.grid.matrix, atol=1e-4)
