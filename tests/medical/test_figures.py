"""Pictures of scans: right way up whatever the file's order, with the mask where the voxels are."""

from __future__ import annotations

import io
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from tessera.core.data.case import Case, FileRef
from tessera.core.errors import DataError
from tessera.core.report.media import CaseMedia, ImageStack, MaskFigures
from tessera.medical.config import AirwayConfig, VolumeConfig
from tessera.medical.figures import VolumeFigures
from tessera.medical.pictures import LUNG, SOFT, UprightScan, resized_labels, scale_for
from tessera.medical.readers import VolumeReader
from tessera.medical.slice_stack import JPEG_BYTES, SLICES, axial_stack

CONFIG = VolumeConfig.model_validate({"pipeline": "volumes", "preset": "unet"})
ORDERS = list(zip(permutations(range(3)), product((1, -1), repeat=3), strict=False))  # 6 of the 48
SIZE = (24, 16, 10)  # right, anterior, superior


def corner_volume() -> np.ndarray:
    """Dark (R, A, S), but bright in the patient's right front of the three highest slices."""
    values = np.zeros(SIZE, dtype=np.int16)
    values[12:, 8:, 7:] = 1000
    return values


def store(
    folder: Path, ras: np.ndarray, axes: Any = (0, 1, 2), flips: Any = (1, 1, 1), name: str = "a"
) -> Path:
    """Save a volume given in RAS order with its array axes permuted and reversed."""
    turn = np.zeros((4, 4))
    for place, world in enumerate(axes):
        turn[world, place] = flips[place] * (1.0, 1.0, 3.0)[world]
    turn[3, 3] = 1.0
    own = ras.transpose(axes)
    own = own[tuple(slice(None, None, sign) for sign in flips)]
    path = folder / f"{name}.nii"
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(own), turn), path)
    return path


def case_of(image: Path, label: Path | None = None) -> Case:
    targets = {} if label is None else {"label": FileRef(path=label)}
    return Case(id="a", files={"image": FileRef(path=image)}, group="g", targets=targets)


def slices_of(stack: ImageStack, data: bytes) -> np.ndarray:
    """Slices (N, H, W) of a picture with several in a row."""
    sheet = np.asarray(Image.open(io.BytesIO(data)))
    height, width = sheet.shape[0] // stack.rows, sheet.shape[1] // stack.columns
    cut = sheet.reshape(stack.rows, height, stack.columns, width).swapaxes(1, 2).reshape(-1, height, width)
    return cut[: len(stack.labels)]


@pytest.mark.parametrize(("axes", "flips"), ORDERS)
def test_right_is_left_and_front_is_up_whatever_the_order_in_the_file(
    tmp_path: Path, axes: Any, flips: Any
) -> None:
    volume = corner_volume()
    image = store(tmp_path, volume, axes, flips)
    label = store(tmp_path, (volume > 0).astype(np.uint8), axes, flips, "label")
    (stack,) = VolumeFigures(CONFIG).draw(case_of(image, label)).stacks
    assert stack.labels[0] == "slice 1 of 10"
    assert stack.mask is not None
    for found, bright in ((slices_of(stack, stack.image), 200), (slices_of(stack, stack.mask), 1)):
        assert found.shape == (10, 8 * 16, 8 * 24)  # rows from the front, columns from the right
        seen = found >= bright
        assert seen[7:, : 8 * 7, : 8 * 11].all()  # between the voxels the picture is smooth
        assert not seen[:7].any()
        assert not seen[:, 8 * 9 :].any()
        assert not seen[:, :, 8 * 13 :].any()
    assert stack.borders == ("R", "A", "L", "P")
    assert stack.aspect == pytest.approx(24 / 16)
    assert stack.first in (7, 8, 9)


def test_the_predicted_mask_goes_before_the_reference(tmp_path: Path) -> None:
    volume = corner_volume()
    image = store(tmp_path, volume)
    label = store(tmp_path, np.ones(SIZE, dtype=np.uint8), name="label")
    (tmp_path / "masks").mkdir()
    predicted = store(tmp_path / "masks", 2 * (volume > 0).astype(np.uint8))
    figures = VolumeFigures(CONFIG)
    assert isinstance(figures, MaskFigures)
    names = ("background", "liver", "spleen")
    files = (tmp_path / "thumbnails/a.png", predicted)
    (stack,) = figures.draw_mask(case_of(image, label), classes=names, files=files).stacks
    assert [name for name, _ in stack.legend] == ["spleen"]
    assert "predicted mask" in stack.title
    (stack,) = figures.draw_mask(case_of(image, label), classes=names).stacks
    assert [name for name, _ in stack.legend] == ["liver"]
    assert "reference mask" in stack.title


def test_a_scan_without_a_mask_is_drawn_without(tmp_path: Path) -> None:
    media = VolumeFigures(CONFIG).draw(case_of(store(tmp_path, corner_volume())))
    (stack,) = media.stacks
    assert stack.mask is None
    assert stack.legend == ()
    assert isinstance(media, CaseMedia)
    assert media.size == len(stack.image) + len(media.images[0][1])


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*a\.nii"):
        VolumeFigures(CONFIG).draw(case_of(tmp_path / "a.nii"))


def test_many_large_noisy_slices_stay_small_and_none_of_the_mask_is_missed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(-1000, 1000, size=(300, 8, 130), dtype=np.int16)
    image = store(tmp_path, noise)
    mask = np.zeros(noise.shape, dtype=np.uint8)
    mask[150, 4, 71] = 1  # a single voxel
    source = VolumeReader().open(case_of(image))
    stack = axial_stack(UprightScan(source, mask), LUNG, classes=("background", "nodule"))
    assert stack.mask is not None
    assert len(stack.labels) == SLICES
    assert "slice 72 of 130" in stack.labels
    assert stack.labels[stack.first] == "slice 72 of 130"
    masks = slices_of(stack, stack.mask)
    assert masks.shape[1:] == (8, 256)
    assert (masks.sum(axis=(1, 2)) > 0).tolist() == [label == "slice 72 of 130" for label in stack.labels]
    assert len(stack.image) <= JPEG_BYTES
    assert stack.title == "40 of 130 axial slices; lung window, -1350 to 150 HU"


def test_the_window_follows_what_is_looked_for() -> None:
    assert scale_for(AirwayConfig.model_validate({"pipeline": "airway", "preset": "unet"})) is LUNG
    assert scale_for(CONFIG) is None
    for mean, scale in ((40, SOFT), (-700, LUNG)):
        ct = {"kind": "ct", "low": -1000, "high": 300, "mean": mean, "std": 50}
        data = {"normalisation": [ct]}
        config = VolumeConfig.model_validate({"pipeline": "volumes", "preset": "unet", "data": data})
        assert scale_for(config) is scale


def test_a_window_goes_from_black_to_white() -> None:
    grey = SOFT.grey(np.array([[-1000.0, -160, 40, 240, 3000]]))
    assert grey.tolist() == [[0, 0, 112, 223, 223]]


def test_labels_on_a_coarser_raster_lose_no_thin_structure() -> None:
    labels = np.zeros((64, 64), dtype=np.uint8)
    labels[:, 33] = 1
    assert (resized_labels(labels, (8, 8)) == np.eye(8, dtype=np.uint8)[4]).all()
    finer = resized_labels(labels[30:32, 32:35], (4, 9))
    np.testing.assert_array_equal(finer, [[0, 0, 0, 1, 1, 1, 0, 0, 0]] * 4)


def test_planes_are_those_of_nibabels_canonical_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 100, size=(4, 5, 6), dtype=np.int16)
    image = store(tmp_path, values, (2, 0, 1), (-1, 1, -1))
    canonical = np.asarray(nibabel.as_closest_canonical(nibabel.load(image)).dataobj)
    scan = UprightScan(VolumeReader().open(case_of(image)))
    assert scan.shape == canonical.shape
    for axis in range(3):
        plane = canonical.take(2, axis)
        np.testing.assert_array_equal(scan.plane(axis, 2), plane[::-1, ::-1].T)
    assert scan.extent_mm(0) == (5.0, 18.0)
