"""DICOM-SEG: round trips in four orientations, references, and the same bytes each time."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from tessera.core.errors import DataError
from tessera.medical.anonymise import Pseudonyms
from tessera.medical.dicom_seg import STRUCTURES, MaskOrigin, paste, read_seg, structure_code, write_seg
from tessera.medical.dicom_series import SeriesLayout, series_layout
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.nifti import new_header, write_nifti

from .dicom_files import ORIENTATIONS, PATIENT, ct_values, enhanced_dataset, series_datasets, write_series

SHAPE = (6, 8, 5)
CLASSES = ("background", "airway", "left thing")
ORIGIN = MaskOrigin(name="airway smoke", version="0.1", digest="ab" * 32)


class Later(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Later:
        return cls(2031, 5, 6, 7, 8, 9, tzinfo=tz)


def layout_of(folder: Path) -> SeriesLayout:
    return series_layout(sorted(folder.iterdir()), name="case x")


def mask_of(shape: Sequence[int] = SHAPE) -> np.ndarray:
    """Two slices of five hold something, with an empty one between them; nothing is symmetric."""
    mask = np.zeros(tuple(shape), dtype=np.uint8)
    mask[1:3, 2:6, 1] = 1
    mask[4, 1:3, 3] = 2
    mask[0, 7, 3] = 1
    return mask


def written(path: Path, mask: np.ndarray, layout: SeriesLayout, **options: Any) -> Path:
    assert write_seg(path, mask, layout, classes=CLASSES, origin=ORIGIN, **options)
    return path


@pytest.fixture(params=ORIENTATIONS)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> SeriesLayout:
    datasets = series_datasets(ct_values(SHAPE), orientation=ORIENTATIONS[request.param])
    return layout_of(write_series(tmp_path / "dicom", datasets))


@pytest.fixture
def axial(tmp_path: Path) -> SeriesLayout:
    return layout_of(write_series(tmp_path / "dicom", series_datasets(ct_values(SHAPE))))


@pytest.mark.parametrize("omit", [True, False])
def test_a_mask_comes_back_in_four_orientations(tmp_path: Path, layout: SeriesLayout, omit: bool) -> None:
    mask = mask_of()
    path = written(tmp_path / "a.dcm", mask, layout, omit_empty_frames=omit)
    found, grid = read_seg(path, layout.grid)
    np.testing.assert_array_equal(found, mask)
    assert grid == layout.grid
    own, own_grid = read_seg(path)
    for label in (1, 2):  # every voxel at its place in space
        expected = layout.grid.to_world(np.argwhere(mask == label))
        places = own_grid.to_world(np.argwhere(own == label))
        np.testing.assert_allclose(sorted(places.tolist()), sorted(expected.tolist()), atol=1e-5)


def test_seg_and_nifti_of_one_mask_lie_at_the_same_place(tmp_path: Path, layout: SeriesLayout) -> None:
    mask = mask_of()
    write_nifti(tmp_path / "a.nii.gz", mask, new_header(layout.grid))
    image = nibabel.load(tmp_path / "a.nii.gz")
    grid = VolumeGeometry.of(image.shape, image.affine)
    own, own_grid = read_seg(written(tmp_path / "a.dcm", mask, layout))
    np.testing.assert_array_equal(paste(own, own_grid, grid), np.asarray(image.dataobj))


def test_frames_lie_where_highdicom_puts_the_source_images(tmp_path: Path, layout: SeriesLayout) -> None:
    """The library's own volume of the source images, compared by places in space."""
    mask = mask_of()
    seg = highdicom.seg.segread(written(tmp_path / "a.dcm", mask, layout)).get_volume(combine_segments=True)
    source = highdicom.image.get_volume_from_series([pydicom.dcmread(one.path) for one in layout.slices])
    matched = seg.match_geometry(source)
    places = np.argwhere(matched.array == 1) @ matched.affine[:3, :3].T + matched.affine[:3, 3]
    expected = layout.grid.to_world(np.argwhere(mask == 1)) * (-1, -1, 1)
    np.testing.assert_allclose(sorted(places.tolist()), sorted(expected.tolist()), atol=1e-5)


@pytest.mark.parametrize(("omit", "frames"), [(True, 3), (False, 10)])
def test_empty_frames_are_left_out_or_kept(
    tmp_path: Path, axial: SeriesLayout, omit: bool, frames: int
) -> None:
    path = written(tmp_path / "a.dcm", mask_of(), axial, omit_empty_frames=omit)
    assert pydicom.dcmread(path).NumberOfFrames == frames  # slices with a segment, or slices x segments


def test_an_empty_mask_is_not_written(tmp_path: Path, axial: SeriesLayout) -> None:
    empty = np.zeros(SHAPE, dtype=np.uint8)
    assert not write_seg(tmp_path / "a.dcm", empty, axial, classes=CLASSES, origin=ORIGIN)
    assert not (tmp_path / "a.dcm").exists()


def test_a_mask_in_one_slice_comes_back(tmp_path: Path, axial: SeriesLayout) -> None:
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[2, 3, 4] = 2
    np.testing.assert_array_equal(read_seg(written(tmp_path / "a.dcm", mask, axial), axial.grid)[0], mask)


def test_a_series_of_one_slice_comes_back(tmp_path: Path) -> None:
    layout = layout_of(write_series(tmp_path / "d", series_datasets(ct_values((6, 8, 1)))))
    mask = mask_of()[:, :, 1:2]
    np.testing.assert_array_equal(read_seg(written(tmp_path / "a.dcm", mask, layout), layout.grid)[0], mask)


def test_the_same_mask_is_the_same_bytes_and_another_has_other_uids(
    tmp_path: Path, axial: SeriesLayout
) -> None:
    first = written(tmp_path / "1.dcm", mask_of(), axial)
    second = written(tmp_path / "2.dcm", mask_of(), axial)
    assert first.read_bytes() == second.read_bytes()
    other = mask_of()
    other[0, 0, 0] = 1
    uids = [
        pydicom.dcmread(path).SOPInstanceUID for path in (first, written(tmp_path / "3.dcm", other, axial))
    ]
    assert uids[0] != uids[1]
    assert write_seg(
        tmp_path / "4.dcm",
        mask_of(),
        axial,
        classes=CLASSES,
        origin=MaskOrigin(name="b", version="1", digest="c"),
    )
    assert pydicom.dcmread(tmp_path / "4.dcm").SOPInstanceUID not in uids


def test_the_clock_does_not_enter(
    tmp_path: Path, axial: SeriesLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = written(tmp_path / "1.dcm", mask_of(), axial)
    later = SimpleNamespace(**vars(datetime) | {"datetime": Later})
    for module in ("highdicom.base", "highdicom.base_content"):
        monkeypatch.setattr(f"{module}.datetime", later)
    assert written(tmp_path / "2.dcm", mask_of(), axial).read_bytes() == first.read_bytes()
    assert pydicom.dcmread(first).ContentDate == "20240229"


def test_every_source_image_is_referred_to_and_the_study_is_kept(tmp_path: Path, axial: SeriesLayout) -> None:
    seg = pydicom.dcmread(written(tmp_path / "a.dcm", mask_of(), axial))
    sources = [pydicom.dcmread(one.path) for one in axial.slices]
    named = {
        item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert named == {one.SOPInstanceUID for one in sources}
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "AccessionNumber"):
        assert seg[keyword].value == sources[0][keyword].value
    assert seg.SeriesInstanceUID != sources[0].SeriesInstanceUID
    assert seg.SeriesNumber >= 100


def test_segments_say_what_they_are_and_who_found_them(tmp_path: Path, axial: SeriesLayout) -> None:
    seg = pydicom.dcmread(written(tmp_path / "a.dcm", mask_of(), axial))
    assert seg.SegmentationType == "BINARY"
    airway, thing = seg.SegmentSequence
    assert [airway.SegmentLabel, thing.SegmentLabel] == ["airway", "left thing"]
    assert airway.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    assert airway.SegmentedPropertyTypeCodeSequence[0].CodeValue == codes.SCT.AirwayStructure.value
    assert thing.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99TESSERA"
    assert airway.SegmentAlgorithmType == "AUTOMATIC"
    algorithm = airway.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("airway smoke", "0.1")
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == codes.DCM.ArtificialIntelligence.value
    assert airway.RecommendedDisplayCIELabValue != thing.RecommendedDisplayCIELabValue


def test_codes_are_those_of_the_standard() -> None:
    for name, code in STRUCTURES.items():
        keyword = {"airway": "AirwayStructure"}.get(name, name.capitalize())
        assert code.value == getattr(codes.SCT, keyword).value
    assert structure_code("Lungs") == STRUCTURES["lung"]


def test_what_an_anonymised_archive_left_out_is_filled(tmp_path: Path) -> None:
    datasets = series_datasets(ct_values(SHAPE))
    for dataset in datasets:
        for keyword in (
            "SOPClassUID",
            "SOPInstanceUID",
            "SeriesInstanceUID",
            "StudyInstanceUID",
            "PatientID",
        ):
            setattr(dataset, keyword, "")
        for keyword in ("PatientName", "AccessionNumber", "StudyDate", "StudyTime"):
            delattr(dataset, keyword)
    folder = tmp_path / "dicom"
    folder.mkdir()
    for number, dataset in enumerate(datasets):
        dataset.save_as(folder / f"{number}")
    layout = layout_of(folder)
    path = written(tmp_path / "a.dcm", mask_of(), layout)
    np.testing.assert_array_equal(read_seg(path, layout.grid)[0], mask_of())


def test_masks_of_enhanced_multi_frame_images_come_back(tmp_path: Path) -> None:
    dataset = enhanced_dataset(ct_values(SHAPE), [3, 0, 4, 1, 2])
    layout = layout_of(write_series(tmp_path / "dicom", [dataset]))
    for pseudonyms in (None, Pseudonyms.open(tmp_path / "key")):
        path = written(tmp_path / "a.dcm", mask_of(), layout, pseudonyms=pseudonyms)
        np.testing.assert_array_equal(read_seg(path, layout.grid)[0], mask_of())


def test_masks_for_other_grids_and_damaged_files_are_refused(tmp_path: Path, axial: SeriesLayout) -> None:
    with pytest.raises(ValueError, match="for a series"):
        write_seg(tmp_path / "a.dcm", mask_of()[1:], axial, classes=CLASSES, origin=ORIGIN)
    path = written(tmp_path / "a.dcm", mask_of(), axial)
    wider = VolumeGeometry.of(SHAPE, axial.grid.matrix @ np.diag([1.01, 1, 1, 1]))
    with pytest.raises(DataError, match="not made on this grid"):
        read_seg(path, wider)
    with pytest.raises(DataError, match="outside the grid"):
        read_seg(path, VolumeGeometry.of((2, 2, 2), axial.grid.matrix))
    path.write_bytes(path.read_bytes()[:500])
    for name in ("a.dcm", "missing.dcm"):
        with pytest.raises(DataError, match=name):
            read_seg(tmp_path / name)
    with pytest.raises(DataError):
        read_seg(axial.slices[0].path)


def test_pseudonyms_replace_everything_that_names_the_patient(tmp_path: Path, axial: SeriesLayout) -> None:
    pseudonyms = Pseudonyms(bytes(range(32)), tmp_path / "key")
    path = written(tmp_path / "a.dcm", mask_of(), axial, pseudonyms=pseudonyms, case_id="x")
    content = path.read_bytes()
    source = pydicom.dcmread(axial.slices[0].path)
    for secret in (PATIENT, "PAT-4711", "19610203", "ACC-0099", "Hausarzt", "20240229", "101112"):
        assert secret.encode() not in content, secret
    for one in axial.slices:
        header = pydicom.dcmread(one.path)
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
            assert str(header[keyword].value).encode() not in content
    seg = pydicom.dcmread(path)
    assert seg.PatientIdentityRemoved == "YES"
    assert "Tessera" in seg.DeidentificationMethod
    assert seg.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert seg.StudyInstanceUID == pseudonyms.uid(source.StudyInstanceUID)
    assert seg.PatientID == pseudonyms.patient(" PAT-4711")
    assert seg.PatientName.family_name == seg.PatientID
    np.testing.assert_array_equal(read_seg(path, axial.grid)[0], mask_of())
    again = written(tmp_path / "b.dcm", mask_of(), axial, pseudonyms=pseudonyms, case_id="x")
    assert again.read_bytes() == content
