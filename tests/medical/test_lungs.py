"""Lungs by density: found where they are, and empty where there are none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tessera.medical.lungs import depth_in_lungs, lung_mask

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
