"""Of an airway its largest part is kept, and nothing else of the mask is touched."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tessera.medical.airway_mask import airway_class, keep_largest_airway


def two_tubes() -> NDArray[np.uint8]:
    """An airway of 20 voxels and one of 5, and another class (I, J, K)."""
    mask = np.zeros((8, 9, 24), dtype=np.uint8)
    mask[2, 2, 2:22] = 2
    mask[6, 6, 2:7] = 2
    mask[4, 4, :] = 1
    return mask


def test_the_smaller_part_goes_and_other_classes_stay() -> None:
    mask = two_tubes()
    before = mask.copy()
    kept, left_out = keep_largest_airway(mask, label=2)
    assert left_out == 5 / 25
    assert kept.dtype == np.uint8
    assert (kept == 2).sum() == 20 and (kept[2, 2] == 2).sum() == 20
    assert (kept == 1).sum() == 24
    np.testing.assert_array_equal(mask, before)


def test_parts_that_touch_by_a_corner_are_one() -> None:
    mask = np.zeros((6, 6, 6), dtype=np.uint8)
    mask[1, 1, 1] = mask[2, 2, 2] = mask[3, 3, 3] = 1
    mask[5, 5, 0] = 1
    kept, left_out = keep_largest_airway(mask, label=1)
    assert (int(kept.sum()), left_out) == (3, 0.25)


@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_of_one_part_or_none_stays_as_it_is(value: int) -> None:
    mask = np.full((4, 5, 6), value, dtype=np.uint16)
    kept, left_out = keep_largest_airway(mask, label=1)
    assert left_out == 0.0
    np.testing.assert_array_equal(kept, mask)


def test_the_part_kept_is_the_largest_that_scipy_finds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = (rng.random((9, 10, 11)) < 0.12).astype(np.uint8)
        labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
        sizes = np.bincount(labels.ravel())[1:]
        kept, left_out = keep_largest_airway(mask, label=1)
        assert kept.sum() == sizes.max()
        assert len(np.unique(labels[kept > 0])) == 1
        assert left_out == pytest.approx(1 - sizes.max() / sizes.sum())


@pytest.mark.parametrize(
    ("classes", "place"),
    [
        (("background", "airway"), 1),
        (("background", "lung", "airway"), 2),
        (("background", "lumen", "wall"), 1),
    ],
)
def test_the_airway_is_found_among_the_classes(classes: tuple[str, ...], place: int) -> None:
    assert airway_class(classes) == place
