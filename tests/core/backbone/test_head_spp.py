"""Spatial pyramid pooling against worked examples and torch's adaptive pools."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims, build_head
from tessera.core.backbone.slots.head_spp import SpatialPyramid

from .checks import DIMS, check_plug, last_of_two_maps, logits

POOLS = {1: nn.AdaptiveMaxPool1d, 2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d}


def ramp(size: int) -> Tensor:
    return torch.arange(1.0, size + 1).reshape(1, 1, size)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_spp_is_a_good_plug(spatial_dims: SpatialDims) -> None:
    check_plug(
        lambda d: build_head("spp", d, [4, 8], 5, levels=(3, 1)),
        spatial_dims,
        expected=logits(5),
        call=last_of_two_maps,
    )


@pytest.mark.parametrize(
    ("size", "levels", "expected"),
    [
        (13, (2,), [7, 13]),
        (13, (3,), [5, 9, 13]),
        (13, (6,), [3, 5, 7, 9, 11, 13]),
        (10, (4,), [3, 5, 8, 10]),
        (10, (6,), [2, 4, 5, 7, 9, 10]),
        (4, (1, 2), [4, 2, 4]),
        (2, (3,), [1, 2, 2]),
    ],
)
def test_ramp_gives_the_worked_examples(size: int, levels: tuple[int, ...], expected: list[float]) -> None:
    assert SpatialPyramid(1, levels)(ramp(size)).flatten().tolist() == expected


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_window_rule_of_the_paper_agrees_at_size_13(bins: int) -> None:
    x = torch.randn(2, 3, 13, 13)
    pool = nn.MaxPool2d(math.ceil(13 / bins), math.floor(13 / bins))
    assert torch.equal(SpatialPyramid(2, [bins])(x), pool(x).flatten(1))


def test_window_rule_of_the_paper_gives_nine_bins_for_six_at_size_10() -> None:
    assert nn.MaxPool1d(2, 1)(ramp(10)).numel() == 9
    assert SpatialPyramid(1, [6])(ramp(10)).numel() == 6


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_levels_are_those_of_the_adaptive_pools_in_turn(spatial_dims: SpatialDims) -> None:
    x = torch.randn(2, 3, *(11, 7, 10)[:spatial_dims])
    levels = (4, 3, 1)
    expected = torch.cat([POOLS[spatial_dims](n)(x).flatten(1) for n in levels], dim=1)
    assert torch.equal(SpatialPyramid(spatial_dims, levels)(x), expected)


@pytest.mark.parametrize(("levels", "length"), [((6, 3, 2, 1), 12_800), ((4, 3, 2, 1), 7_680)])
@pytest.mark.parametrize("size", [13, 10, 224])
def test_length_is_that_of_the_paper_whatever_the_size(
    levels: tuple[int, ...], length: int, size: int
) -> None:
    with torch.device("meta"):
        pooled = SpatialPyramid(2, levels)(torch.empty(1, 256, size, size))
    assert pooled.shape == (1, length)


@pytest.mark.parametrize(("spatial_dims", "bins"), [(1, 12), (2, 50), (3, 252)])
def test_head_has_one_weight_for_each_bin(spatial_dims: SpatialDims, bins: int) -> None:
    head = build_head("spp", spatial_dims, [9, 4], 3)
    assert sum(p.numel() for p in head.parameters()) == 4 * bins * 3 + 3


def test_head_drops_values_in_training_only() -> None:
    head, x = build_head("spp", 1, [4], 2, dropout=1.0), torch.randn(3, 4, 9)
    bias = next(p for p in head.parameters() if p.ndim == 1)
    assert torch.equal(head([x]), bias.expand(3, 2))
    assert not torch.equal(head.eval()([x]), bias.expand(3, 2))


@pytest.mark.parametrize("levels", [(), (2, 0)])
def test_level_without_bins_is_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="not positive numbers"):
        build_head("spp", 2, [4], 2, levels=levels)
