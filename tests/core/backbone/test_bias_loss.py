"""Bias loss against the worked example of its sheet."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.backbone.losses.bias_loss import BiasLoss, bias_weights

FEATURES = torch.tensor([[0.0, 2.0], [0.0, 4.0], [0.0, 6.0]])  # variances 2, 8, 18


def test_weights_of_the_worked_example() -> None:
    torch.testing.assert_close(bias_weights(FEATURES), torch.tensor([0.7, 0.81907231, 1.04985881]))


def test_loss_of_the_worked_example() -> None:
    undecided = torch.zeros(3, 2)  # cross-entropy ln 2 for every sample
    loss = BiasLoss()(undecided, torch.tensor([0, 1, 1]), FEATURES.reshape(3, 1, 1, 2))
    assert loss.item() == pytest.approx(0.59354907, abs=1e-7)


def test_each_sample_is_weighted_by_its_own_variance() -> None:
    logits, target = torch.randn(3, 5), torch.tensor([4, 0, 2])
    each = F.cross_entropy(logits, target, reduction="none")
    expected = (each * torch.tensor([0.7, 0.81907231, 1.04985881])).sum() / 3
    torch.testing.assert_close(BiasLoss()(logits, target, FEATURES), expected)


def test_target_may_be_probabilities() -> None:
    logits, target = torch.randn(3, 5), torch.tensor([4, 0, 2])
    loss = BiasLoss()(logits, F.one_hot(target, 5).float(), FEATURES)
    torch.testing.assert_close(loss, BiasLoss()(logits, target, FEATURES))


@pytest.mark.parametrize("features", [FEATURES[:1], torch.ones(4, 3, 5), FEATURES[[1, 1, 1]]])
def test_equal_variances_give_the_smallest_weight(features: torch.Tensor) -> None:
    torch.testing.assert_close(bias_weights(features), torch.full((len(features),), 0.7))


@given(scale=st.floats(0.1, 10), shift=st.floats(-10, 10))
def test_weights_stay_the_same_when_all_features_are_scaled_and_shifted(scale: float, shift: float) -> None:
    features = torch.randn(6, 4, 3, 3)
    weights = bias_weights(features)
    torch.testing.assert_close(bias_weights(scale * features + shift), weights, atol=1e-3, rtol=0)
    assert weights.min().item() == pytest.approx(0.7)
    assert weights.max().item() == pytest.approx(math.exp(0.3) - 0.3)


def test_alpha_and_beta_set_the_range() -> None:
    weights = bias_weights(FEATURES, alpha=1.0, beta=0.25)
    torch.testing.assert_close(weights[[0, 2]], torch.tensor([0.75, math.e - 0.25]))


def test_gradient_reaches_the_logits_and_not_the_features() -> None:
    logits = torch.randn(3, 5, requires_grad=True)
    features = FEATURES.clone().requires_grad_()
    BiasLoss()(logits, torch.tensor([0, 1, 2]), features).backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(1) > 0).all()
    assert features.grad is None


def test_features_without_a_variance_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features \(3, 1\) have no variance"):
        bias_weights(torch.ones(3, 1))
