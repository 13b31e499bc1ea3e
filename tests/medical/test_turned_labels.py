"""Labels whose axes run otherwise than their image's are turned to the same voxels, never moved."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tessera.core.data.case import Case, FileRef
from tessera.core.errors import DataError
from tessera.medical.readers import VolumeReader

AFFINE = np.array([[-1.0, 0, 0, 40], [0, 1.5, 0, -20], [0, 0, 2.0, 7], [0, 0, 0, 1]])


def case_of(folder: Path, image: nibabel.Nifti1Image, labels: nibabel.Nifti1Image) -> Case:
    nibabel.save(image, folder / "image.nii")
    nibabel.save(labels, folder / "labels.nii")
    files = {"image": FileRef(path=folder / "image.nii")}
    return Case(id="a", files=files, targets={"label": FileRef(path=folder / "labels.nii")}, group="a")


def pair() -> tuple[nibabel.Nifti1Image, np.ndarray]:
    rng = np.random.default_rng(0)
    image = nibabel.Nifti1Image(rng.normal(size=(4, 5, 6)).astype(np.float32), AFFINE)
    return image, rng.integers(0, 3, (4, 5, 6)).astype(np.uint8)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product([1, -1], repeat=3)))
def test_all_48_orders_of_axes_give_the_images_own(
    tmp_path: Path, axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    image, labels = pair()
    turn = np.array([[axis, sign] for axis, sign in zip(axes, signs, strict=True)])
    other = nibabel.Nifti1Image(labels, AFFINE).as_reoriented(turn)
    source = VolumeReader().open_mask(case_of(tmp_path, image, other), "label")
    assert np.array_equal(source.read()["input"][0].numpy(), labels)
    assert np.allclose(source.grid.matrix, AFFINE)


def test_labels_that_lie_elsewhere_are_refused_and_not_turned_when_their_place_is_replaced(
    tmp_path: Path,
) -> None:
    image, labels = pair()
    wrong = nibabel.Nifti1Image(labels, np.diag([1.0, 1.5, 2.0, 1.0]))
    case = case_of(tmp_path, image, wrong)
    with pytest.raises(DataError, match="same grid"):
        VolumeReader().open_mask(case, "label")
    forced = VolumeReader(fix_affine=True).open_mask(case, "label")
    assert np.array_equal(forced.read()["input"][0].numpy(), labels)
