"""Finding and opening volumes in folders as people have them."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from tessera.core.data.case import Case, FileRef, MaskReader, Reader, Source
from tessera.core.data.geometry import Region
from tessera.core.data.manifest import Manifest
from tessera.core.errors import DataError
from tessera.medical.label_files import check_labels
from tessera.medical.readers import VolumeReader, VolumeSource
from tessera.medical.volume_files import image_grid

from .dicom_files import PATIENT, ct_values, series_datasets, slice_dataset, uid, write_series

AFFINE = np.diag([-1.0, 2.0, 3.0, 1.0])


def nifti(path: Path, values: Any, affine: Any = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def case_of(image: Any, label: Path | None = None) -> Case:
    files = tuple(FileRef(path=path) for path in image) if isinstance(image, list) else FileRef(path=image)
    targets = {} if label is None else {"label": FileRef(path=label)}
    return Case(id="c", files={"image": files}, targets=targets, group="c")


def values(source: Source) -> np.ndarray:
    return np.asarray(source.read()["input"].numpy())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A tree with volumes of each kind, two series in one folder, and what is no volume."""
    nifti(tmp_path / "b.nii.gz", ct_values((3, 4, 5)))
    nifti(tmp_path / "sub" / "a.NII", ct_values((3, 4, 5)))
    image = SimpleITK.GetImageFromArray(ct_values((5, 4, 3)))
    for name in ("c.nrrd", "d.mha", "e.mhd", "f.nhdr"):
        SimpleITK.WriteImage(image, str(tmp_path / name))
    both = [
        *series_datasets(ct_values((4, 4, 3)), series="one"),
        *series_datasets(ct_values((4, 4, 2)), series="two"),
    ]
    write_series(tmp_path / PATIENT, both)
    report = slice_dataset(np.zeros((2, 2), dtype=np.int16), series="report", Modality="SR")
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    del report.PixelData, report.Rows
    write_series(tmp_path / "report", [report])
    scout = slice_dataset(
        np.zeros((4, 4), dtype=np.int16), series="scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    write_series(tmp_path / "scout", [scout])
    (tmp_path / "notes.txt").write_text("read me")
    (tmp_path / "._b.nii.gz").write_bytes(b"left by another system")
    return tmp_path


def test_every_volume_is_found_and_opened_or_refused(archive: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reader = VolumeReader()
    cases = reader.find(archive)
    ids = [case.id for case in cases]
    assert ids == sorted(ids)
    assert {"b.nii.gz", "sub/a.NII", "c.nrrd", "d.mha", "e.mhd", "f.nhdr"} < set(ids)
    series = [case for case in cases if isinstance(case.files["image"], tuple)]
    assert sorted(len(case.all_files()) for case in series) == [1, 2, 3]
    assert "1 DICOM files that are no scan are left out: Basic Text SR Storage" in caplog.text
    reasons = []
    for case in cases:
        try:
            assert reader.open(case).read()["input"].dtype.is_floating_point
        except DataError as error:
            reasons.append(str(error))
    assert len(reasons) == 1
    assert "localizer" in reasons[0]


def test_ids_of_series_are_stable_and_name_nobody(
    archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import hashlib

    ids = {case.id for case in VolumeReader().find(archive) if isinstance(case.files["image"], tuple)}
    expected = {hashlib.sha256(uid(name).encode()).hexdigest()[:12] for name in ("one", "two", "scout")}
    assert ids == expected
    moved = tmp_path_factory.mktemp("elsewhere")
    write_series(moved, series_datasets(ct_values((4, 4, 3)), series="one"), seed=5)
    assert {case.id for case in VolumeReader().find(moved)} < ids
    for case in VolumeReader().find(archive):
        assert "Mustermann" not in f"{case.id} {case.group} {case.meta} {case.select}"


def test_series_without_uids_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name, n in (("a", 3), ("b", 2)):
        datasets = series_datasets(ct_values((4, 4, n)), series=name)
        for dataset in datasets:
            for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID", "SOPClassUID"):
                setattr(dataset, keyword, "")
        folder = tmp_path / name
        folder.mkdir()
        for number, dataset in enumerate(datasets):
            dataset.save_as(folder / f"{number}", enforce_file_format=False)
    cases = VolumeReader().find(tmp_path)
    assert sorted(VolumeReader().open(case).grid.shape[2] for case in cases) == [2, 3]
    assert all(len(case.id) == 12 for case in cases)


def test_a_damaged_dicom_file_is_a_case_that_fails(tmp_path: Path) -> None:
    write_series(tmp_path, series_datasets(ct_values((4, 4, 3))))
    (tmp_path / "bad.dcm").write_bytes(b"no header at all" * 20)
    cases = VolumeReader().find(tmp_path)
    assert len(cases) == 2
    broken = next(case for case in cases if case.id == "bad.dcm")
    with pytest.raises(DataError, match=r"bad\.dcm"):
        VolumeReader().open(broken)


def test_one_file_is_a_case_of_its_own(archive: Path) -> None:
    reader = VolumeReader()
    assert [case.id for case in reader.find(archive / "b.nii.gz")] == ["b.nii.gz"]
    scout = next((archive / "scout").iterdir())
    assert len(reader.find(scout)) == 1
    for name in ("notes.txt", "report/IM0000"):
        with pytest.raises(DataError, match=Path(name).name):
            reader.find(archive / name)


def test_places_without_volumes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(DataError, match="no volumes in"):
        VolumeReader().find(tmp_path)
    with pytest.raises(DataError, match="no file or folder"):
        VolumeReader().find(tmp_path / "missing")


def test_links_in_circles_end(archive: Path) -> None:
    (archive / "sub" / "loop").symlink_to(archive, target_is_directory=True)
    assert len(VolumeReader().find(archive)) == 9


def test_detached_headers_bring_their_data(archive: Path) -> None:
    cases = {case.id: case for case in VolumeReader().find(archive)}
    assert cases["e.mhd"].path("data").name == "e.raw"
    assert cases["f.nhdr"].path("data").name == "f.raw"


def test_reader_and_sources_keep_the_cores_protocols(tmp_path: Path) -> None:
    reader = VolumeReader()
    assert isinstance(reader, Reader)
    assert isinstance(reader, MaskReader)
    image = nifti(tmp_path / "a.nii", ct_values((3, 4, 5)))
    case = case_of(image, nifti(tmp_path / "l.nii", np.ones((3, 4, 5), dtype=np.uint8)))
    assert isinstance(reader.open(case), Source)
    assert isinstance(reader.open_mask(case, "label"), Source)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_regions_are_parts_of_the_whole(tmp_path: Path, suffix: str) -> None:
    stored = ct_values((5, 6, 40))
    path = tmp_path / f"a{suffix}"
    if suffix.startswith(".nii"):
        nifti(path, stored)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(stored.transpose(2, 1, 0)), str(path))
    source = VolumeReader().open(case_of(path))
    region = Region((1, 0, 3), (4, 5, 33))
    part = source.read(region)
    np.testing.assert_array_equal(part["input"].numpy()[0], stored[1:4, 0:5, 3:33])
    assert part["geometry"].shape == (3, 5, 30)
    np.testing.assert_allclose(part["geometry"].invert([[0, 0, 0]]), [[1, 0, 3]])
    with pytest.raises(ValueError, match="of a volume of"):
        source.read(Region((0, 0, 0), (6, 6, 40)))


def test_several_files_are_channels_in_their_order(tmp_path: Path) -> None:
    parts = [ct_values((3, 4, 5), seed=seed) for seed in range(3)]
    paths = [nifti(tmp_path / f"{seed}.nii", part) for seed, part in enumerate(parts)]
    source = VolumeReader(channels=3).open(case_of(paths))
    np.testing.assert_array_equal(values(source), np.stack(parts))
    with pytest.raises(DataError, match="another number of channels"):
        VolumeReader(channels=2).open(case_of(paths))
    with pytest.raises(DataError, match="another number of channels"):
        VolumeReader(channels=2).open(case_of(paths[0]))
    nifti(paths[1], parts[1][:2])
    with pytest.raises(DataError, match="image and channel"):
        VolumeReader(channels=3).open(case_of(paths))


def test_numbered_files_are_one_case_where_several_channels_are_wanted(tmp_path: Path) -> None:
    for name in ("sub/p_0001.nii", "sub/p_0000.nii", "single.nii", "q_0000.nii"):
        nifti(tmp_path / name, ct_values((3, 4, 5), seed=len(name) + ("0001" in name)))
    assert [case.id for case in VolumeReader().find(tmp_path)] == [
        "q_0000.nii",
        "single.nii",
        "sub/p_0000.nii",
        "sub/p_0001.nii",
    ]
    cases = VolumeReader(channels=2).find(tmp_path)
    assert [case.id for case in cases] == ["q_0000.nii", "single.nii", "sub/p"]
    names = [reference.path and reference.path.name for reference in cases[2].all_files()]
    assert names == ["p_0000.nii", "p_0001.nii"]
    assert VolumeReader(channels=2).open(cases[2]).channels == 2


def test_remarks_travel_with_the_samples(tmp_path: Path) -> None:
    source = VolumeReader().open(case_of(nifti(tmp_path / "a.nii", ct_values((3, 4, 1)))))
    assert source.read()["flags"] == ("one slice",)


def test_a_grid_is_read_from_headers_alone(archive: Path) -> None:
    for case in VolumeReader().find(archive):
        try:
            source = VolumeReader().open(case)
        except DataError:
            continue
        assert image_grid(case) == source.grid


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32])
def test_labels_are_read_as_whole_numbers(tmp_path: Path, dtype: Any) -> None:
    labels = np.random.default_rng(0).integers(0, 5, size=(3, 4, 5)).astype(dtype)
    image = nifti(tmp_path / "a.nii", ct_values((3, 4, 5)))
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE, dtype=dtype), tmp_path / "l.nii.gz")
    source = VolumeReader().open_mask(case_of(image, tmp_path / "l.nii.gz"), "label")
    np.testing.assert_array_equal(values(source)[0], labels)
    region = Region((0, 1, 2), (3, 3, 4))
    np.testing.assert_array_equal(source.read(region)["input"].numpy()[0], labels[:, 1:3, 2:4])
    ids, counts = np.unique(labels, return_counts=True)
    assert source.counts() == dict(zip(ids.astype(int).tolist(), counts.tolist(), strict=True))


def test_labels_above_255_keep_their_value(tmp_path: Path) -> None:
    labels = np.zeros((3, 4, 5), dtype=np.uint16)
    labels[1, 1, 1], labels[2, 2, 2] = 300, 65535
    case = case_of(nifti(tmp_path / "a.nii", ct_values((3, 4, 5))), nifti(tmp_path / "l.nii", labels))
    np.testing.assert_array_equal(values(VolumeReader().open_mask(case, "label"))[0], labels)


@pytest.mark.parametrize(("wrong", "words"), [(0.5, "0.5"), (-1, "-1"), (70000, "70000"), (np.nan, "NaN")])
def test_what_is_no_label_is_refused(tmp_path: Path, wrong: float, words: str) -> None:
    labels = np.zeros((3, 4, 5), dtype=np.float32)
    labels[1, 2, 3] = wrong
    case = case_of(nifti(tmp_path / "a.nii", ct_values((3, 4, 5))), nifti(tmp_path / "l.nii", labels))
    with pytest.raises(DataError) as error:
        VolumeReader().open_mask(case, "label")
    if wrong < 0 or wrong > 65535:
        assert "holds no labels" in str(error.value)
    else:
        assert words in str(error.value)


def test_labels_outside_the_classes_are_refused_with_their_counts() -> None:
    check_labels("c", {0: 10, 1: 3}, ("background", "airway"))
    with pytest.raises(DataError) as error:
        check_labels("c", {0: 10, 1: 3, 7: 2, 9: 1}, ("background", "airway"))
    assert "7 (2 voxels), 9 (1 voxels)" in str(error.value)
    assert "0 background, 1 airway" in str(error.value)


@pytest.mark.parametrize(
    ("shape", "affine", "fields"),
    [
        ((3, 4, 6), AFFINE, ["shape"]),
        ((3, 4, 5), np.diag([1.0, 2.0, 3.0, 1.0]), ["axes", "LAS", "RAS", "direction"]),
        ((3, 4, 5), np.diag([-1.0, 2.0, 3.3, 1.0]), ["spacing mm", "3.3"]),
        ((3, 4, 5), AFFINE + np.eye(4)[:, [3, 3, 3, 0]] * [0, 0, 0, 0.5], ["origin mm", "+0.5"]),
    ],
)
def test_labels_on_another_grid_are_refused_with_a_table(
    tmp_path: Path, shape: tuple[int, ...], affine: np.ndarray, fields: list[str]
) -> None:
    image = nifti(tmp_path / "a.nii", ct_values((3, 4, 5)))
    case = case_of(image, nifti(tmp_path / "l.nii", np.ones(shape, dtype=np.uint8), affine))
    with pytest.raises(DataError) as error:
        VolumeReader().open_mask(case, "label")
    text = str(error.value)
    assert all(field in text for field in ("field", "image", "label", "difference", *fields)), text
    same_shape = shape == (3, 4, 5)
    assert ("--fix-affine" in text) == same_shape
    fixing = VolumeReader(fix_affine=True)
    if not same_shape:
        with pytest.raises(DataError):
            fixing.open_mask(case, "label")
        return
    by_config: Any = SimpleNamespace(data=SimpleNamespace(fix_affine=True))
    assert VolumeReader(by_config).fix_affine
    fixed = fixing.open_mask(case, "label")
    assert fixed.grid == fixing.open(case).grid


def test_rounding_in_the_labels_affine_is_no_difference(tmp_path: Path) -> None:
    image = nifti(tmp_path / "a.nii", ct_values((3, 4, 5)))
    nearly = AFFINE + np.random.default_rng(0).uniform(-1e-3, 1e-3, (4, 4)) * [[1], [1], [1], [0]]
    case = case_of(image, nifti(tmp_path / "l.nii", np.ones((3, 4, 5), dtype=np.uint8), nearly))
    reader = VolumeReader()
    assert reader.open_mask(case, "label").grid == reader.open(case).grid


def test_a_config_with_channels_decides_what_a_fourth_axis_means(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", ct_values((3, 4, 5, 2)))
    config: Any = SimpleNamespace(data=SimpleNamespace(channels=("t1", "t2")))
    assert values(VolumeReader(config).open(case_of(path))).shape == (2, 3, 4, 5)
    with pytest.raises(DataError, match="more than one volume"):
        VolumeReader().open(case_of(path))


def test_a_closed_source_keeps_its_grid(tmp_path: Path) -> None:
    source = VolumeReader().open(case_of(nifti(tmp_path / "a.nii", ct_values((3, 4, 5)))))
    source.close()
    assert isinstance(source, VolumeSource)
    assert source.grid.shape == (3, 4, 5)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nhdr", ".mhd"])
def test_nrrd_and_metaimage_lie_where_simpleitk_puts_them(tmp_path: Path, suffix: str) -> None:
    image = SimpleITK.GetImageFromArray(ct_values((5, 4, 3)))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((10, -20, 30))
    turn = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=float)
    image.SetDirection(turn.ravel().tolist())
    SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"))
    source = VolumeReader().open(case_of(tmp_path / f"a{suffix}"))
    assert source.remarks == ()
    for index in ((0, 0, 0), (2, 3, 4), (1, 0, 2)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(source.grid.to_world([index])[0], lps * (-1, -1, 1), atol=1e-9)
        assert values(source)[(0, *index)] == image[index]


def test_other_itk_files_are_refused_or_remarked(tmp_path: Path) -> None:
    (tmp_path / "plain.nrrd").write_bytes(
        b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n\n12345678"
    )
    assert VolumeReader().open(case_of(tmp_path / "plain.nrrd")).remarks == ("no orientation",)
    (tmp_path / "cut.nrrd").write_bytes(
        b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n\n123"
    )
    vector = SimpleITK.GetImageFromArray(np.zeros((2, 3, 4, 3), dtype=np.uint8), isVector=True)
    SimpleITK.WriteImage(vector, str(tmp_path / "rgb.mha"))
    SimpleITK.WriteImage(SimpleITK.Image([4, 3, 2, 2], SimpleITK.sitkUInt8), str(tmp_path / "4d.mha"))
    nan = SimpleITK.GetImageFromArray(np.full((2, 2, 2), np.nan, dtype=np.float32))
    SimpleITK.WriteImage(nan, str(tmp_path / "nan.mha"))
    for name, words in (
        ("cut.nrrd", "3 1-sized things, not 8"),
        ("rgb.mha", "more than one volume"),
        ("4d.mha", "more than one volume"),
        ("nan.mha", "8 of 8 values are NaN"),
        ("missing.mha", "there is no file"),
    ):
        with pytest.raises(DataError) as error:
            VolumeReader().open(case_of(tmp_path / name))
        assert words in str(error.value)


def test_manifests_hold_series_and_their_labels(tmp_path: Path) -> None:
    from tessera.core.config import validate
    from tessera.core.data.dataset_info import DatasetInfo

    data = tmp_path / "data"
    write_series(data / "scan", series_datasets(ct_values((4, 4, 3))))
    (case,) = VolumeReader().find(data / "scan")
    grid = image_grid(case)
    label = nifti(data / "l.nii.gz", np.ones((4, 4, 3), dtype=np.uint8), grid.matrix)
    case = Case(id="c", files=case.files, group="g", targets={"label": FileRef(path=label)})
    head = {
        "id": "mine",
        "root": "../data",
        "targets": {"label": {"kind": "mask", "classes": ["background", "all"]}},
    }
    info = validate(DatasetInfo, head, source="test")
    Manifest.create(info, [case], folder=tmp_path / "mine").save(tmp_path / "mine")
    (read,) = Manifest.load(tmp_path / "mine").cases
    assert VolumeReader().open(read).grid == grid
    assert VolumeReader().open_mask(read, "label").counts() == {1: 48}


def test_an_empty_dataset_is_no_surprise(tmp_path: Path) -> None:
    """A DICOMDIR, which lists files and is none itself, is left out."""
    directory = slice_dataset(np.zeros((2, 2), dtype=np.int16))
    listing = Dataset()
    listing.file_meta = directory.file_meta
    listing.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    listing.FileSetID = "X"
    listing.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    with pytest.raises(DataError, match="no volumes in"):
        VolumeReader().find(tmp_path)
