"""Enlarging against values by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.upsampling import Upsample

from .checks import DIMS


def row(*values: float) -> torch.Tensor:
    return torch.tensor([[values]], dtype=torch.float32)


def test_nearest_repeats_and_interpolation_draws_lines() -> None:
    assert Upsample(1, 1, 1, (2,), mode="nearest")(row(1, 5), (4,)).flatten().tolist() == [1, 1, 5, 5]
    assert Upsample(1, 1, 1, (2,))(row(1, 5), (4,)).flatten().tolist() == [1, 2, 4, 5]


@pytest.mark.parametrize(("length", "expected"), [(4, [1, 1, 5, 5]), (3, [1, 1, 5]), (5, [1, 1, 5, 5, 0])])
def test_transposed_convolution_is_cut_or_filled_up_at_the_end(length: int, expected: list[float]) -> None:
    up = Upsample(1, 1, 1, (2,), mode="transposed")
    assert up.conv is not None
    nn.init.ones_(up.conv.weight)  # type: ignore[arg-type]
    nn.init.zeros_(up.conv.bias)  # type: ignore[arg-type]
    assert up(row(1, 5), (length,)).flatten().tolist() == expected


@pytest.mark.parametrize("mode", ["interpolate", "nearest", "transposed"])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_any_size_can_be_reached(spatial_dims: SpatialDims, mode: str) -> None:
    strides = (2, 1, 3)[:spatial_dims]
    up = Upsample(spatial_dims, 4, 6, strides, mode=mode)  # type: ignore[arg-type]
    assert up.out_channels == (6 if mode == "transposed" else 4)
    size = (9, 4, 14)[:spatial_dims]
    assert up(torch.randn(2, 4, *(5, 4, 5)[:spatial_dims]), size).shape == (2, up.out_channels, *size)


def test_axes_are_not_confused() -> None:
    up = Upsample(2, 1, 1, (1, 2), mode="transposed")
    assert up(torch.zeros(1, 1, 3, 3), (3, 5)).shape == (1, 1, 3, 5)


def test_unknown_mode_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="choose one of: interpolate, nearest, transposed"):
        Upsample(2, 4, 4, (2, 2), mode="bilinear")  # type: ignore[arg-type]
