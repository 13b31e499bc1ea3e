"""Factors of bias loss against the worked example of its sheet; the tasks are tested with them, too."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tessera.core.backbone.losses.bias_loss import BiasWeights

FEATURES = torch.tensor([[0.0, 2.0], [0.0, 4.0], [0.0, 6.0]])  # variances 2, 8, 18


def test_factors_of_the_worked_example() -> None:
    expected = torch.tensor([0.7, 0.81907231, 1.04985881])
    for scale in ("local", "global"):
        torch.testing.assert_close(BiasWeights(scale=scale)(FEATURES), expected)
    torch.testing.assert_close(BiasWeights()(FEATURES.reshape(3, 1, 1, 2)), expected)


def test_global_factors_count_from_the_least_variance_of_all_batches() -> None:
    weights = BiasWeights(scale="global")
    weights(FEATURES)
    # above 2 in units of the batch's own range 10: (8 - 2) / 10 and (18 - 2) / 10
    expected = torch.tensor([math.exp(0.3 * 0.6) - 0.3, math.exp(0.3 * 1.6) - 0.3])
    torch.testing.assert_close(weights(FEATURES[1:]), expected)
    torch.testing.assert_close(BiasWeights()(FEATURES[1:]), torch.tensor([0.7, 1.04985881]))


def test_least_variance_is_kept_in_the_state_where_it_counts() -> None:
    first = BiasWeights(scale="global")
    first(FEATURES)
    second = BiasWeights(scale="global")
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(FEATURES[1:]), second(FEATURES[1:]))
    assert BiasWeights().state_dict() == {}


@pytest.mark.parametrize("features", [FEATURES[:1], torch.ones(4, 3, 5), FEATURES[[1, 1, 1]]])
@pytest.mark.parametrize("scale", ["local", "global"])
def test_equal_variances_give_the_smallest_factor(features: Tensor, scale: str) -> None:
    weights = BiasWeights(scale=scale)(features)  # type: ignore[arg-type]
    torch.testing.assert_close(weights, torch.full((len(features),), 0.7))


@pytest.mark.parametrize("scale", ["local", "global"])
def test_rows_that_do_not_count_change_nothing(scale: str) -> None:
    filled = torch.cat([FEATURES, torch.tensor([[0.0, 1e9], [3.0, 3.0]])])
    counted = torch.tensor([True, True, True, False, False])
    weights = BiasWeights(scale=scale)  # type: ignore[arg-type]
    torch.testing.assert_close(weights(filled, counted)[:3], BiasWeights()(FEATURES))
    assert weights(filled, counted).isfinite().all()
    assert weights(filled, torch.zeros(5, dtype=torch.bool)).isfinite().all()
    torch.testing.assert_close(weights(FEATURES), BiasWeights()(FEATURES))


@given(scale=st.floats(0.1, 10), shift=st.floats(-10, 10))
def test_factors_stay_the_same_when_all_features_are_scaled_and_shifted(scale: float, shift: float) -> None:
    features = torch.randn(6, 4, 3, 3)
    weights = BiasWeights()(features)
    torch.testing.assert_close(BiasWeights()(scale * features + shift), weights, atol=1e-3, rtol=0)
    assert weights.min().item() == pytest.approx(0.7)
    assert weights.max().item() == pytest.approx(math.exp(0.3) - 0.3)


def test_alpha_and_beta_set_the_range() -> None:
    weights = BiasWeights(alpha=1.0, beta=0.25)(FEATURES)
    torch.testing.assert_close(weights[[0, 2]], torch.tensor([0.75, math.e - 0.25]))


def test_no_gradient_flows_through_the_factors() -> None:
    assert not BiasWeights()(FEATURES.clone().requires_grad_()).requires_grad


def test_features_without_a_variance_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features \(3, 1\) have no variance"):
        BiasWeights()(torch.ones(3, 1))
