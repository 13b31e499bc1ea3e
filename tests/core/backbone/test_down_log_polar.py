"""Log-polar map against closed forms: linear images are interpolated without error."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tessera.core.backbone import SpatialDims, build_down
from tessera.core.backbone.slots.down_log_polar import log_polar

from .checks import DIMS, check_plug, strided


@pytest.mark.parametrize("c_out", [8, 5])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_log_polar_is_a_good_plug(spatial_dims: SpatialDims, c_out: int) -> None:
    check_plug(
        lambda d: build_down("log_polar", d, 8, c_out, 1), spatial_dims, expected=strided(c_out), serves=(2,)
    )


def test_map_has_no_parameters() -> None:
    assert not list(build_down("log_polar", 2, 3, 3, 1).parameters())


def columns(height: int, width: int) -> torch.Tensor:
    return torch.arange(float(width)).expand(1, 1, height, width)


def test_image_of_column_numbers_gives_the_worked_example() -> None:
    down = build_down("log_polar", 2, 1, 1, 1, radii=4, angles=4, r_min=1, r_max=8)
    expected = torch.tensor([[9.0, 8, 7, 8], [10, 8, 6, 8], [12, 8, 4, 8], [16, 8, 0, 8]])
    torch.testing.assert_close(down(columns(17, 17))[0, 0], expected)


def test_image_of_row_numbers_grows_with_the_angle() -> None:
    rows = columns(17, 17).transpose(2, 3)
    sampled = log_polar(rows, (4, 4), r_min=1, r_max=8)
    expected = torch.tensor([[8.0, 9, 8, 7], [8, 10, 8, 6], [8, 12, 8, 4], [8, 16, 8, 0]])
    torch.testing.assert_close(sampled[0, 0], expected)


def test_each_image_has_its_own_fixation() -> None:
    height, width, radii, angles = 21, 30, 3, 7
    x = (100 * columns(width, height).transpose(2, 3) + columns(height, width)).repeat(2, 1, 1, 1)
    fixation = torch.tensor([[9.5, 10.25], [8.0, 20.0]])
    down = build_down("log_polar", 2, 1, 1, 1, radii=radii, angles=angles, r_min=0.5, r_max=8)
    sampled = down(x, fixation)
    for image, (row, column) in enumerate(fixation.tolist()):
        for i, rho in enumerate([0.5, 2, 8]):
            for j in range(angles):
                theta = 2 * math.pi * j / angles
                expected = 100 * (row + rho * math.sin(theta)) + column + rho * math.cos(theta)
                assert sampled[image, 0, i, j].item() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotated_image_shifts_the_angles_in_a_circle(turns: int) -> None:
    x = torch.randn(2, 3, 17, 17)
    down = build_down("log_polar", 2, 3, 3, 1, radii=6, angles=12)
    rotated = down(torch.rot90(x, turns, dims=(3, 2)))  # from columns to rows: growing angle
    torch.testing.assert_close(rotated, down(x).roll(3 * turns, dims=3), atol=1e-4, rtol=1e-4)


def test_zoom_shifts_the_radii() -> None:
    fine = torch.linspace(-8, 8, 65)
    distance = torch.hypot(fine[:, None], fine[None])[None, None]
    near = log_polar(distance, (4, 5), r_min=4, r_max=32)
    zoomed = log_polar(distance / 2, (4, 5), r_min=4, r_max=32)  # the same cone, twice as large
    torch.testing.assert_close(zoomed[:, :, 1:], near[:, :, :-1], atol=2e-2, rtol=0)


def test_places_outside_the_image_are_zero() -> None:
    x = torch.ones(1, 1, 9, 9)
    sampled = log_polar(x, (2, 4), r_min=2, r_max=4, fixation=torch.tensor([0.0, 0.0]))
    torch.testing.assert_close(sampled[0, 0], torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0]]))


def test_default_keeps_the_size_and_reaches_the_nearest_border() -> None:
    sampled = build_down("log_polar", 2, 1, 1, 1)(columns(17, 21))
    assert sampled.shape == (1, 1, 17, 21)
    torch.testing.assert_close(sampled[0, 0, [0, -1], 0], torch.tensor([11.0, 18.0]))


def test_half_precision_image_is_sampled_at_full_precision_places() -> None:
    x = columns(17, 17)
    down = build_down("log_polar", 2, 1, 1, 1, radii=4, angles=8)
    half = down(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, down(x).bfloat16())


@pytest.mark.parametrize(
    "options", [{"radii": 1}, {"r_min": 0.0}, {"r_min": 9.0}, {"r_min": 4.0, "r_max": 2.0}]
)
def test_rings_that_give_no_map_are_refused(options: dict[str, float]) -> None:
    down = build_down("log_polar", 2, 1, 1, 1, **options)
    with pytest.raises(ValueError, match="give at least 2 radii"):
        down(columns(17, 17))


def test_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="stride 1, not 2"):
        build_down("log_polar", 2, 3, 3, 2)


def test_channels_change_by_a_1x1_convolution() -> None:
    down = build_down("log_polar", 2, 3, 5, 1)
    assert [m.kernel_size for m in down.modules() if isinstance(m, nn.Conv2d)] == [(1, 1)]
