"""Voxels in space: crops, resampling, flips and permutations keep every voxel where it is."""

from __future__ import annotations

from itertools import permutations, product

import nibabel
import numpy as np
import pytest

from tessera.core.data.geometry import Region
from tessera.medical.geometry import VolumeGeometry, nearest_axes

OBLIQUE = np.array(
    [[-0.7, 0.05, 0.1, 90.0], [0.06, -0.69, 0.2, 80.0], [0.02, -0.1, 2.5, -300.0], [0.0, 0.0, 0.0, 1.0]]
)


def grid() -> VolumeGeometry:
    return VolumeGeometry.of((5, 6, 7), OBLIQUE)


def test_spacing_and_volume_of_an_oblique_grid() -> None:
    assert np.allclose(grid().spacing, nibabel.affines.voxel_sizes(OBLIQUE))
    assert grid().voxel_mm3 == pytest.approx(abs(np.linalg.det(OBLIQUE[:3, :3])))


def test_affine_is_kept_to_the_last_bit() -> None:
    assert np.array_equal(grid().matrix, OBLIQUE)


def test_crop_moves_the_origin() -> None:
    part = grid().crop(Region((1, 2, 3), (4, 4, 7)))
    assert part.shape == (3, 2, 4)
    assert np.allclose(part.invert([[0, 0, 0], [2, 1, 3]]), [[1, 2, 3], [3, 3, 6]])
    assert np.allclose(part.to_world([[0, 0, 0]]), grid().to_world([[1, 2, 3]]))


def test_resampling_keeps_outer_faces() -> None:
    fine = grid().resample((10, 6, 14))
    faces = [[-0.5, -0.5, -0.5], [9.5, 5.5, 13.5]]
    assert np.allclose(fine.to_world(faces), grid().to_world([[-0.5, -0.5, -0.5], [4.5, 5.5, 6.5]]))
    assert fine.voxel_mm3 == pytest.approx(grid().voxel_mm3 / 4)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product([1, -1], repeat=3)))
def test_canonical_agrees_with_nibabel(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(axes)] * np.array(signs) * [0.5, 1.0, 2.0]
    affine[:3, 3] = [7.0, -3.0, 11.0]
    values = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(values, affine))
    source = VolumeGeometry.of(values.shape, affine)
    order, flips = source.towards_ras()
    array = np.flip(values.transpose(order), [axis for axis, reverse in enumerate(flips) if reverse])
    found = source.canonical()
    assert np.array_equal(array, np.asarray(expected.dataobj))
    assert np.allclose(found.matrix, expected.affine)
    places = np.argwhere(array >= 0)
    back = found.invert(places).round().astype(int)
    assert np.array_equal(values[tuple(back.T)], array[tuple(places.T)])


def test_nearest_axes_uses_each_axis_once() -> None:
    tilted = np.array([[0.6, 0.58, 0.55], [0.58, 0.6, 0.55], [0.55, 0.55, 0.63]])
    assert sorted(nearest_axes(tilted)) == [0, 1, 2]


def test_a_grid_of_two_axes_is_refused() -> None:
    with pytest.raises(ValueError, match="three axes"):
        VolumeGeometry.of((5, 6), np.eye(4))


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
def test_placement_puts_every_voxel_where_invert_does(axes: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    found = grid().permute(axes)
    for axis, reverse in enumerate(flips):
        found = found.flip(axis) if reverse else found
    found = found.crop(Region((1, 0, 2), found.shape)).resample((3, 11, 5))
    points = np.random.default_rng(0).uniform(-2, 12, (20, 3))
    place, expected = found.placement(), found.invert(points)
    for axis, source in enumerate(place.axes):
        assert np.allclose(place.offset[axis] + place.scale[axis] * points[:, axis], expected[:, source])


def test_a_grid_that_lies_askew_on_its_source_has_no_placement() -> None:
    turned = np.eye(4)
    turned[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    askew = VolumeGeometry((5, 6, 7), grid().affine, tuple(map(tuple, turned.tolist())))
    with pytest.raises(ValueError, match="askew"):
        askew.placement()
    turned[:2, :2] = [[1.0, 1.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match="askew"):
        VolumeGeometry((5, 6, 7), grid().affine, tuple(map(tuple, turned.tolist()))).placement()
