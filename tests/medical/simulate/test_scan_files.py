"""Round trips through nibabel and pydicom: the axes of the airways lie in the lumen both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK
from scipy.ndimage import map_coordinates

from tessera.core.config import validate
from tessera.medical.simulate import AirwayConfig, Phantom, airway_phantom
from tessera.medical.simulate.scan_files import write_dicom_series, write_json, write_nifti

VALUES: dict[str, Any] = {
    "shape": [56, 44, 60],
    "spacing_mm": [2.2, 2.4, 2.0],
    "vessels": 0,
    "generations": 0,
    "noise_hu": [0.0, 0.0],
}


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return airway_phantom(0, seed=5, config=validate(AirwayConfig, VALUES, source="test"))


def central_axis(phantom: Phantom) -> npt.NDArray[np.float64]:
    """RAS points of the trachea and both main bronchi that lie well inside the view."""
    tree = phantom.person.tree
    points = np.concatenate([tree.named(n).points_mm for n in ("trachea", "right main", "left main")])
    return points[phantom.grid.holds(points) & phantom.grid.holds(points + np.array([0, 0, 6.0]))]


def in_dicom(paths: tuple[Path, ...]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """HU (slices, rows, columns) and the matrix of their indices to LPS, by the standard's formula."""
    files = sorted((pydicom.dcmread(path) for path in paths), key=lambda f: float(f.ImagePositionPatient[2]))
    hu = np.stack([f.pixel_array * float(f.RescaleSlope) + float(f.RescaleIntercept) for f in files])
    first, last = (np.array(f.ImagePositionPatient, float) for f in (files[0], files[-1]))
    along_row, along_column = np.array(files[0].ImageOrientationPatient, float).reshape(2, 3)
    matrix = np.eye(4)
    matrix[:3, 0] = (last - first) / (len(files) - 1)
    matrix[:3, 1] = along_column * float(files[0].PixelSpacing[0])
    matrix[:3, 2] = along_row * float(files[0].PixelSpacing[1])
    matrix[:3, 3] = first
    return hu, matrix


def values_at(
    volume: npt.NDArray[Any], matrix: npt.NDArray[np.float64], points: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    index = (points - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T
    return map_coordinates(volume.astype(float), index.T, order=0, mode="nearest")


def test_axes_lie_in_the_air_of_the_nifti_file(tmp_path: Path, phantom: Phantom) -> None:
    write_nifti(tmp_path / "a.nii.gz", phantom.image, phantom.grid)
    write_nifti(tmp_path / "b.nii.gz", phantom.label.lumen, phantom.grid)
    image, label = (nibabel.load(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz"))
    assert image.get_data_dtype() == np.int16 and label.get_data_dtype() == np.uint8
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    for stored in (image, label):
        assert stored.affine == pytest.approx(phantom.grid.affine, abs=1e-4)
        (_, q), (_, s) = stored.get_qform(coded=True), stored.get_sform(coded=True)
        assert (q, s) == (1, 1)
        assert stored.get_qform() == pytest.approx(stored.get_sform(), abs=1e-3)
        assert stored.header.get_xyzt_units()[0] == "mm"
    points = central_axis(phantom)
    assert len(points) > 40
    assert (values_at(np.asarray(label.dataobj), label.affine, points) == 1).all()
    assert (values_at(np.asarray(image.dataobj), image.affine, points) < -850).all()
    assert (np.asarray(image.dataobj) == phantom.image).all()


def test_axes_lie_in_the_air_of_the_dicom_series(tmp_path: Path, phantom: Phantom) -> None:
    paths = write_dicom_series(
        tmp_path / "s", phantom.image, phantom.grid, case="a", seed=5, thickness_mm=2.0
    )
    assert len(paths) == 60
    hu, matrix = in_dicom(paths)
    points = central_axis(phantom) * [-1, -1, 1]  # RAS to LPS
    assert (values_at(hu, matrix, points) < -850).all()
    assert (values_at(hu, matrix, points * [-1, 1, 1]) > -850).any()  # mirrored: not the same tree
    # the same voxel at the same place as in the array
    where = np.array([[10, 20, 30], [50, 3, 7], [0, 0, 0], [55, 43, 59]])
    world = where @ phantom.grid.affine[:3, :3].T + phantom.grid.affine[:3, 3]
    assert values_at(hu, matrix, world * [-1, -1, 1]).tolist() == [phantom.image[tuple(w)] for w in where]


def test_simpleitk_reads_the_series_and_the_nifti_as_the_same_volume_in_space(
    tmp_path: Path, phantom: Phantom
) -> None:
    write_nifti(tmp_path / "a.nii.gz", phantom.image, phantom.grid)
    write_dicom_series(tmp_path / "s", phantom.image, phantom.grid, case="a", seed=5, thickness_mm=2.0)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    series, volume = reader.Execute(), SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    assert series.GetDirection() == pytest.approx((1, 0, 0, 0, 1, 0, 0, 0, 1))
    same = SimpleITK.Resample(volume, series, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0.0)
    assert (SimpleITK.GetArrayFromImage(same) == SimpleITK.GetArrayFromImage(series)).all()


def test_slices_are_distinct_images_of_one_series_from_the_top(tmp_path: Path, phantom: Phantom) -> None:
    paths = write_dicom_series(
        tmp_path / "s", phantom.image, phantom.grid, case="a", seed=5, thickness_mm=3.0
    )
    files = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    assert len({f.SOPInstanceUID for f in files}) == 60
    for name in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert len({f[name].value for f in files}) == 1
    heights = [float(f.ImagePositionPatient[2]) for f in files]
    assert heights == sorted(heights, reverse=True)
    assert [f.InstanceNumber for f in files] == list(range(1, 61))
    assert {float(f.SliceThickness) for f in files} == {3.0}
    assert (files[0].RescaleIntercept, files[0].RescaleSlope) == (-1024, 1)
    other = write_dicom_series(
        tmp_path / "t", phantom.image, phantom.grid, case="b", seed=5, thickness_mm=3.0
    )
    assert pydicom.dcmread(other[0]).SeriesInstanceUID != files[0].SeriesInstanceUID


def test_writing_twice_gives_the_same_bytes(tmp_path: Path, phantom: Phantom) -> None:
    for name in ("a", "b"):
        write_nifti(tmp_path / name / "x.nii.gz", phantom.image, phantom.grid)
        write_json(tmp_path / name / "x.json", {"a": [1, 2.5], "b": [{"c": 1}, {"c": 2}]})
        write_dicom_series(
            tmp_path / name / "s", phantom.image, phantom.grid, case="a", seed=5, thickness_mm=2.0
        )
    one, other = (
        {p.relative_to(tmp_path / n).as_posix(): p.read_bytes() for p in (tmp_path / n).rglob("*.*")}
        for n in ("a", "b")
    )
    assert one == other and len(one) == 62
