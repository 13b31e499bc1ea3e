"""Connected parts, boxes and holes, against scipy and scikit-image on random masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label

from tessera.medical.mask_components import (
    Connectivity,
    bounding_box,
    filled,
    joined,
    largest_component,
    touching_components,
)

NONE = (slice(0, 0),) * 3


def random_mask(seed: int, share: float = 0.3) -> npt.NDArray[np.bool_]:
    return np.random.default_rng(seed).random((9, 11, 13)) < share


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("seed", range(4))
def test_largest_component_is_that_of_scikit_image(connectivity: Connectivity, seed: int) -> None:
    mask = random_mask(seed, {6: 0.25, 18: 0.1, 26: 0.06}[connectivity])
    parts = label(mask, connectivity={6: 1, 18: 2, 26: 3}[connectivity])
    sizes = np.bincount(parts.ravel())[1:]
    found = largest_component(mask, connectivity=connectivity)
    assert found.sum() == sizes.max() < mask.sum()
    inside = np.unique(parts[found])
    assert len(inside) == 1 and np.array_equal(found, parts == inside[0])


def test_connectivity_of_two_voxels_that_share_a_corner() -> None:
    mask = np.zeros((3, 3, 3), dtype=np.bool_)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert [largest_component(mask, connectivity=c).sum() for c in (6, 18, 26)] == [1, 1, 2]
    mask[1, 1, 0] = True
    assert [largest_component(mask, connectivity=c).sum() for c in (6, 18, 26)] == [2, 3, 3]


def test_arrays_in_fortran_order_give_the_same_part() -> None:
    mask = random_mask(7)
    assert np.array_equal(largest_component(np.asfortranarray(mask)), largest_component(mask))


def test_a_line_of_voxels_has_its_largest_part() -> None:
    """cc3d alone fails on such masks."""
    for k in range(64):
        mask = np.array([k >> bit & 1 for bit in range(6)], dtype=np.bool_).reshape(1, 6, 1)
        runs = "".join("1" if voxel else " " for voxel in mask.ravel()).split()
        assert largest_component(mask).sum() == max(map(len, runs), default=0)


def test_an_empty_mask_stays_empty() -> None:
    empty = np.zeros((4, 5, 6), dtype=np.bool_)
    assert not largest_component(empty).any() and not filled(empty).any()
    assert bounding_box(empty) == NONE
    assert len(touching_components(empty, empty)) == 0


@given(st.integers(0, 1000), st.floats(0.001, 0.9))
def test_box_is_that_of_scipy(seed: int, share: float) -> None:
    mask = random_mask(seed, share)
    found = ndimage.find_objects(mask.astype(np.uint8))
    assert bounding_box(mask) == (found[0] if found else NONE)


def test_joined_boxes_hold_both() -> None:
    first, second = (slice(1, 3), slice(4, 6), slice(0, 2)), (slice(2, 5), slice(1, 2), slice(0, 9))
    assert joined(first, second) == (slice(1, 5), slice(1, 6), slice(0, 9))
    assert joined(NONE, first) == joined(first, NONE) == first
    assert joined(NONE, NONE) == NONE


@pytest.mark.parametrize("seed", range(4))
def test_holes_are_those_of_scipy(seed: int) -> None:
    mask = random_mask(seed, 0.7)
    expected = ndimage.binary_fill_holes(mask)
    assert expected.sum() > mask.sum()
    assert np.array_equal(filled(mask), expected)


def test_touching_components_are_counted_with_their_sizes() -> None:
    body = np.zeros((7, 20, 7), dtype=np.bool_)
    body[3, :, 3] = True
    leaks = np.zeros_like(body)
    leaks[4:6, 2, 3] = True  # two voxels at a face
    leaks[4, 8, 4] = True  # at an edge
    leaks[6, 15, 6] = True  # apart
    assert touching_components(leaks, body, connectivity=26).tolist() == [2, 1]
    assert touching_components(leaks, body, connectivity=6).tolist() == [2]


@given(st.integers(0, 1000), st.sampled_from([(6, 1), (18, 2), (26, 3)]))
def test_touching_components_are_those_of_scipys_dilation(seed: int, kind: tuple[Connectivity, int]) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 8, 3))
    mask = rng.random(shape) < 0.3
    other = ~mask & (rng.random(shape) < 0.3)
    block = ndimage.generate_binary_structure(3, kind[1])
    parts, n = ndimage.label(mask, block)
    each = [parts == i for i in range(1, n + 1)]
    expected = [int(part.sum()) for part in each if (ndimage.binary_dilation(part, block) & other).any()]
    assert sorted(touching_components(mask, other, connectivity=kind[0]).tolist()) == sorted(expected)
