"""NIfTI files against nibabel: values, place in space, and everything that is refused."""

from __future__ import annotations

import gzip
import tracemalloc
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tessera.core.data.geometry import Region
from tessera.core.errors import DataError
from tessera.medical.nifti import grid_header, grid_of, new_header, open_nifti, read_header, write_nifti
from tessera.medical.stored_volume import AMBIGUOUS, NO_ORIENTATION, ONE_SLICE, SHEARED, StoredVolume

OBLIQUE = np.array(
    [[-0.7, 0.05, 0.1, 90.0], [0.05, 0.69, 0.3, 80.0], [0.02, -0.2, 2.5, -300.0], [0, 0, 0, 1]]
)
SIGNED = [
    np.vstack(
        [
            np.hstack([np.eye(3)[:, list(axes)] * signs * (1.0, 2.0, 3.0), [[5.0], [-7.0], [11.0]]]),
            [0, 0, 0, 1],
        ]
    )
    for axes in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
]


def saved(path: Path, values: Any, affine: Any = OBLIQUE, **header: Any) -> Path:
    image = nibabel.Nifti1Image(values, affine)
    for field, value in header.items():
        image.header[field] = value
    nibabel.save(image, path)
    return path


def whole(volume: StoredVolume) -> np.ndarray:
    return volume.values(volume.whole)


def numbers(shape: tuple[int, ...] = (5, 6, 7), dtype: Any = np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, size=shape).astype(dtype)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_values_and_affine_are_those_of_nibabel(tmp_path: Path, name: str, dtype: Any) -> None:
    path = saved(tmp_path / name, np.abs(numbers(dtype=np.int16) % 200).astype(dtype))
    volume, oracle = open_nifti(path), nibabel.load(path)
    np.testing.assert_array_equal(whole(volume)[0], oracle.get_fdata(dtype=np.float32))
    assert volume.grid.matrix.tobytes() == oracle.affine.tobytes()
    assert volume.grid.shape == (5, 6, 7)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_stored_factors_give_physical_values_of_the_region_asked_for(tmp_path: Path, name: str) -> None:
    image = nibabel.Nifti1Image(numbers((5, 6, 40)), OBLIQUE)
    image.header.set_slope_inter(0.37, -1024.5)
    nibabel.save(image, tmp_path / name)
    stored = nibabel.load(tmp_path / name)
    region = Region((1, 0, 14), (4, 5, 38))
    expected = stored.dataobj[1:4, 0:5, 14:38]
    np.testing.assert_allclose(open_nifti(tmp_path / name).values(region)[0], expected, rtol=1e-6)


def test_a_compressed_file_is_unpacked_in_one_place(tmp_path: Path) -> None:
    values = numbers((160, 80, 160))
    path = saved(tmp_path / "a.nii.gz", values)
    tracemalloc.start()
    try:
        volume = open_nifti(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(volume.raw[..., 0], values)
    assert peak < 1.5 * values.nbytes


def test_uncompressed_files_stay_on_disk(tmp_path: Path) -> None:
    volume = open_nifti(saved(tmp_path / "a.nii", numbers()))
    base = volume.raw
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_big_endian_and_nifti_2_are_read(tmp_path: Path) -> None:
    values = numbers()
    big = nibabel.Nifti1Image(values, OBLIQUE, nibabel.Nifti1Header(endianness=">"))
    nibabel.save(big, tmp_path / "big.nii")
    nibabel.save(nibabel.Nifti2Image(values, OBLIQUE), tmp_path / "two.nii.gz")
    for name in ("big.nii", "two.nii.gz"):
        np.testing.assert_array_equal(whole(open_nifti(tmp_path / name))[0], values)


def test_a_slice_is_a_volume_of_one_slice(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", numbers((5, 6)), np.diag([1.0, 2.0, 3.0, 1.0]))
    volume = open_nifti(path)
    assert volume.grid.shape == (5, 6, 1) == grid_of(read_header(path), path).shape
    assert volume.remarks == (ONE_SLICE,)


def test_a_fourth_axis_is_refused_unless_it_holds_the_channels(tmp_path: Path) -> None:
    values = numbers((4, 5, 6, 2))
    path = saved(tmp_path / "a.nii.gz", values)
    for channels in (None, 1, 3):
        with pytest.raises(DataError, match="more than one volume"):
            open_nifti(path, channels=channels)
    np.testing.assert_array_equal(whole(open_nifti(path, channels=2)), np.moveaxis(values, 3, 0))
    vector = saved(tmp_path / "v.nii", values[:, :, :, None])
    np.testing.assert_array_equal(whole(open_nifti(vector, channels=2)), np.moveaxis(values, 3, 0))


def test_a_fourth_axis_of_one_is_ignored(tmp_path: Path) -> None:
    values = numbers((4, 5, 6, 1))
    assert whole(open_nifti(saved(tmp_path / "a.nii", values))).shape == (1, 4, 5, 6)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_that_are_no_numbers_are_counted_and_refused(tmp_path: Path, name: str) -> None:
    values = numbers((5, 6, 20)).astype(np.float32)
    values[0, 0, :3] = np.nan, np.inf, -np.inf
    values[1, 1, 18] = np.nan
    with pytest.raises(DataError) as error:
        open_nifti(saved(tmp_path / name, values))
    assert "4 of 600 values are NaN or infinite" in str(error.value)


def test_values_too_large_for_float32_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not numbers"):
        open_nifti(saved(tmp_path / "a.nii", np.full((2, 2, 2), 1e39)))


def test_colour_and_complex_values_are_refused(tmp_path: Path) -> None:
    rgb = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for name, values in (("rgb.nii", rgb), ("c.nii.gz", np.zeros((3, 3, 3), dtype=np.complex64))):
        with pytest.raises(DataError, match="no plain numbers"):
            open_nifti(saved(tmp_path / name, values))


def test_a_singular_affine_is_refused(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header["sform_code"], header["srow_x"], header["srow_y"] = 1, [1, 0, 0, 0], [0, 1, 1, 0]
    nibabel.Nifti1Image(numbers(), None, header).to_filename(tmp_path / "a.nii")
    with pytest.raises(DataError, match="does not say where its voxels lie"):
        open_nifti(tmp_path / "a.nii")


def test_lengths_in_another_unit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        open_nifti(saved(tmp_path / "a.nii", numbers(), xyzt_units=3))
    assert "micron" in str(error.value)


def test_remarks_name_missing_and_contradicting_orientations(tmp_path: Path) -> None:
    none = saved(tmp_path / "none.nii", numbers(), None)
    assert NO_ORIENTATION in open_nifti(none).remarks
    image = nibabel.Nifti1Image(numbers(), np.diag([1.0, 1, 1, 1]))
    image.set_sform(np.diag([1.0, 1, 1, 1]), 1)
    image.set_qform(np.diag([-1.0, -1, 1, 1]), 1)
    nibabel.save(image, tmp_path / "two.nii")
    assert open_nifti(tmp_path / "two.nii").remarks == (AMBIGUOUS,)
    image.set_qform(np.diag([1.0, 1, 1, 1]), 1)
    nibabel.save(image, tmp_path / "same.nii")
    assert open_nifti(tmp_path / "same.nii").remarks == ()
    sheared = np.array([[1.0, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert open_nifti(saved(tmp_path / "s.nii", numbers(), sheared)).remarks[-1] == SHEARED


@pytest.mark.parametrize("keep", [0, 3, 200, 400, 0.5, 0.98])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_cut_file_is_refused_by_name(tmp_path: Path, name: str, keep: float) -> None:
    path = saved(tmp_path / name, numbers((20, 20, 20)))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=name):
        open_nifti(path)


def test_one_flipped_bit_in_a_compressed_file_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", numbers((20, 20, 20)))
    packed = bytearray(gzip.compress(path.read_bytes(), compresslevel=0))  # stored: any bit may flip unseen
    packed[len(packed) // 2] ^= 4
    (tmp_path / "b.nii.gz").write_bytes(packed)
    with pytest.raises(DataError, match=r"cannot read .*b\.nii\.gz"):
        open_nifti(tmp_path / "b.nii.gz")


def test_other_content_under_the_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"hello, this is no scan at all" * 100)
    (tmp_path / "b.nii.gz").write_bytes(b"neither is this")
    for name in ("a.nii", "b.nii.gz", "missing.nii"):
        with pytest.raises(DataError, match=name):
            open_nifti(tmp_path / name)


@pytest.mark.parametrize("affine", SIGNED)
def test_masks_lie_as_their_image_in_all_48_orientations(tmp_path: Path, affine: np.ndarray) -> None:
    path = saved(tmp_path / "image.nii", numbers((2, 3, 4)), affine)
    grid = open_nifti(path).grid
    mask = (numbers((2, 3, 4)) > 0).astype(np.uint8)
    flips = np.arange(3)[list(grid.towards_ras()[1])]
    turned = np.flip(mask.transpose(grid.towards_ras()[0]), tuple(flips))  # as a network sees it
    back = np.flip(turned, tuple(flips)).transpose(np.argsort(grid.towards_ras()[0]))
    write_nifti(tmp_path / "mask.nii.gz", back, grid_header(read_header(path)))
    found, image = nibabel.load(tmp_path / "mask.nii.gz"), nibabel.load(path)
    oracle = nibabel.as_closest_canonical(nibabel.Nifti1Image(mask, affine)).get_fdata()
    np.testing.assert_array_equal(turned, oracle)
    np.testing.assert_array_equal(np.asarray(found.dataobj), mask)
    assert found.affine.tobytes() == image.affine.tobytes()


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (2, 0), (0, 1), (0, 0), (4, 2)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_mask_has_the_images_place_in_the_same_bits_and_nothing_else(
    tmp_path: Path, kind: Any, sform: int, qform: int
) -> None:
    image = kind(numbers(), OBLIQUE)
    image.set_qform(OBLIQUE, qform, strip_shears=True)
    image.set_sform(OBLIQUE, sform)
    image.header["descrip"] = b"Erika Mustermann"
    image.header["aux_file"] = b"secret"
    image.header["cal_max"] = 400
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Erika Mustermann"))
    nibabel.save(image, tmp_path / "a.nii.gz")
    write_nifti(
        tmp_path / "m.nii", numbers().astype(np.uint8), grid_header(read_header(tmp_path / "a.nii.gz"))
    )
    before, after = (nibabel.load(tmp_path / name).header for name in ("a.nii.gz", "m.nii"))
    assert type(before) is type(after)
    for field in (
        "pixdim",
        "qform_code",
        "sform_code",
        "quatern_b",
        "qoffset_y",
        "srow_x",
        "srow_z",
        "xyzt_units",
    ):
        assert before[field].tobytes() == after[field].tobytes(), field
    assert after["cal_max"] == 0
    assert b"Erika" not in (tmp_path / "m.nii").read_bytes()


def test_the_same_mask_is_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = new_header(open_nifti(saved(tmp_path / "a.nii", numbers())).grid)
    write_nifti(tmp_path / "one.nii.gz", numbers().astype(np.uint8), header)
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_nifti(tmp_path / "two.nii.gz", numbers().astype(np.uint8), header)
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.nii", "one.nii.gz", "two.nii.gz"]


def test_a_new_header_says_the_place_twice(tmp_path: Path) -> None:
    turn = np.array([[0.0, 2, 0, 5], [-1, 0, 0, 7], [0, 0, 3, 9], [0, 0, 0, 1]])
    grid = open_nifti(saved(tmp_path / "a.nii", numbers(), turn)).grid
    write_nifti(tmp_path / "m.nii", numbers().astype(np.uint16), new_header(grid))
    header = nibabel.load(tmp_path / "m.nii").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_qform(), turn, atol=1e-5)
    np.testing.assert_allclose(header.get_sform(), turn)
