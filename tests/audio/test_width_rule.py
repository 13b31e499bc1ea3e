"""Widths that give a wanted number of parameters."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from tessera.audio.models.crnn import CRNN
from tessera.audio.models.k_nets import VARIANTS, KNet, VariantName
from tessera.audio.width_rule import scale_widths, widths_for

BUDGETS = (100_000, 250_000, 500_000, 1_000_000, 3_000_000)  # Choi et al. 2017


def crnn(widths: tuple[int, ...]) -> nn.Module:
    return CRNN(50, widths=widths[:4], rnn=widths[4:])


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("budget", BUDGETS)
def test_crnn_reaches_each_budget_of_the_paper_within_two_percent(budget: int) -> None:
    widths = widths_for(budget, (64, 128, 128, 128, 64, 64), crnn)
    with torch.device("meta"):
        assert parameters(crnn(widths)) == pytest.approx(budget, rel=0.02)
    assert widths[0] == widths[4] == widths[5]
    assert widths[1] == widths[2] == widths[3]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("budget", BUDGETS)
def test_k_nets_reach_each_budget_of_the_paper_within_two_percent(variant: VariantName, budget: int) -> None:
    def build(widths: tuple[int, ...]) -> nn.Module:
        return KNet(50, variant=variant, widths=widths)

    widths = widths_for(budget, VARIANTS[variant].widths, build)
    with torch.device("meta"):
        assert parameters(build(widths)) == pytest.approx(budget, rel=0.02)


def test_one_layer_gets_the_nearest_width(caplog: pytest.LogCaptureFixture) -> None:
    """A linear layer from 10 values to w has 11 w numbers: 1009 are nearest to 92 x 11 = 1012."""
    with caplog.at_level(logging.INFO):
        assert widths_for(1009, (1,), lambda widths: nn.Linear(10, widths[0])) == (92,)
    assert "1,012 parameters" in caplog.text


def test_widths_are_rounded_to_the_nearest_and_never_to_none() -> None:
    assert scale_widths((64, 128, 5), 0.5) == (32, 64, 3)
    assert scale_widths((64, 1), 0.01) == (1, 1)


def test_a_budget_out_of_reach_is_refused_with_the_nearest_counts() -> None:
    with pytest.raises(ValueError, match=r"30 cannot be reached(?s:.*)nearest are 20 and 40"):
        widths_for(30, (1,), lambda widths: nn.Linear(19, widths[0]))
