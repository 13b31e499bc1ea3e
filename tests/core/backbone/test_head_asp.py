"""Attentive statistics pooling against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tessera.core.backbone import SpatialDims, build_head
from tessera.core.backbone.slots.head_asp import AttentiveStatistics

from .checks import DIMS, check_plug, last_of_two_maps, logits


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_asp_is_a_good_plug(spatial_dims: SpatialDims, norm: bool) -> None:
    check_plug(
        lambda d: build_head("asp", d, [4, 8], 5, hidden=6, norm=norm),
        spatial_dims,
        expected=logits(5),
        call=last_of_two_maps,
    )


def zeroed(pool: AttentiveStatistics) -> AttentiveStatistics:
    for parameter in pool.parameters():
        nn.init.zeros_(parameter)
    return pool


def test_without_attention_it_is_mean_and_population_deviation() -> None:
    pool = zeroed(AttentiveStatistics(1))
    assert pool(torch.tensor([[[1.0, 3.0]]])).tolist() == [[2, 1]]
    x = torch.randn(2, 3, 4, 5)
    expected = torch.cat([x.mean((2, 3)), x.std((2, 3), correction=0)], dim=1)
    torch.testing.assert_close(zeroed(AttentiveStatistics(3))(x), expected)


def test_attention_weighs_positions_by_the_softmax_of_their_scores() -> None:
    pool = AttentiveStatistics(1, hidden=1)
    nn.init.ones_(pool.squeeze.weight)
    nn.init.constant_(pool.score.weight, 2 * math.log(3))
    value = math.atanh(0.5)  # scores 0 and ln 3: weights 1/4 and 3/4
    expected = torch.tensor([[0.75 * value, math.sqrt(3 / 16) * value]])
    torch.testing.assert_close(pool(torch.tensor([[[0.0, value]]])), expected)


def test_each_channel_has_weights_of_its_own() -> None:
    pool = AttentiveStatistics(2, hidden=1)
    with torch.no_grad():
        pool.squeeze.weight.copy_(torch.tensor([[[1.0], [0.0]]]))
        pool.score.weight.copy_(torch.tensor([[[0.0]], [[2 * math.log(3)]]]))
    value = math.atanh(0.5)
    x = torch.tensor([[[0.0, value], [10.0, 20.0]]])
    torch.testing.assert_close(pool(x)[0, :2], torch.tensor([0.5 * value, 17.5]))


def test_constant_map_has_a_finite_gradient() -> None:
    x = torch.ones(1, 2, 7, requires_grad=True)
    pooled = AttentiveStatistics(2)(x)
    pooled.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    torch.testing.assert_close(pooled[0, 2:], torch.full((2,), math.sqrt(1e-9)))


def test_large_offset_does_not_hide_a_small_spread() -> None:
    x = torch.tensor([[[1000.0, 1000.125]]])
    torch.testing.assert_close(zeroed(AttentiveStatistics(1))(x), torch.tensor([[1000.0625, 0.0625]]))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_count_is_the_same_in_each_dimension(spatial_dims: SpatialDims) -> None:
    head = build_head("asp", spatial_dims, [9, 1536], 192)
    assert sum(p.numel() for p in head.parameters()) == 393_216 + 6_144 + 590_016
