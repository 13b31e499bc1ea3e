"""Lungs by density: found where they are, and empty where there are none."""

from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from tessera.medical.lungs import depth_in_lungs, lung_box, lung_mask

SPACING = (4.0, 4.0, 4.0)


def thorax() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """A body of soft tissue with two lungs, air around it and a bubble of gas in the bowel."""
    i, j, k = np.indices((64, 48, 48))
    body = ((i - 32) / 30) ** 2 + ((j - 24) / 22) ** 2 < 1
    lungs = np.zeros(body.shape, dtype=bool)
    for centre in (17, 47):
        lungs |= ((i - centre) / 10) ** 2 + ((j - 24) / 14) ** 2 + ((k - 24) / 20) ** 2 < 1
    volume = np.where(body, 40.0, -1000.0).astype(np.float32)
    volume[lungs] = -860.0
    volume[30:33, 20:23, 4:7] = -1000.0
    return volume, lungs


def test_two_lungs_are_found_and_nothing_else() -> None:
    volume, lungs = thorax()
    found = lung_mask(volume, SPACING)
    overlap = 2 * (found & lungs).sum() / (found.sum() + lungs.sum())
    assert overlap > 0.98
    assert not found[30:33, 20:23, 4:7].any()


def test_vessels_inside_the_lung_belong_to_it() -> None:
    volume, lungs = thorax()
    volume[17, 10:38, 24] = 40.0
    assert lungs[17, 14:34, 24].all()
    assert lung_mask(volume, SPACING)[17, 14:34, 24].all()


def test_lungs_cut_off_by_the_scan_are_found() -> None:
    volume, lungs = thorax()
    cut = lung_mask(volume[:, :, 16:], SPACING)
    assert (cut & lungs[:, :, 16:]).sum() > 0.95 * lungs[:, :, 16:].sum()


@pytest.mark.parametrize("value", [-1000.0, 40.0])
def test_a_volume_without_lungs_has_none(value: float) -> None:
    volume = np.full((16, 16, 16), value, dtype=np.float32)
    assert not lung_mask(volume, SPACING).any()


def test_depth_is_distance_in_mm_over_the_largest() -> None:
    lungs = np.zeros((9, 20, 20), dtype=bool)
    lungs[2:7] = True
    depth = depth_in_lungs(lungs, (1.0, 5.0, 5.0))
    assert np.allclose(depth[:, 10, 10], [0, 0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0, 0])


def test_no_lungs_have_no_depth() -> None:
    assert not depth_in_lungs(np.zeros((3, 3, 3), dtype=bool), SPACING).any()


@pytest.mark.parametrize("head_last", [True, False])
def test_the_box_around_the_lungs_is_open_to_the_head(head_last: bool) -> None:
    volume, lungs = thorax()
    places = np.argwhere(lungs)
    low, high = places.min(0), places.max(0) + 1
    box = lung_box(volume, SPACING, margin_mm=8.0, head_last=head_last)
    assert box is not None
    assert [(side.start, side.stop) for side in box[:2]] == [
        (int(low[axis]) - 2, int(high[axis]) + 2) for axis in (0, 1)
    ]
    foot = (int(low[2]) - 2, 48) if head_last else (0, int(high[2]) + 2)
    assert (box[2].start, box[2].stop) == foot


def test_the_box_of_small_voxels_holds_the_lungs_and_the_margin() -> None:
    """Every fourth voxel is looked at; what lies between them is not cut off."""
    volume, lungs = thorax()
    shifted = np.roll(volume, (1, 2, 3), axis=(0, 1, 2))
    places = np.argwhere(np.roll(lungs, (1, 2, 3), axis=(0, 1, 2)))
    fine = (0.75, 0.75, 0.75)
    spaced = np.pad(shifted, ((9, 9), (9, 9), (0, 0)), mode="edge")
    spaced = np.repeat(np.repeat(np.repeat(spaced, 3, 0), 3, 1), 3, 2)
    edge = np.array([9, 9, 0])
    first, last = (places.min(0) + edge) * 3, (places.max(0) + 1 + edge) * 3
    box = lung_box(spaced, fine, margin_mm=3.0)
    assert box is not None
    starts, stops = [side.start for side in box], [side.stop for side in box]
    assert (np.array(starts) <= first - 4).all() and (np.array(starts) >= first - 4 - 4).all()
    assert (np.array(stops[:2]) >= last[:2] + 4).all() and (np.array(stops[:2]) <= last[:2] + 8).all()
    assert stops[2] == spaced.shape[2]


def test_the_axis_to_the_head_can_be_any() -> None:
    volume, _ = thorax()
    box = lung_box(volume, SPACING, margin_mm=8.0)
    turned = lung_box(volume.transpose(2, 0, 1), SPACING, margin_mm=8.0, head_axis=0)
    assert box is not None and turned == (box[2], box[0], box[1])


def test_without_lungs_there_is_no_box() -> None:
    assert lung_box(np.full((16, 16, 16), 40.0, dtype=np.float32), SPACING, margin_mm=5.0) is None


def test_depth_is_that_of_scipys_distances_in_less_memory() -> None:
    """SciPy itself takes about 50 bytes a voxel."""
    lungs = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(60, 70, 80)), 3.0) > 0
    spacing = (0.7, 0.9, 1.25)
    found = depth_in_lungs(lungs, spacing)
    tracemalloc.start()
    try:
        assert np.array_equal(depth_in_lungs(lungs, spacing), found)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    mm = ndimage.distance_transform_edt(np.pad(lungs, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    assert np.array_equal(found, (mm / mm.max()).astype(np.float32))
    assert peak < 25 * lungs.size
