"""DICOM series: the volume they form, against SimpleITK, and each way in which they are refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import JPEG2000Lossless, RLELossless

from tessera.core.data.geometry import Region
from tessera.core.errors import DataError
from tessera.medical.dicom_series import open_series, series_layout
from tessera.medical.stored_volume import NO_HU, ONE_SLICE, StoredVolume

from .dicom_files import (
    ORIENTATIONS,
    ct_values,
    enhanced_dataset,
    series_datasets,
    slice_dataset,
    uid,
    write_series,
)

SHAPE = (6, 8, 5)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def opened(folder: Path) -> StoredVolume:
    return open_series(files(folder), name="case x")


def whole(volume: StoredVolume) -> np.ndarray:
    return volume.values(volume.whole)[0]


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as error:
        opened(folder)
    assert "case x" in str(error.value)
    return str(error.value)


def itk_volume(folder: Path) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def itk_affine(image: SimpleITK.Image) -> np.ndarray:
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ lps


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_values_and_place_are_those_of_simpleitk(tmp_path: Path, name: str) -> None:
    values = ct_values(SHAPE)
    write_series(tmp_path, series_datasets(values, orientation=ORIENTATIONS[name]))
    volume, oracle = opened(tmp_path), itk_volume(tmp_path)
    np.testing.assert_allclose(volume.grid.matrix, itk_affine(oracle), atol=1e-6)
    np.testing.assert_array_equal(whole(volume), SimpleITK.GetArrayFromImage(oracle).transpose(2, 1, 0))
    np.testing.assert_array_equal(whole(volume), values - 1024.0)


def test_the_affine_is_the_standards_formula(tmp_path: Path) -> None:
    write_series(tmp_path, series_datasets(ct_values(SHAPE)))
    expected = [[-0.8, 0, 0, 10], [0, -0.7, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(opened(tmp_path).grid.matrix, expected, atol=1e-9)


def test_the_order_of_files_and_of_instance_numbers_does_not_matter(tmp_path: Path) -> None:
    datasets = series_datasets(ct_values(SHAPE))
    first = opened(write_series(tmp_path / "a", datasets))
    for number, dataset in enumerate(datasets):
        dataset.InstanceNumber = 99 - 7 * number % 5
    second = opened(write_series(tmp_path / "b", datasets, seed=3))
    np.testing.assert_array_equal(whole(first), whole(second))
    assert first.grid == second.grid


def test_each_slice_has_its_own_rescale_also_in_a_region(tmp_path: Path) -> None:
    values = ct_values((6, 8, 20))
    datasets = series_datasets(values)
    for k, dataset in enumerate(datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = 1 + k / 4, -1000 - k
    volume = opened(write_series(tmp_path, datasets))
    k = np.arange(20)
    expected = np.maximum(values * (1 + k / 4) - 1000 - k, -1024)
    np.testing.assert_allclose(whole(volume), expected, rtol=1e-6)
    region = Region((1, 2, 13), (5, 7, 19))
    np.testing.assert_allclose(volume.values(region)[0], expected[1:5, 2:7, 13:19], rtol=1e-6)


def test_padding_of_ct_is_raised_to_air_and_other_modalities_are_left(tmp_path: Path) -> None:
    values = ct_values(SHAPE)
    values[0, 0] = -2000
    options: dict[str, Any] = {"slope": None, "intercept": None, "PixelPaddingValue": -2000}
    ct = opened(write_series(tmp_path / "ct", series_datasets(values, **options)))
    assert whole(ct).min() == -1024
    mr = opened(write_series(tmp_path / "mr", series_datasets(values, Modality="MR", **options)))
    assert whole(mr).min() == -2000


def test_ct_without_air_is_remarked(tmp_path: Path) -> None:
    values = ct_values(SHAPE)
    raw = opened(write_series(tmp_path / "raw", series_datasets(values, slope=None, intercept=None)))
    assert raw.remarks == (NO_HU,)
    assert opened(write_series(tmp_path / "hu", series_datasets(values))).remarks == ()
    mr = series_datasets(values, slope=None, intercept=None, Modality="MR")
    assert opened(write_series(tmp_path / "mr", mr)).remarks == ()


def test_one_slice_takes_its_thickness(tmp_path: Path) -> None:
    volume = opened(write_series(tmp_path, series_datasets(ct_values((6, 8, 1)), SliceThickness=4.0)))
    assert volume.grid.shape == (6, 8, 1)
    assert volume.grid.spacing == pytest.approx((0.8, 0.7, 4.0))
    assert volume.remarks == (ONE_SLICE,)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_pixels_are_decoded(tmp_path: Path, syntax: str) -> None:
    values = np.abs(ct_values((32, 32, 2))).astype(np.uint16)
    datasets = series_datasets(values)
    if syntax == JPEG2000Lossless:
        frames = pytest.importorskip("openjpeg", reason="pylibjpeg-openjpeg encodes")
        assert frames
    for dataset in datasets:
        dataset.compress(syntax, generate_instance_uid=False)
    np.testing.assert_array_equal(whole(opened(write_series(tmp_path, datasets))), values - 1024.0)


@pytest.mark.parametrize("drop", [1, 2, 3])
def test_a_missing_slice_is_refused_with_its_place(tmp_path: Path, drop: int) -> None:
    datasets = series_datasets(ct_values((4, 4, 6)))
    text = refused(write_series(tmp_path, datasets[:drop] + datasets[drop + 1 :]))
    assert "misses slices" in text
    assert "1 of 6 slices are not there" in text
    assert f"{30 + 2.5 * (drop - 1):.3f} mm" in text


@pytest.mark.parametrize(("error_mm", "accepted"), [(0.02, True), (0.04, False), (-0.04, False)])
def test_steps_may_differ_by_one_percent(tmp_path: Path, error_mm: float, accepted: bool) -> None:
    datasets = series_datasets(ct_values((4, 4, 6)))
    place = datasets[3].ImagePositionPatient
    datasets[3].ImagePositionPatient = [place[0], place[1], float(place[2]) + error_mm]
    folder = write_series(tmp_path, datasets)
    if accepted:
        assert opened(folder).grid.spacing[2] == pytest.approx(2.5)
        return
    assert "uneven distances" in refused(folder)


def test_several_images_at_one_place_are_refused_with_what_tells_them_apart(tmp_path: Path) -> None:
    phases = [
        series_datasets(ct_values(SHAPE, seed=phase), AcquisitionNumber=phase, series="s") for phase in (1, 2)
    ]
    for dataset in phases[1]:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid(dataset.SOPInstanceUID)
    text = refused(write_series(tmp_path, phases[0] + phases[1]))
    assert "several images at the same place" in text
    assert "5 of 10" in text
    assert "differ in AcquisitionNumber" in text


def test_a_file_that_was_copied_twice_counts_once(tmp_path: Path) -> None:
    folder = write_series(tmp_path, series_datasets(ct_values(SHAPE)))
    before = whole(opened(folder))
    shutil.copy(files(folder)[2], folder / "Copy of IM0002")
    np.testing.assert_array_equal(whole(opened(folder)), before)
    changed = pydicom.dcmread(files(folder)[2])
    changed.WindowCenter = 40
    changed.save_as(folder / "not quite a copy")
    assert "same place" in refused(folder)


def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path: Path) -> None:
    datasets = series_datasets(ct_values((4, 4, 6)))
    for k, dataset in enumerate(datasets):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, float(y) + k * 2.5 * np.tan(np.radians(12)), z]
    text = refused(write_series(tmp_path, datasets))
    assert "gantry tilt" in text
    assert "12.0 degrees" in text


def test_rounded_positions_are_no_tilt(tmp_path: Path) -> None:
    datasets = series_datasets(ct_values((4, 4, 6)), orientation=ORIENTATIONS["oblique"])
    rng = np.random.default_rng(0)
    for dataset in datasets:
        place = np.array(dataset.ImagePositionPatient, dtype=float)
        dataset.ImagePositionPatient = [round(float(v), 3) for v in place + rng.uniform(-4e-4, 4e-4, 3)]
    assert opened(write_series(tmp_path, datasets)).grid.shape == (4, 4, 6)


def changed(index: int, **elements: Any) -> list[Any]:
    datasets = series_datasets(ct_values(SHAPE))
    for keyword, value in elements.items():
        if value is None:
            delattr(datasets[index], keyword)
        else:
            setattr(datasets[index], keyword, value)
    return datasets


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"ImageOrientationPatient": list(ORIENTATIONS["coronal"])}, "differ in orientation"),
        ({"PixelSpacing": [0.7, 0.9]}, "differ in pixel spacing"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "holds localizers"),
        ({"PatientID": "another"}, "differ in patient or study"),
        ({"Rows": 6, "Columns": 8}, "differ in size"),
        ({"PixelSpacing": None}, "how large its pixels are"),
        ({"ImagePositionPatient": None}, "without a place in the patient"),
        ({"ImageOrientationPatient": None}, "without a place in the patient"),
        ({"RescaleSlope": 0}, "RescaleSlope"),
        ({"NumberOfFrames": 3}, "film of 3 frames"),
    ],
)
def test_an_image_that_does_not_belong_is_refused(tmp_path: Path, elements: Any, words: str) -> None:
    assert words in refused(write_series(tmp_path, changed(2, **elements)))


def test_patients_are_not_named_in_messages(tmp_path: Path) -> None:
    text = refused(write_series(tmp_path, changed(2, PatientID="Mustermann4711")))
    assert "Mustermann" not in text


def test_localizers_alone_are_refused(tmp_path: Path) -> None:
    kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    assert "is a localizer" in refused(
        write_series(tmp_path, series_datasets(ct_values(SHAPE), ImageType=kind))
    )


def test_colour_images_are_refused(tmp_path: Path) -> None:
    rgb = slice_dataset(
        np.zeros((4, 4, 3), dtype=np.uint8), SamplesPerPixel=3, PhotometricInterpretation="RGB"
    )
    assert "colour images" in refused(write_series(tmp_path, [rgb]))


def test_skewed_cosines_are_refused(tmp_path: Path) -> None:
    skewed = (1, 0, 0, 0.1, 0.99, 0)
    assert "right angles" in refused(
        write_series(tmp_path, series_datasets(ct_values(SHAPE), orientation=skewed))
    )


@pytest.mark.parametrize("keep", [0, 100, 200, 0.7, 0.99])
def test_a_damaged_file_in_the_middle_is_refused_by_name(tmp_path: Path, keep: float) -> None:
    folder = write_series(tmp_path, series_datasets(ct_values((32, 32, 5))))
    bad = files(folder)[2]
    content = bad.read_bytes()
    bad.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=bad.name):
        opened(folder)


def test_enhanced_multi_frame_images_are_a_volume(tmp_path: Path) -> None:
    values = ct_values(SHAPE)
    write_series(tmp_path, [enhanced_dataset(values, [3, 0, 4, 1, 2])])
    volume = opened(tmp_path)
    np.testing.assert_allclose(volume.grid.matrix[:3, 3], (10, -20, 30))
    assert volume.grid.spacing == pytest.approx((0.8, 0.7, 2.5))
    np.testing.assert_array_equal(whole(volume), values * (1.0 + np.arange(5)) - 1000)


def test_the_layout_alone_reads_no_pixels(tmp_path: Path) -> None:
    datasets = series_datasets(ct_values(SHAPE))
    for dataset in datasets:
        del dataset.PixelData
    folder = write_series(tmp_path, datasets)
    assert series_layout(files(folder), name="case x").grid.shape == SHAPE
    assert "no pixel data" in refused(folder)
