"""Heads against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import build_head


def linear_of(head: nn.Module) -> nn.Linear:
    return next(module for module in head.modules() if isinstance(module, nn.Linear))


def with_weights(head: nn.Module, weight: Tensor) -> nn.Module:
    with torch.no_grad():
        linear_of(head).weight.copy_(weight)
        linear_of(head).bias.zero_()
    return head


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_mean_head_weighs_the_channel_means(spatial_dims: int) -> None:
    head = with_weights(build_head("mean", spatial_dims, [9, 2], 1), torch.tensor([[1.0, 10.0]]))  # type: ignore[arg-type]
    x = torch.tensor([[1.0, 2, 3, 6], [0, 0, 0, 4]]).reshape(
        1, 2, *{1: (4,), 2: (2, 2), 3: (1, 4, 1)}[spatial_dims]
    )
    assert head([x]).item() == pytest.approx(3 + 10)


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_mean_max_head_weighs_means_then_maxima(spatial_dims: int) -> None:
    weight = torch.tensor([[1.0, 10.0, 100.0, 1000.0]])
    head = with_weights(build_head("mean_max", spatial_dims, [2], 1), weight)  # type: ignore[arg-type]
    x = torch.tensor([[1.0, 2, 3, 6], [0, 0, 0, -4]]).reshape(
        1, 2, *{1: (4,), 2: (2, 2), 3: (1, 4, 1)}[spatial_dims]
    )
    assert head([x]).item() == pytest.approx(3 - 10 + 600 + 0)


@pytest.mark.parametrize("name", ["mean", "mean_max"])
def test_dropout_acts_before_the_linear_layer_in_training_only(name: str) -> None:
    head = build_head(name, 1, [4], 2, dropout=1.0)
    x = torch.randn(3, 4, 5)
    assert torch.equal(head([x]), linear_of(head).bias.expand(3, 2))
    assert not torch.equal(head.eval()([x]), linear_of(head).bias.expand(3, 2))
