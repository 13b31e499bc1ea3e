"""What Qin's networks are told beside the scan: depth in the lungs, and the place in the volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tessera.core.config import validate
from tessera.core.data.cache import ArraySource
from tessera.core.data.geometry import Region
from tessera.core.errors import ConfigError
from tessera.medical.airway_windows import AirwayWindows
from tessera.medical.config import AirwayConfig
from tessera.medical.geometry import VolumeGeometry

CT = {"kind": "ct", "low": -1000.0, "high": 600.0, "mean": -1000.0, "std": 1600.0}
SPACING_MM = 4.0


def config(**data: Any) -> AirwayConfig:
    section = {
        "axes": [0, 1, 2],
        "spacing_mm": [None, None, None],
        "patch": [16, 16, 16],
        "normalisation": [CT],
    }
    values = {"pipeline": "airway", "preset": "smoke", "data": {**section, **data}}
    return validate(AirwayConfig, values, source="test")


def source(image: NDArray[Any]) -> ArraySource:
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    return ArraySource(image[None].astype(np.float32), VolumeGeometry.of(image.shape, affine))


def chest() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Two lungs, nine and seven voxels wide, from the first slice to the last, in a body in air (I, J, K)."""
    volume = np.full((34, 24, 20), -1000.0, dtype=np.float32)
    volume[2:-2, 2:-2] = 40.0
    lungs = np.zeros(volume.shape, dtype=bool)
    lungs[4:13, 4:20] = True
    lungs[20:27, 4:20] = True
    volume[lungs] = -860.0
    return volume, lungs


def test_places_are_those_of_the_release() -> None:
    """Worked numbers of the release's formula for a volume of 100 x 200 x 300."""
    windows = AirwayWindows(config(patch=[80, 192, 150], coordinates=True))
    places = windows.places((100, 200, 300), (10, 0, 150))
    assert places.shape == (3, 80, 192, 150)
    ends = [(-0.8, 0.8, 0.0202532), (-1.0, 0.92, 0.0100524), (0.0, 1.0, 0.0067114)]
    for axis, (low, high, step) in enumerate(ends):
        line = np.moveaxis(places[axis], axis, 0)
        assert (line == line[:, :1, :1]).all(), "a place depends on its own axis alone"
        np.testing.assert_allclose(line[[0, -1], 0, 0], [low, high], atol=1e-6)
        np.testing.assert_allclose(np.diff(line[:, 0, 0]), step, atol=1e-6)


def test_places_of_a_volume_smaller_than_the_patch_go_on_behind_it() -> None:
    windows = AirwayWindows(config(coordinates=True))
    scan = source(np.zeros((8, 16, 12)))
    (region,) = windows.plan(scan.grid)
    input = windows.read(scan, region)["input"]
    assert input.shape == (4, 16, 16, 16)
    assert not input[0, 8:].any()
    torch.testing.assert_close(input[1, :, 0, 0], torch.linspace(-1, 3, 16))  # twice as far as the volume
    torch.testing.assert_close(input[2, 0, :, 0], torch.linspace(-1, 1, 16))


@pytest.mark.parametrize(("depth", "coordinates", "channels"), [(0, 0, 1), (1, 0, 2), (0, 1, 4), (1, 1, 5)])
def test_what_is_asked_for_becomes_channels(depth: int, coordinates: int, channels: int) -> None:
    windows = AirwayWindows(config(depth=bool(depth), coordinates=bool(coordinates)))
    assert windows.input_shape == (channels, 16, 16, 16)
    scan = ArraySource(*windows.prepare(source(chest()[0])))
    region = windows.plan(scan.grid)[0]
    assert windows.read(scan, region)["input"].shape == windows.input_shape


@pytest.mark.parametrize("axes", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_depth_is_that_of_lungs_which_the_scan_cuts_off_at_head_and_feet(axes: list[int]) -> None:
    """Lungs that are boxes: depth rises and falls evenly across, and the wider one reaches 1."""
    volume, lungs = chest()
    image, grid = AirwayWindows(config(depth=True, axes=axes)).prepare(source(volume))
    assert image.shape == (2, *grid.shape)
    np.testing.assert_allclose(image[0], (volume.transpose(axes) + 1000) / 1600, atol=1e-6)
    depth = image[1].transpose(np.argsort(axes))
    assert np.array_equal(depth > 0, lungs)
    across = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1]) / 5
    np.testing.assert_allclose(depth[4:13, 12, 10], across, atol=1e-6)
    np.testing.assert_allclose(depth[20:27, 12, 10], across[[0, 1, 2, 3, 2, 1, 0]], atol=1e-6)


def test_depth_is_cut_with_the_scan_it_was_prepared_for() -> None:
    windows = AirwayWindows(config(depth=True, coordinates=True))
    image, grid = windows.prepare(source(chest()[0]))
    region = Region((5, 3, 2), (21, 19, 18))
    input = windows.read(ArraySource(image, grid), region)["input"]
    assert np.array_equal(input[:2].numpy(), image[:, 5:21, 3:19, 2:18])
    np.testing.assert_allclose(input[2, 0, 0, 0], 2 * 5 / 34 - 1, atol=1e-6)


def test_a_mask_is_cut_like_its_image() -> None:
    """The scan is air where the mask is 0 and 600 HU where it is 1, so both channels must be equal."""
    windows = AirwayWindows(config(coordinates=True, axes=[2, 0, 1], crop=False))
    mask = np.random.default_rng(1).integers(0, 2, (20, 18, 11)).astype(np.uint8)
    image, grid = windows.prepare(source(mask * 1600.0 - 1000.0))
    classes = windows.prepare_mask(ArraySource(mask[None], source(mask).grid), grid)
    for region in windows.plan(grid):
        scan = windows.read(ArraySource(image, grid), region)["input"]
        cut = windows.read(ArraySource(classes[None].astype(np.float32), grid), region)["input"]
        assert torch.equal(scan[0], cut[0])
        assert torch.equal(scan[1:], cut[1:])
    assert mask.sum() == classes.sum()


@pytest.mark.parametrize(
    "scheme",
    [
        {"kind": "zscore"},
        {**CT, "low": -300.0},
        {**CT, "high": -500.0},
        {**CT, "std": 0.0},
    ],
    ids=["zscore", "bright only", "air only", "flat"],
)
def test_depth_without_visible_lungs_is_refused(scheme: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"lungs below -320 HU: data\.normalisation must be one of kind ct"):
        config(depth=True, normalisation=[scheme])
    planned = config(normalisation=[scheme])  # a plan fills in what nobody checked
    planned = planned.model_copy(update={"data": planned.data.model_copy(update={"depth": True})})
    with pytest.raises(ConfigError, match="but the planned normalisation clips"):
        AirwayWindows(planned)


def test_what_lies_beside_and_below_the_lungs_is_cut_off() -> None:
    """Room of one voxel; the axes turned and reversed, so that the head is at the first slice."""
    volume, lungs = chest()
    volume[:, :, :6] = 40.0  # lungs from slice 6 to the head
    lungs[:, :, :6] = False
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    scan = ArraySource(volume[None], VolumeGeometry.of(volume.shape, affine))
    whole, _ = AirwayWindows(config()).prepare(scan)
    cut, grid = AirwayWindows(config(lung_margin_mm=4.0)).prepare(scan)
    np.testing.assert_array_equal(cut, whole[:, 3:28, 3:21, 5:])
    np.testing.assert_allclose(grid.invert([[0, 0, 0]]), [[3, 3, 5]])

    turned = np.ascontiguousarray(volume.transpose(2, 0, 1)[::-1])
    matrix = np.zeros((4, 4))
    matrix[2, 0], matrix[0, 1], matrix[1, 2] = -SPACING_MM, SPACING_MM, SPACING_MM
    matrix[2, 3], matrix[3, 3] = SPACING_MM * (volume.shape[2] - 1), 1.0
    other = ArraySource(turned[None], VolumeGeometry.of(turned.shape, matrix))
    same, placed = AirwayWindows(config(lung_margin_mm=4.0)).prepare(other)
    np.testing.assert_array_equal(same, cut)
    assert placed.source_size == turned.shape


def test_a_mask_is_cut_as_its_scan_and_resampled_with_it() -> None:
    volume, lungs = chest()
    for spacing in (None, 2.0):
        windows = AirwayWindows(config(lung_margin_mm=4.0, spacing_mm=[spacing] * 3, image_order=1))
        _, grid = windows.prepare(source(volume))
        mask = windows.prepare_mask(source(lungs), grid)
        assert mask.shape == grid.shape
        assert int(mask.sum()) == pytest.approx(int(lungs.sum()) * (8 if spacing else 1), rel=0.02)


def test_a_scan_without_lungs_is_kept_whole() -> None:
    image = np.full((20, 18, 16), 40.0)
    prepared, _ = AirwayWindows(config(lung_margin_mm=4.0)).prepare(source(image))
    assert prepared.shape == (1, 20, 18, 16)
