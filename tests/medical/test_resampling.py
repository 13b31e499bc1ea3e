"""Resampling against scikit-image, scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

from tessera.medical.resampling import axis_weights, nearest, orders_for, resample, resample_labels

SHAPES = [(21, 29, 39), (9, 11, 13), (17, 40, 31), (1, 50, 62)]


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def peer(image: NDArray[np.float32], shape: tuple[int, ...], order: int) -> NDArray[np.float32]:
    return np.stack([resize(one, shape, order=order, mode="edge", anti_aliasing=False) for one in image])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", [1, 3])
def test_smooth_orders_agree_with_scikit_image(shape: tuple[int, ...], order: int) -> None:
    image = noise(2, 17, 23, 31)
    found = resample(torch.from_numpy(image), shape, orders=(order,) * 3).numpy()
    assert found.shape == (2, *shape)
    assert np.abs(found - peer(image, shape, order)).max() < 1e-5


def test_long_axes_agree_with_scikit_image_too() -> None:
    """Longer than a block, so that parts of the matrix are applied one after another."""
    image = noise(1, 3, 4, 210)
    found = resample(torch.from_numpy(image), (3, 5, 333)).numpy()
    assert np.abs(found - peer(image, (3, 5, 333), 3)).max() < 1e-5


def test_the_nearest_agrees_with_scipy() -> None:
    image = noise(7, 10)
    places = (np.arange(16) + 0.5) * 10 / 16 - 0.5
    grid = np.meshgrid(np.arange(7), places, indexing="ij")
    expected = ndimage.map_coordinates(image, grid, order=0, mode="nearest")
    found = resample(torch.from_numpy(image)[None], (7, 16), orders=(0, 0))[0].numpy()
    assert np.array_equal(found, expected)


def test_thick_slices_are_resampled_in_plane_and_copied_across() -> None:
    image = noise(1, 5, 20, 24)
    found = resample(torch.from_numpy(image), (8, 31, 30), orders=(0, 3, 3))[0].numpy()
    planes = [resize(plane, (31, 30), order=3, mode="edge", anti_aliasing=False) for plane in image[0]]
    expected = np.stack([planes[place] for place in (0, 0, 1, 2, 2, 3, 4, 4)])
    assert np.abs(found - expected).max() < 1e-5


def test_cubic_results_stay_in_the_range_of_each_channel() -> None:
    step = torch.zeros(2, 16, 1, 1)
    step[:, 8:] = torch.tensor([1.0, 100.0]).view(2, 1, 1, 1)
    fine = resample(step, (64, 1, 1))
    assert fine.amin((1, 2, 3)).tolist() == [0.0, 0.0]
    assert fine.amax((1, 2, 3)).tolist() == [1.0, 100.0]


def test_the_input_is_left_as_it_was() -> None:
    image = torch.from_numpy(noise(1, 6, 6, 6))
    before = image.clone()
    resample(image, (9, 6, 6))
    resample(image, (6, 6, 6)).add_(0)
    assert torch.equal(image, before)


def test_cubic_polynomials_are_reproduced_away_from_the_edges() -> None:
    x = np.arange(60.0)
    fine = (np.arange(90) + 0.5) * 60 / 90 - 0.5
    curve = 1e-4 * (x - 30) ** 3 + 0.02 * x
    found = axis_weights(60, 90, 3) @ curve
    assert np.allclose(found[25:-25], (1e-4 * (fine - 30) ** 3 + 0.02 * fine)[25:-25], atol=1e-6)


@given(st.integers(1, 40), st.integers(1, 60), st.sampled_from([0, 1, 3]))
def test_a_constant_stays_a_constant(old: int, new: int, order: int) -> None:
    assert np.allclose(axis_weights(old, new, order).sum(1), 1.0)


@given(st.integers(1, 40), st.integers(1, 60))
def test_the_nearest_element_holds_the_centre(old: int, new: int) -> None:
    index = nearest(old, new)
    centres = (np.arange(new) + 0.5) * old / new
    assert np.all(index <= centres + 1e-9)
    assert np.all(centres <= index + 1 + 1e-9)


@pytest.mark.parametrize("shape", [(25, 27, 29), (13, 21, 12), (40, 42, 46)])
def test_labels_are_the_largest_of_the_resampled_maps(shape: tuple[int, ...]) -> None:
    smooth = np.stack([ndimage.gaussian_filter(part, 2) for part in noise(4, 20, 21, 23)])
    labels = smooth.argmax(0).astype(np.int16)
    maps = peer(np.stack([labels == name for name in range(4)]).astype(np.float32), shape, 1)
    low, high = np.sort(maps, 0)[-2:]
    clear = high - low > 1e-5
    found = resample_labels(torch.from_numpy(labels), shape).numpy()
    assert found.dtype == np.int16
    assert clear.mean() > 0.99
    assert np.array_equal(found[clear], maps.argmax(0)[clear])


def test_only_labels_that_were_there_come_out() -> None:
    labels = torch.zeros(9, 9, 9, dtype=torch.uint8)
    labels[2:7, 2:7, 2:7] = 7
    labels[4:, 4:, 4:] = 30
    assert set(torch.unique(resample_labels(labels, (13, 7, 20))).tolist()) == {0, 7, 30}
    negative = torch.full((3, 3, 3), -1, dtype=torch.int16)
    assert torch.unique(resample_labels(negative, (5, 5, 5))).tolist() == [-1]


def test_a_tie_is_won_by_the_structure() -> None:
    labels = torch.tensor([0, 0, 1, 1, 0, 0, 2, 2], dtype=torch.uint8).view(-1, 1, 1)
    found = resample_labels(labels, (4, 1, 1))  # every new element is half of each of two old ones
    assert found.flatten().tolist() == [0, 1, 0, 2]
    shifted = resample_labels(labels.roll(1, 0), (4, 1, 1))
    assert shifted.flatten().tolist() == [2, 1, 1, 2]


def test_labels_keep_their_slices_where_voxels_are_thick() -> None:
    labels = torch.zeros(3, 8, 8, dtype=torch.int16)
    labels[1] = 1
    found = resample_labels(labels, (6, 8, 8), orders=(0, 1, 1))
    assert found[:, 0, 0].tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("spacing", "new", "expected"),
    [
        ((1, 1, 1), (2, 2, 2), (3, 3, 3)),
        ((5, 1, 1), (1, 1, 1), (0, 3, 3)),
        ((1, 1, 1), (1, 4, 1), (3, 0, 3)),
        ((3, 1, 1), (3, 1, 1), (3, 3, 3)),  # exactly three times is not thick
        ((5, 5, 1), (1, 1, 1), (3, 3, 3)),  # two thick axes have no planes
        ((5, 5, 1), (1, 1, 9), (3, 3, 3)),  # the image's own spacing decides when it is anisotropic
    ],
)
def test_thick_voxels_are_found(
    spacing: tuple[float, ...], new: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    assert orders_for(spacing, new) == expected


def test_a_wrong_shape_is_refused_with_both() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4, 4, 4\) to \(5, 5\)"):
        resample(torch.zeros(1, 4, 4, 4), (5, 5))
    with pytest.raises(ValueError, match="no empty axis"):
        resample(torch.zeros(1, 4, 0, 4), (5, 5, 5))
