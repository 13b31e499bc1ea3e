"""Reordering, flips and boxes: there and back."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from tessera.core.data.geometry import Region
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.layout import Layout

SIZE = (5, 6, 7)


def source(axes: tuple[int, ...] = (0, 1, 2), signs: tuple[int, ...] = (1, 1, 1)) -> VolumeGeometry:
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(axes)] * np.array(signs) * [0.5, 1.0, 2.0]
    affine[:3, 3] = [7.0, -3.0, 11.0]
    return VolumeGeometry.of(SIZE, affine)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product([1, -1], repeat=3)))
def test_every_orientation_is_taken_and_put_back(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    grid = source(axes, signs)
    values = np.arange(np.prod(SIZE)).reshape(SIZE)
    for order in permutations(range(3)):
        layout = Layout.towards(grid, order)
        taken, there = layout.take(values), layout.grid(grid)
        assert taken.shape == there.size
        indices = np.argwhere(taken >= 0)
        assert np.array_equal(values[tuple(there.invert(indices).astype(int).T)], taken.ravel())
        steps = np.diff(there.to_world([[0, 0, 0], [1, 0, 0]]), axis=0)[0]
        assert steps[order[0]] > 0  # the first axis runs to the right, to the front or up
        back = np.zeros_like(values)
        layout.put(taken, back)
        assert np.array_equal(back, values)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product([1, -1], repeat=3)))
def test_what_was_taken_is_seen_in_the_sources_order(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    values = np.arange(2 * np.prod(SIZE)).reshape(2, *SIZE)
    for order in permutations(range(3)):
        layout = Layout.towards(source(axes, signs), order).cut(Region((1, 0, 2), (3, 4, 5)))
        box = layout.source_box
        part = values[:, *(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))]
        assert np.array_equal(layout.stored(layout.take(values)), part)
        assert np.shares_memory(layout.stored(layout.take(values)), values)


def test_a_layout_is_found_from_the_grid_alone() -> None:
    grid = source((2, 0, 1), (-1, 1, -1))
    layout = Layout.towards(grid, (2, 0, 1)).cut(Region((1, 0, 2), (4, 5, 4)))
    for shape in [(3, 5, 2), (6, 5, 4), (1, 2, 9)]:
        assert Layout.of(layout.grid(grid).resample(shape)) == layout


def test_a_box_is_cut_from_a_box() -> None:
    layout = Layout.towards(source(), (0, 1, 2)).cut(Region((1, 2, 3), (5, 6, 7)))
    assert layout.cut(Region((1, 1, 1), (2, 3, 4))).box == Region((2, 3, 4), (3, 5, 7))


def test_channels_stay_in_front() -> None:
    values = np.random.default_rng(0).normal(size=(2, *SIZE))
    layout = Layout.towards(source((1, 2, 0), (1, -1, 1)), (2, 1, 0))
    assert np.array_equal(layout.take(values)[1], layout.take(values[1]))


def test_a_grid_between_the_voxels_is_refused() -> None:
    fine = source().resample((10, 6, 7)).crop(Region((1, 0, 0), (10, 6, 7)))
    with pytest.raises(ValueError, match="not a box of its source's voxels"):
        Layout.of(fine)
