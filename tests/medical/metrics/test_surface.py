"""Distances of surfaces: by hand, and against MONAI and SimpleITK on blobs with anisotropic voxels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813 (the library's own name for itself)
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice
from monai.metrics.surface_distance import compute_average_surface_distance
from scipy.ndimage import gaussian_filter

from tessera.medical.metrics import surface_distances
from tessera.medical.metrics.surface import surface_voxels

Mask = npt.NDArray[np.bool_]
SPACING = (0.7, 1.3, 3.0)


def blob(seed: int, shape: tuple[int, ...] = (15, 17, 11)) -> Mask:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    return np.asarray(noise > np.quantile(noise, 0.8))


def tensor(mask: Mask) -> torch.Tensor:
    return torch.from_numpy(mask[None, None].astype(np.float32))


def test_two_slabs_that_lie_apart() -> None:
    first, second = np.zeros((8, 6, 6), dtype=np.bool_), np.zeros((8, 6, 6), dtype=np.bool_)
    first[2], second[5] = True, True
    found = surface_distances(first, second, spacing=(2.0, 1.0, 1.0))
    assert found.predicted.tolist() == found.reference.tolist() == [6.0] * 36
    assert found.hausdorff_mm() == found.mean_mm() == 6.0
    assert found.dice(5.9) == 0.0 and found.dice(6.0) == 1.0


def test_one_voxel_against_two() -> None:
    """Distances 0 one way, 0 and 3 mm the other way."""
    first, second = np.zeros((1, 1, 4), dtype=np.bool_), np.zeros((1, 1, 4), dtype=np.bool_)
    first[0, 0, 0] = second[0, 0, :2] = True
    found = surface_distances(first, second, spacing=(1.0, 1.0, 3.0))
    assert found.mean_mm() == pytest.approx(1.0)
    assert found.hausdorff_mm(95) == pytest.approx(0.95 * 3.0)
    assert found.hausdorff_mm(100) == 3.0
    assert found.dice(1.0) == pytest.approx(2 / 3)


def test_surface_of_a_cube_leaves_out_its_inside_and_counts_the_volumes_border() -> None:
    assert len(surface_voxels(np.ones((4, 5, 6), dtype=np.bool_))) == 4 * 5 * 6 - 2 * 3 * 4


# MONAI 1.6.1 passes an argument to itself that it has deprecated
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy.*:FutureWarning")
@pytest.mark.parametrize("seed", range(4))
def test_all_three_are_those_of_monai(seed: int) -> None:
    predicted, reference = blob(seed), blob(seed + 50)
    found = surface_distances(predicted, reference, spacing=SPACING)
    pair = {"y_pred": tensor(predicted), "y": tensor(reference), "include_background": True}
    expected = compute_hausdorff_distance(**pair, percentile=95, spacing=SPACING)
    assert found.hausdorff_mm() == pytest.approx(float(expected), rel=1e-5)
    expected = compute_average_surface_distance(**pair, symmetric=True, spacing=SPACING)
    assert found.mean_mm() == pytest.approx(float(expected), rel=1e-5)
    for tolerance in (0.5, 1.0, 3.0, 6.0):
        expected = compute_surface_dice(**pair, class_thresholds=[tolerance], spacing=SPACING)
        assert found.dice(tolerance) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_distances_are_those_of_simple_itk(seed: int) -> None:
    """Contours and signed distance maps of another library, voxel for voxel."""
    masks = blob(seed), blob(seed + 90)
    contours = []
    for mask in masks:
        padded = np.pad(mask, 1)
        image = sitk.GetImageFromArray(padded.astype(np.uint8))
        image.SetSpacing(SPACING[::-1])
        contours.append(sitk.LabelContour(image, fullyConnected=False))
    maps = [
        np.abs(
            sitk.GetArrayFromImage(
                sitk.SignedMaurerDistanceMap(c, squaredDistance=False, useImageSpacing=True)
            )
        )
        for c in contours
    ]
    edges = [sitk.GetArrayFromImage(c) > 0 for c in contours]
    found = surface_distances(*masks, spacing=SPACING)
    assert np.allclose(found.predicted, maps[1][edges[0]], atol=1e-4)
    assert np.allclose(found.reference, maps[0][edges[1]], atol=1e-4)


def test_an_empty_mask_has_no_distance_and_a_surface_dice_of_zero() -> None:
    empty, mask = np.zeros((15, 17, 11), dtype=np.bool_), blob(0)
    for found in (
        surface_distances(empty, mask, spacing=SPACING),
        surface_distances(mask, empty, spacing=SPACING),
    ):
        assert found.dice(1.0) == 0.0
        assert math.isnan(found.hausdorff_mm()) and math.isnan(found.mean_mm())
    both = surface_distances(empty, empty, spacing=SPACING)
    assert math.isnan(both.dice(1.0)) and math.isnan(both.hausdorff_mm()) and math.isnan(both.mean_mm())


@given(st.integers(0, 200), st.floats(0.1, 10))
def test_scaling_the_spacing_scales_the_distances(seed: int, scale: float) -> None:
    predicted, reference = blob(seed, (7, 8, 9)), blob(seed + 1, (7, 8, 9))
    found = surface_distances(predicted, reference, spacing=SPACING)
    scaled = surface_distances(predicted, reference, spacing=[scale * step for step in SPACING])
    assert scaled.hausdorff_mm() == pytest.approx(scale * found.hausdorff_mm())
    assert scaled.mean_mm() == pytest.approx(scale * found.mean_mm())


@given(st.integers(0, 200))
def test_turning_all_axes_round_or_swapping_the_masks_changes_nothing(seed: int) -> None:
    predicted, reference = blob(seed, (7, 8, 9)), blob(seed + 1, (7, 8, 9))
    found = surface_distances(predicted, reference, spacing=SPACING)
    other = surface_distances(reference[::-1, ::-1, ::-1], predicted[::-1, ::-1, ::-1], spacing=SPACING)
    for of in (found, other):
        assert of.dice(0.0) <= of.dice(1.0) <= of.dice(100.0) == 1.0
    assert other.hausdorff_mm() == pytest.approx(found.hausdorff_mm())
    assert other.mean_mm() == pytest.approx(found.mean_mm())
    assert other.dice(1.5) == pytest.approx(found.dice(1.5))
