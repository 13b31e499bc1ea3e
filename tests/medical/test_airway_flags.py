"""Remarks on lungs and leaks, on boxes of air and trees of branches with volumes that are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tessera.core.data.case import Case, FileRef
from tessera.medical.airway_flags import (
    NO_LUNGS,
    LungFacts,
    leak_remarks,
    look_at_lungs,
    lung_remarks,
)
from tessera.medical.readers import VolumeReader, VolumeSource

GOOD = LungFacts(4.0, -820.0, (0.0, 0.0))


def chest(folder: Path, *, lungs: slice, hu: int = -850, axes: Sequence[int] = (0, 1, 2)) -> VolumeSource:
    """A body of 28 x 20 x 24 cm in voxels of 5 mm with two lungs of 10 x 12 cm; its axes in another order."""
    values = np.full((64, 48, 48), -1000, dtype=np.int16)
    values[4:60, 4:44] = 40
    for first in (8, 36):
        values[first : first + 20, 12:36, lungs] = hu
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    image = nibabel.Nifti1Image(values.transpose(axes), affine[:, [*axes, 3]])
    nibabel.save(image, folder / "chest.nii")
    return VolumeReader().open(
        Case(id="chest", files={"image": FileRef(path=folder / "chest.nii")}, group="g")
    )


def test_two_boxes_of_air_have_their_volume_and_their_density(tmp_path: Path) -> None:
    facts = look_at_lungs(chest(tmp_path, lungs=slice(8, 40)))
    assert facts is not None
    assert facts.litres == pytest.approx(2 * 1.0 * 1.2 * 1.6)  # dm
    assert facts.mean_hu == -850
    assert facts.cut_cm2 == (0, 0)
    assert lung_remarks(facts) == ()


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize(("lungs", "end"), [(slice(0, 40), "lower"), (slice(8, 48), "upper")])
def test_lungs_cut_off_are_named_by_the_end_of_the_body(
    tmp_path: Path, lungs: slice, end: str, axes: tuple[int, ...]
) -> None:
    facts = look_at_lungs(chest(tmp_path, lungs=lungs, axes=axes))
    assert facts is not None
    assert sorted(facts.cut_cm2) == pytest.approx([0, 2 * 10 * 12])
    assert lung_remarks(facts) == (f"lungs cut off at the {end} end of the scan",)


def test_a_scan_stored_head_first_has_its_head_at_the_top_too(tmp_path: Path) -> None:
    source = chest(tmp_path, lungs=slice(8, 48))
    image = nibabel.load(tmp_path / "chest.nii")
    flipped = nibabel.Nifti1Image(np.asarray(image.dataobj)[:, :, ::-1], np.diag([5.0, 5.0, -5.0, 1.0]))
    source.close()
    nibabel.save(flipped, tmp_path / "flipped.nii")
    case = Case(id="f", files={"image": FileRef(path=tmp_path / "flipped.nii")}, group="g")
    assert lung_remarks(look_at_lungs(VolumeReader().open(case))) == (
        "lungs cut off at the upper end of the scan",
    )


def test_fine_voxels_are_looked_at_coarsely_and_give_the_same_volume(tmp_path: Path) -> None:
    values = np.full((90, 60, 90), 40, dtype=np.int16)
    values[10:80, 10:50, 9:] = -850
    image = nibabel.Nifti1Image(values, np.diag([0.9, 3.5, 1.4, 1.0]))  # every third, every, every second
    nibabel.save(image, tmp_path / "a.nii")
    case = Case(id="a", files={"image": FileRef(path=tmp_path / "a.nii")}, group="g")
    facts = look_at_lungs(VolumeReader().open(case))
    assert facts is not None
    assert facts.litres == pytest.approx(70 * 40 * 81 * 0.9 * 3.5 * 1.4 / 1e6, rel=0.05)
    assert facts.cut_cm2 == pytest.approx((0, 70 * 40 * 0.9 * 3.5 / 100), rel=0.05)


def test_a_scan_of_something_else_has_no_lungs(tmp_path: Path) -> None:
    facts = look_at_lungs(chest(tmp_path, lungs=slice(0, 0)))
    assert facts is None
    assert lung_remarks(facts) == (NO_LUNGS,)


@pytest.mark.parametrize(
    ("facts", "remarks"),
    [
        (GOOD, 0),
        (LungFacts(1.9, -750.0, (3.9, 3.9)), 0),
        (LungFacts(1.89, -820.0, (0, 0)), 1),
        (LungFacts(1.0, -820.0, (0, 4.0)), 1),  # cut, so its volume says nothing
        (LungFacts(4.0, -749.0, (0, 0)), 1),
        (LungFacts(1.5, -700.0, (0, 0)), 2),
    ],
)
def test_limits_of_the_lungs(facts: LungFacts, remarks: int) -> None:
    assert len(lung_remarks(facts)) == remarks


def branch(number: int, parent: int | None, *, diameter_mm: float, length_mm: float = 20.0) -> dict[str, Any]:
    """A cylinder, as the table of branches has it."""
    volume = float(np.pi / 4 * diameter_mm**2 * length_mm)
    return {
        "id": number,
        "parent": parent,
        "length_mm": length_mm,
        "volume_mm3": volume,
        "diameter_area_mm": diameter_mm,
        "generation": 0 if parent is None else 1,
        "start_mm": (0.0, 0.0, -20.0 * number),
        "end_mm": (0.0, 0.0, -20.0 * number - 20),
    }


def symmetric(generations: int, widest_mm: float) -> list[dict[str, Any]]:
    """A tree whose branches are narrower than their parents by a fifth."""
    branches = [branch(1, None, diameter_mm=widest_mm)]
    for number in range(2, 2 ** (generations + 1)):
        parent = branches[number // 2 - 1]
        branches.append(branch(number, number // 2, diameter_mm=0.79 * parent["diameter_area_mm"]))
    return branches


def test_a_symmetric_tree_does_not_leak() -> None:
    assert leak_remarks(symmetric(5, 18.0)) == ()
    assert leak_remarks([]) == ()


def test_a_branch_wider_than_its_parent_is_named_with_both_diameters() -> None:
    tree = symmetric(3, 10.0)
    tree[4] = branch(5, 2, diameter_mm=7.9 * 1.39)
    assert leak_remarks(tree) == ()
    tree[4] = branch(5, 2, diameter_mm=7.9 * 1.41)
    assert leak_remarks(tree) == ("perhaps a leak: branches wider than their parent: 5 (11.1 mm after 7.9)",)


def test_many_wide_branches_are_counted() -> None:
    tree = [branch(1, None, diameter_mm=5), *(branch(n, 1, diameter_mm=9) for n in range(2, 7))]
    (remark,) = leak_remarks(tree)
    assert remark.endswith("4 (9.0 mm after 5.0) and 2 more")


def test_branches_without_length_or_parent_are_left_alone() -> None:
    lone = branch(2, 1, diameter_mm=9) | {"diameter_area_mm": None}
    assert leak_remarks([branch(1, None, diameter_mm=5), lone, branch(3, 2, diameter_mm=30)]) == ()


def test_a_wide_tree_leaks_and_a_trachea_alone_does_not() -> None:
    """Cylinders of 10 mm hold pi / 4 * 100 = 78.5 mm3 a mm, of 11 mm 95."""
    for diameter_mm, n, expected in ((10, 20, 0), (11, 20, 1), (11, 19, 0)):
        tree = [branch(i, i - 1 or None, diameter_mm=diameter_mm) for i in range(1, n + 1)]
        assert len(leak_remarks(tree)) == expected


def test_the_largest_branch_must_reach_highest() -> None:
    """It begins at -20 mm."""
    tree = symmetric(2, 10.0)
    for height_mm, expected in ((-11.0, 0), (-9.0, 1)):
        tree[2]["end_mm"] = (5.0, 5.0, height_mm)
        assert len(leak_remarks(tree)) == expected
