"""Structures that get lost, sides of the body in names, and patients in names."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.core.data.case import Case
from tessera.medical.planning.audit import (
    Loss,
    audit_survival,
    grouping_warnings,
    lost_parts,
    mirror_rule,
    opposite_ends,
    side_pairs,
)

from .conftest import CLASSES, Memory


def blobs() -> np.ndarray:
    labels = np.zeros((16, 16, 16), dtype=np.int16)
    labels[1:9, 1:9, 1:9] = 1
    labels[12, 12, 12] = 1  # one voxel
    labels[2:4, 12:14, 2:4] = 2  # two voxels wide
    return labels


def test_nothing_is_lost_on_the_same_grid() -> None:
    assert lost_parts(blobs(), (1, 1, 1), (1, 1, 1)) == {1: (2, 0), 2: (1, 0)}


def test_single_voxels_vanish_at_twice_the_spacing() -> None:
    """A voxel is an eighth of the new one, and the background outvotes it; the block of eight stays."""
    assert lost_parts(blobs(), (1, 1, 1), (2, 2, 2)) == {1: (2, 1), 2: (1, 0)}


def test_at_four_times_the_spacing_only_the_large_part_stays() -> None:
    assert lost_parts(blobs(), (1, 1, 1), (4, 4, 4)) == {1: (2, 1), 2: (1, 1)}


def test_nothing_is_lost_at_a_third_of_the_spacing() -> None:
    assert lost_parts(blobs(), (1, 1, 1), (1 / 3, 1 / 3, 1 / 3)) == {1: (2, 0), 2: (1, 0)}


def test_losses_are_listed_by_case_the_worst_first(memory: Memory) -> None:
    turned = np.diag([-1.0, 1.0, 1.0, 1.0])
    cases = [
        memory.add("one", blobs(), blobs(), affine=turned),
        memory.add("fine", blobs(), blobs(), affine=np.diag([4.0, 4.0, 4.0, 1.0])),
    ]
    losses = audit_survival(
        cases, memory, target="label", classes=CLASSES, axes=(2, 0, 1), spacing_mm=(4.0, 4.0, 4.0)
    )
    assert losses == (Loss("one", "lesion", 1, 1), Loss("one", "organ", 2, 1))
    assert [loss.vanished for loss in losses] == [True, False]
    assert memory.opened == []  # images are not read


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("left_kidney", "right_kidney"), ((1, 2),)),
        (("Right Kidney", "Left Kidney"), ((2, 1),)),
        (("lung_l", "lung_r", "liver"), ((1, 2),)),
        (("KidneyL", "KidneyR"), ((1, 2),)),
        (("rib_left_1", "rib_left_2", "rib_right_1", "rib_right_2"), ((1, 3), (2, 4))),
        (("lh.hippocampus", "rh.hippocampus"), ((1, 2),)),
        (("left_lateral_ventricle", "right_lateral_ventricle"), ((1, 2),)),
        (("Anterior", "Posterior"), ()),
        (("vertebra_L1", "vertebra_L2", "liver"), ()),
        (("clear cell", "leftover", "bright"), ()),
    ],
)
def test_pairs_of_sides_are_found_in_names(
    names: tuple[str, ...], pairs: tuple[tuple[int, int], ...]
) -> None:
    assert side_pairs(("background", *names)) == (pairs, ())


def test_a_side_without_its_mirror_image_is_named() -> None:
    lobes = ("background", "lung_upper_left", "lung_upper_right", "lung_middle_right")
    assert side_pairs(lobes) == (((1, 2),), ("lung_middle_right",))
    rule = mirror_rule(lobes, (2, 0, 1))
    assert rule.axes == (0, 2)  # not the network's axis 1, which runs from left to right
    assert rule.pairs == ()
    assert "lung_middle_right" in rule.reason


def test_chambers_of_the_heart_are_no_mirror_images() -> None:
    heart = ("background", "left_ventricle", "right_ventricle", "myocardium")
    assert side_pairs(heart) == ((), ("left_ventricle", "right_ventricle"))
    assert mirror_rule(heart, (0, 1, 2)).axes == (1, 2)


def test_mirroring_is_free_without_sides_and_swaps_with_them() -> None:
    assert mirror_rule(("background", "liver"), (0, 1, 2)).axes == (0, 1, 2)
    both = mirror_rule(("background", "left_eye", "right_eye"), (1, 0, 2))
    assert (both.axes, both.pairs) == ((0, 1, 2), ((1, 2),))
    assert mirror_rule(("background", "liver"), (0, 1, 2), spatial_dims=2).axes == (1, 2)


def cases(*names: str, group: str = "") -> list[Case]:
    return [Case(id=name, files={}, group=group or name) for name in names]


@pytest.mark.parametrize(
    "names",
    [
        ("ada_t0.nii.gz", "ada_t1.nii.gz", "ben_t0.nii.gz"),
        ("p001_2", "p001_3", "p002_1"),
        ("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"),
        ("a/ada-baseline", "a/ada-followup1", "a/ben-baseline"),
    ],
)
def test_several_scans_of_a_patient_are_noticed(names: tuple[str, ...]) -> None:
    (warning,) = grouping_warnings(cases(*names))
    assert "look like one patient" in warning


@pytest.mark.parametrize(
    "names",
    [
        ("hippocampus_001", "hippocampus_002", "hippocampus_003"),
        ("case_0", "case_1", "case_2"),
        ("BRATS_485", "BRATS_486"),
        ("ada", "ben", "cleo"),
    ],
)
def test_numbered_cases_are_no_patients(names: tuple[str, ...]) -> None:
    assert grouping_warnings(cases(*names)) == []


def test_groups_that_are_given_are_believed() -> None:
    assert grouping_warnings(cases("ada_t0", "ada_t1", "ben_t0", group="x")) == []


def test_the_two_ends_of_an_organ_are_not_mirrored_onto_each_other() -> None:
    rule = mirror_rule(("background", "anterior", "posterior"), (2, 1, 0))
    assert (rule.axes, rule.pairs) == ((0, 2), ())
    assert "anterior would lie in the place of posterior" in rule.reason


@pytest.mark.parametrize(
    "names", [("anterior",), ("anterior cruciate ligament", "meniscus"), ("upper", "tumour")]
)
def test_one_end_alone_says_nothing_of_the_other(names: tuple[str, ...]) -> None:
    assert opposite_ends(("background", *names)) == {}


def test_lobes_of_two_axes_and_sides_keep_all_their_rules() -> None:
    names = ("background", "left_upper_lobe", "left_lower_lobe", "right_upper_lobe", "right_lower_lobe")
    rule = mirror_rule(names, (0, 1, 2))
    assert rule.axes == (0, 1)
    assert rule.pairs == ((1, 3), (2, 4))
