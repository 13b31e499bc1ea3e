"""Loss of moment networks against its sheet's worked number and where its minimum must lie."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.core.backbone.losses.moment_network import moment_network_loss

MEAN, SPREAD, TARGET = torch.tensor([0.1, -0.3]), torch.tensor([0.2, 0.2]), torch.zeros(2)


def test_loss_of_the_worked_example() -> None:
    assert moment_network_loss(MEAN, SPREAD, TARGET, eps=0.0).item() == pytest.approx(-9.372859, abs=1e-6)
    assert moment_network_loss(MEAN, SPREAD, TARGET).item() == pytest.approx(-9.372859, abs=1e-6)


def test_parameters_are_averaged() -> None:
    both = [torch.stack([part, 2 * part], dim=1) for part in (MEAN, SPREAD, TARGET)]
    twice_as_large = -9.372859 + 6 * math.log(2)  # two powers in the first term, four in the second
    expected = (-9.372859 + twice_as_large) / 2
    assert moment_network_loss(*both).item() == pytest.approx(expected, abs=1e-6)


def test_for_symmetric_targets_the_minimum_lies_at_their_mean_and_deviation() -> None:
    half = torch.randn(32, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = torch.cat([half, -half]) + 0.3
    mean = target.mean(0).requires_grad_()
    spread = target.std(0, correction=0).requires_grad_()
    loss = moment_network_loss(mean.expand_as(target), spread.expand_as(target), target)
    loss.backward()  # type: ignore[no-untyped-call]
    for slope in (mean.grad, spread.grad):
        assert slope is not None
        torch.testing.assert_close(slope, torch.zeros(2, dtype=torch.float64), atol=1e-5, rtol=0)


def test_the_loss_of_a_batch_is_not_the_mean_of_its_parts() -> None:
    parts = [moment_network_loss(MEAN[i : i + 1], SPREAD[i : i + 1], TARGET[i : i + 1]) for i in range(2)]
    whole = moment_network_loss(MEAN, SPREAD, TARGET)
    assert abs(float(sum(parts)) / 2 - whole.item()) > 0.1


def test_an_exact_fit_stays_finite_in_value_and_slope() -> None:
    mean = torch.zeros(2, requires_grad=True)
    spread = torch.zeros(2, requires_grad=True)
    loss = moment_network_loss(mean, spread, TARGET)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(2 * math.log(1e-12), rel=1e-6)
    assert mean.grad is not None
    assert spread.grad is not None
    assert mean.grad.isfinite().all()
    assert spread.grad.isfinite().all()


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=6).filter(any))
def test_a_row_of_weight_two_counts_as_two_rows(counts: list[int]) -> None:
    rows = torch.randn(len(counts), 3, 2, generator=torch.Generator().manual_seed(1))
    repeated = rows.repeat_interleave(torch.tensor(counts), dim=0)
    loss = moment_network_loss(*rows.unbind(1), weight=torch.tensor(counts))
    torch.testing.assert_close(loss, moment_network_loss(*repeated.unbind(1)))


def test_the_sign_of_the_spread_does_not_count() -> None:
    assert torch.equal(moment_network_loss(MEAN, SPREAD, TARGET), moment_network_loss(MEAN, -SPREAD, TARGET))


def test_half_precision_is_counted_in_full() -> None:
    loss = moment_network_loss(MEAN.bfloat16(), SPREAD.bfloat16(), TARGET.bfloat16())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(-9.372859, abs=0.05)


def test_shapes_that_would_be_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="the same shape"):
        moment_network_loss(torch.zeros(4, 1), torch.ones(4, 1), torch.zeros(4))
