"""Remarks on scans and masks, each on a volume made to earn it and on one just inside the limit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tessera.core.data.case import Case, FileRef
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.quality import NOTHING_FOUND, airway_remarks, mask_remarks, scan_remarks
from tessera.medical.readers import VolumeReader, VolumeSource

CLASSES = ("background", "liver", "spleen", "kidney", "stomach")
GRID = VolumeGeometry.of((12, 10, 40), np.diag([1.0, 1, 1, 1]))  # the head is at the end of the last axis


def mask_with(*boxes: tuple[slice, slice, slice], shape: tuple[int, ...] = GRID.shape) -> np.ndarray:
    """Class 1 in the first box, 2 in the second and so on."""
    mask = np.zeros(shape, dtype=np.uint8)
    for number, box in enumerate(boxes, start=1):
        mask[box] = number
    return mask


def source_with(folder: Path, values: Any) -> VolumeSource:
    nibabel.save(nibabel.Nifti1Image(np.asarray(values, dtype=np.int16), np.eye(4)), folder / "a.nii")
    return VolumeReader().open(Case(id="a", files={"image": FileRef(path=folder / "a.nii")}, group="g"))


@pytest.mark.parametrize(
    ("low", "high", "fits"),
    [(-1000, 500, True), (-900, 0, True), (-899, 500, False), (-1000, -1, False), (0, 2000, False)],
)
def test_a_ct_without_air_or_without_tissue_is_not_in_hounsfield_units(
    tmp_path: Path, low: int, high: int, fits: bool
) -> None:
    values = np.linspace(low, high, 4 * 4 * 20).round().reshape(4, 4, 20)  # in several slabs
    source = source_with(tmp_path, values)
    expected = () if fits else (f"not in Hounsfield units: values from {low} to {high}",)
    assert scan_remarks(source, ct=True) == expected
    assert scan_remarks(source, ct=False) == ()


def test_an_empty_mask_is_remarked_on_alone() -> None:
    assert mask_remarks(mask_with(), CLASSES, grid=GRID) == (NOTHING_FOUND,)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("end", [0, -1])
def test_a_mask_at_any_of_the_six_faces_is_cut_there(axis: int, end: int) -> None:
    inside = mask_with((slice(1, -1), slice(1, -1), slice(1, -1)))
    assert mask_remarks(inside, CLASSES, grid=GRID) == ()
    inside[tuple(end if other == axis else 5 for other in range(3))] = 2
    assert mask_remarks(inside, CLASSES, grid=GRID) == ("touches the border of the scan: spleen",)


def test_many_classes_at_the_border_are_counted() -> None:
    mask = mask_with()
    mask[0, :4, 3] = (1, 2, 3, 4)
    (remark,) = mask_remarks(mask, CLASSES, grid=GRID)
    assert remark == "touches the border of the scan: liver, spleen, kidney and 1 more"


def test_a_single_slice_has_no_border_across_itself() -> None:
    mask = np.zeros((8, 8, 1), dtype=np.uint8)
    mask[3:5, 3:5] = 1
    grid = VolumeGeometry.of(mask.shape, np.eye(4))
    assert mask_remarks(mask, CLASSES, grid=grid) == ()


@pytest.mark.parametrize("head_first", [False, True])
def test_an_open_top_allows_the_upper_face_alone(head_first: bool) -> None:
    """Whichever end of the array the head is at."""
    grid = GRID.flip(2) if head_first else GRID
    upper, lower = (0, -1) if head_first else (-1, 0)
    for place, cut in ((upper, False), (lower, True)):
        mask = mask_with()
        mask[5, 5, place] = 1
        assert bool(mask_remarks(mask, CLASSES, grid=grid, open_top=True)) == cut


def airway(millilitres: float = 60.0, spacing: float = 2.0) -> tuple[np.ndarray, VolumeGeometry]:
    """A bar of a chosen volume through all slices of 2 mm, and its grid."""
    grid = VolumeGeometry.of((30, 30, 30), np.diag([spacing] * 3 + [1]))
    mask = np.zeros(grid.shape, dtype=np.bool_)
    n = round(millilitres * 1000 / spacing**3)
    mask.transpose(2, 0, 1).reshape(30, -1)[:, : n // 30] = True
    return mask, grid


def test_an_ordinary_airway_gets_no_remark() -> None:
    assert airway_remarks(*airway(), n_branches=20) == ()
    assert airway_remarks(*airway(), n_branches=None) == ()


@pytest.mark.parametrize(("millilitres", "fits"), [(18, False), (21.6, True), (199.2, True), (201.6, False)])
def test_the_volume_must_be_between_20_and_200_ml(millilitres: float, fits: bool) -> None:
    remarks = airway_remarks(*airway(millilitres), n_branches=None)
    assert remarks == (() if fits else (f"airway of {millilitres:.1f} ml, not 20 to 200",))


def test_few_branches_are_remarked_on() -> None:
    assert airway_remarks(*airway(), n_branches=19) == ("airway of 19 branches, fewer than 20",)


def test_thick_slices_are_remarked_on() -> None:
    mask, grid = airway()
    thick = VolumeGeometry.of(grid.shape, np.diag([2, 2, 2.6, 1]))
    assert airway_remarks(mask, thick, n_branches=None) == ("slices 2.6 mm apart, more than 2.5",)


def test_parts_count_when_they_hold_more_than_a_hundredth() -> None:
    mask, grid = airway()
    mask[28, 28, 3] = True
    assert airway_remarks(mask, grid, n_branches=None) == ()  # one voxel of 7501
    mask[28, 27:29] = True
    mask[25, 25, 10:25] = True
    mask[22:24, 29] = True
    assert airway_remarks(mask, grid, n_branches=None) == ("airway in 4 parts",)


def test_no_airway_within_a_centimetre_of_the_top_is_remarked_on() -> None:
    mask, grid = airway()
    mask[:, :, 26:] = False  # 8 mm
    assert airway_remarks(mask, grid, n_branches=None) == ()
    mask[:, :, 25:] = False  # 10 mm
    assert airway_remarks(mask, grid, n_branches=None) == ("no airway at the top of the scan",)
    turned = np.ascontiguousarray(mask[:, :, ::-1])  # the same airway in an array that begins at the head
    assert airway_remarks(turned, grid.flip(2), n_branches=None) == ("no airway at the top of the scan",)
    assert airway_remarks(mask, grid.flip(2), n_branches=None) == ()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.1, 3), st.booleans(), st.floats(-2000, 2000), st.sampled_from([-np.inf, -1024.0, 0.0]))
def test_extremes_are_those_of_all_values(
    tmp_path: Path, slope: float, falling: bool, intercept: float, lowest: float
) -> None:
    source = source_with(tmp_path, np.random.default_rng(0).integers(-1000, 1000, (4, 5, 20)))
    factors = np.full(20, -slope if falling else slope) * np.linspace(1, 1.5, 20)
    (volume,) = source._volumes
    changed = replace(volume, slope=factors, intercept=np.array([intercept]), lowest=lowest)
    source._volumes = (changed,)
    values = source.read()["input"]
    assert source.extremes() == (float(values.min()), float(values.max()))
