"""Volumes prepared and cut: geometry, masks and windows."""

from __future__ import annotations

import tracemalloc
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tessera.core.data.cache import ArraySource, geometry_from_json, geometry_to_json
from tessera.core.data.geometry import Region
from tessera.core.data.windows import WholeWindows
from tessera.core.errors import ConfigError, DataError
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.layout import Layout
from tessera.medical.planning.data_config import AsStoredConfig, CTConfig, VolumeDataConfig, ZScoreConfig
from tessera.medical.readers import VolumeReader
from tessera.medical.windows import VolumeWindows, nonzero_box, window_starts

AFFINE = np.array([[0, -1.0, 0, 30], [1.0, 0, 0, -5], [0, 0, -3.0, 90], [0, 0, 0, 1]])


def windows(**data: Any) -> VolumeWindows:
    settings = {
        "axes": (2, 0, 1),
        "spacing_mm": (None, None, None),
        "patch": (4, 6, 8),
        "normalisation": (AsStoredConfig(),),
    }
    return VolumeWindows(SimpleNamespace(data=VolumeDataConfig(**(settings | data))))


def source(image: NDArray[np.float32], affine: NDArray[np.float64] = AFFINE) -> ArraySource:
    image = image if image.ndim == 4 else image[None]
    return ArraySource(image.astype(np.float32), VolumeGeometry.of(image.shape[1:], affine))


def labels(mask: NDArray[np.integer[Any]], affine: NDArray[np.float64] = AFFINE) -> ArraySource:
    return ArraySource(mask[None], VolumeGeometry.of(mask.shape, affine))


def plain(*shape: int) -> VolumeGeometry:
    return VolumeGeometry.of(shape, np.eye(4))


def test_windows_keep_the_protocol() -> None:
    assert isinstance(windows(), WholeWindows)
    assert windows().cuts_prepared
    assert windows().input_shape == (1, 4, 6, 8)
    assert windows(patch=(1, 6, 8), spatial_dims=2).input_shape == (1, 6, 8)


def test_what_is_not_planned_yet_is_named() -> None:
    with pytest.raises(ConfigError, match=r"null for data\.axes, data\.patch"):
        windows(axes=None, patch=None)


def test_a_prepared_volume_knows_where_each_voxel_came_from() -> None:
    image = np.zeros((9, 10, 11), dtype=np.float32)
    image[2:8, 1:7, 3:10] = np.arange(1, 253).reshape(6, 6, 7)
    prepared, grid = windows().prepare(source(image))
    assert prepared.shape == (1, 7, 6, 6)
    places = grid.invert(np.argwhere(prepared[0] > -1)).astype(int)
    assert np.array_equal(image[tuple(places.T)], prepared.ravel())
    assert geometry_from_json(geometry_to_json(grid)) == grid


def test_axes_of_the_network_mean_directions_of_the_body() -> None:
    _, grid = windows().prepare(source(np.ones((4, 5, 6), dtype=np.float32)))
    steps = np.diff(grid.to_world(np.vstack([np.zeros(3), np.eye(3)])), axis=0)
    corner = grid.to_world([[0, 0, 0]])[0]
    moved = grid.to_world(np.eye(3)) - corner
    assert len(steps) == 3
    assert np.allclose(moved, [[0, 0, 3], [1, 0, 0], [0, 1, 0]])  # up, right, front


def test_a_linear_ramp_in_space_is_a_ramp_after_resampling() -> None:
    """Values equal the place in mm, so the geometry of the prepared grid must predict them."""
    grid = VolumeGeometry.of((12, 14, 16), AFFINE)
    indices = np.indices(grid.size).reshape(3, -1).T
    ramp = (grid.to_world(indices) @ [1.0, 2.0, -0.5]).reshape(grid.size)
    prepared, found = windows(spacing_mm=(2.0, 0.8, 1.25), crop=False).prepare(source(ramp))
    assert found.size == (24, 18, 10)  # 16 x 3 / 2, 14 / 0.8 = 17.5, 12 / 1.25 = 9.6
    inner = np.indices(tuple(n - 8 for n in found.size)).reshape(3, -1).T + 4
    expected = found.to_world(inner) @ [1.0, 2.0, -0.5]
    assert np.allclose(prepared[0][tuple(inner.T)], expected, atol=0.05)


def test_thick_slices_are_not_smoothed_across() -> None:
    image = np.zeros((6, 6, 4), dtype=np.float32)
    image[:, :, 2] = 1.0
    thick = np.diag([1.0, 1.0, 5.0, 1.0])
    prepared, _ = windows(spacing_mm=(2.5, 1.0, 1.0), crop=False).prepare(source(image, thick))
    assert prepared[0, :, 3, 3].tolist() == [0, 0, 0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_a_mask_follows_its_image(axes: tuple[int, ...]) -> None:
    """The mask of bright voxels, prepared, is where the prepared image is bright."""
    rng = np.random.default_rng(3)
    blob = np.zeros((14, 15, 16))
    blob[3:9, 4:12, 5:11] = 1
    blob[9:12, 6:8, 6:8] = 1
    image = blob * 100 + rng.normal(0, 1e-3, blob.shape) + 1
    image[:2] = 0  # cut away
    cut = windows(axes=axes, spacing_mm=(1.3, 0.7, 0.9), image_order=1)
    prepared, grid = cut.prepare(source(image.astype(np.float32)))
    mask = cut.prepare_mask(labels(blob.astype(np.uint8)), grid)
    assert mask.shape == prepared.shape[1:]
    assert mask.dtype == np.int16
    bright = prepared[0] > 51
    dice = 2 * (bright & (mask == 1)).sum() / (bright.sum() + (mask == 1).sum())
    assert dice > 0.99


def test_a_mask_of_another_shape_is_refused() -> None:
    _, grid = windows().prepare(source(np.ones((4, 5, 6), dtype=np.float32)))
    with pytest.raises(DataError, match=r"mask \(4, 5, 7\), image \(4, 5, 6\)"):
        windows().prepare_mask(labels(np.zeros((4, 5, 7), dtype=np.uint8)), grid)


def test_voxels_that_are_no_numbers_are_counted() -> None:
    image = np.ones((4, 4, 4), dtype=np.float32)
    image[0, 0, :2] = np.nan
    with pytest.raises(DataError, match="2 of 64 voxels are NaN"):
        windows().prepare(source(image))


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_a_volume_prepared_slice_after_slice_is_that_prepared_at_once(
    axes: tuple[int, ...], crop: bool
) -> None:
    """More slices than are converted at once, two channels, a box to cut that begins in the second lot."""
    rng = np.random.default_rng(1)
    image = np.zeros((2, 9, 8, 40), dtype=np.float32)
    image[:, 2:8, 1:7, 19:38] = rng.normal(50, 20, (2, 6, 6, 19))
    given = source(image)
    cut = windows(axes=axes, crop=crop, normalisation=(ZScoreConfig(), ZScoreConfig(masked=True)))
    prepared, grid = cut.prepare(given)
    layout = Layout.towards(given.grid, axes)
    turned = layout.take(image.astype(np.float64))
    box = nonzero_box(turned) if crop else layout.box
    turned = turned[:, *(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))]
    body = (turned != 0).any(0)
    expected = [
        (turned[0] - turned[0].mean()) / turned[0].std(),
        np.where(body, (turned[1] - turned[1][body].mean()) / turned[1][body].std(), 0.0),
    ]
    assert grid == layout.cut(box).grid(given.grid)
    assert prepared.flags.c_contiguous
    assert np.allclose(prepared, expected, atol=1e-5)


@pytest.mark.parametrize("scheme", [CTConfig(low=0, high=9, mean=4, std=2), ZScoreConfig()])
def test_preparing_holds_little_more_than_the_result(scheme: CTConfig | ZScoreConfig, tmp_path: Path) -> None:
    """A compressed file of 2 bytes a voxel; the result has 4, and 2 more are those of the file."""
    shape, rng = (64, 64, 320), np.random.default_rng(0)
    values = rng.integers(0, 9, shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    cut = windows(normalisation=(scheme,))
    cut.prepare(source(np.ones((4, 4, 4))))  # imports
    tracemalloc.start()
    try:
        prepared, _ = cut.prepare(VolumeReader().open(VolumeReader().find(tmp_path)[0]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert prepared.shape == (1, 320, 64, 64)
    assert peak < 7.5 * values.size


def test_an_empty_image_is_kept_whole() -> None:
    assert nonzero_box(np.zeros((1, 3, 4, 5))) == Region((0, 0, 0), (3, 4, 5))
    prepared, _ = windows(normalisation=(ZScoreConfig(masked=True),)).prepare(source(np.zeros((3, 4, 5))))
    assert not prepared.any()


def test_a_box_holds_what_any_channel_shows() -> None:
    image = np.zeros((2, 6, 6, 6))
    image[0, 2, 3, 4] = image[1, 4, 3, 1] = -5
    assert nonzero_box(image) == Region((2, 3, 1), (5, 4, 5))


@pytest.mark.parametrize(
    ("length", "side", "starts"),
    [
        (110, 64, [0, 23, 46]),
        (129, 128, [0, 1]),
        (273, 96, [0, 44, 88, 133, 177]),
        (410, 160, [0, 62, 125, 188, 250]),
        (155, 128, [0, 27]),
        (240, 128, [0, 56, 112]),
        (128, 128, [0]),
        (5, 128, [0]),
    ],
)
def test_windows_start_where_the_sheet_says(length: int, side: int, starts: list[int]) -> None:
    assert window_starts(length, side, 0.5) == starts


def test_number_of_windows_of_published_volumes() -> None:
    assert len(windows(patch=(96, 160, 160)).plan(plain(273, 410, 410))) == 125
    assert len(windows(patch=(128,) * 3).plan(plain(155, 240, 240))) == 18
    assert len(windows(patch=(128,) * 3).plan(plain(512, 512, 300))) == 196
    assert len(windows(patch=(128,) * 3, overlap=0.2).plan(plain(512, 512, 300))) == 75


@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 24)] * 3), st.tuples(*[st.integers(2, 9)] * 3), st.floats(0.0, 0.8))
def test_windows_cover_every_voxel_inside_the_grid(
    shape: tuple[int, ...], patch: tuple[int, ...], overlap: float
) -> None:
    covered = np.zeros(shape, dtype=int)
    regions = windows(patch=patch, overlap=overlap).plan(plain(*shape))
    for region in regions:
        assert min(region.start) >= 0
        assert region.shape == tuple(min(n, side) for n, side in zip(shape, patch, strict=True))
        covered[tuple(map(slice, region.start, region.stop))] += 1
    assert covered.min() >= 1
    assert len(set(regions)) == len(regions)
    slow = int(np.argmax(shape))
    assert [r.start[slow] for r in regions] == sorted(r.start[slow] for r in regions)


@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 20)] * 3), st.integers(0, 10**6))
def test_drawn_patches_lie_inside_and_hold_the_voxel(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    voxel = [int(rng.integers(0, n)) for n in shape]
    grid = plain(*shape)
    for region in (windows().draw(grid, rng), windows().draw_at(grid, voxel, rng)):
        assert all(0 <= a < b <= n for a, b, n in zip(region.start, region.stop, shape, strict=True))
        assert region.shape == tuple(min(n, side) for n, side in zip(shape, (4, 6, 8), strict=True))
    assert all(a <= v < b for a, v, b in zip(region.start, voxel, region.stop, strict=True))


def test_a_voxel_far_from_the_edges_is_in_the_middle() -> None:
    drawn = {
        windows().draw_at(plain(40, 40, 40), (20, 20, 20), np.random.default_rng(seed)).start
        for seed in range(50)
    }
    assert {start[0] for start in drawn} == {18, 19}
    assert {start[2] for start in drawn} == {16, 17}


def test_all_places_are_drawn() -> None:
    rng = np.random.default_rng(0)
    assert {windows().draw(plain(6, 6, 8), rng).start for _ in range(40)} == {(0, 0, 0), (1, 0, 0), (2, 0, 0)}


def test_a_patch_is_cut_and_a_small_volume_padded_at_its_end() -> None:
    values = np.random.default_rng(0).normal(size=(5, 4, 9)).astype(np.float32)
    cut = ArraySource(values[None], plain(5, 4, 9))
    sample = windows().read(cut, Region((1, 0, 1), (5, 4, 9)))
    assert tuple(sample["input"].shape) == (1, 4, 6, 8)
    assert np.array_equal(sample["input"][0, :, :4].numpy(), values[1:5, :, 1:9])
    assert not sample["input"][0, :, 4:].any()
    assert sample["geometry"].shape == (4, 4, 8)


def test_slices_have_two_axes() -> None:
    values = np.random.default_rng(0).normal(size=(3, 9, 5)).astype(np.float32)
    flat = windows(patch=(1, 6, 8), spatial_dims=2)
    regions = flat.plan(plain(3, 9, 5))
    assert len(regions) == 3 * 2
    sample = flat.read(ArraySource(values[None], plain(3, 9, 5)), regions[-1])
    assert tuple(sample["input"].shape) == (1, 6, 8)
    assert np.array_equal(sample["input"][0, :, :5].numpy(), values[2, 3:])


def test_a_mask_is_filled_like_its_image() -> None:
    part = torch.ones(4, 2, 8, dtype=torch.int16)
    filled = windows().fill(part, value=-1)
    assert tuple(filled.shape) == (4, 6, 8)
    assert filled.dtype == torch.int16
    assert torch.unique(filled[:, 2:]).tolist() == [-1]
