"""Bundles of batch norm, activation and dropout."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tessera.core.backbone import build_adn

NEGATIVE_SIDE = {"bn_relu": 0.0, "bn_elu": math.exp(-1) - 1}


def minus_one_and_one(spatial_dims: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    values = torch.tensor([-1.0, 1.0]) * scale + shift
    return values.reshape(2, 1, *[1] * spatial_dims).expand(2, 3, *[4] * spatial_dims)


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
@pytest.mark.parametrize("name", list(NEGATIVE_SIDE))
def test_values_are_standardised_then_activated(name: str, spatial_dims: int) -> None:
    y = build_adn(name, spatial_dims, 3)(minus_one_and_one(spatial_dims, scale=100, shift=7))  # type: ignore[arg-type]
    torch.testing.assert_close(y[0], torch.full_like(y[0], NEGATIVE_SIDE[name]), rtol=0, atol=1e-6)
    torch.testing.assert_close(y[1], torch.ones_like(y[1]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(NEGATIVE_SIDE))
def test_last_role_normalises_and_leaves_activation_to_the_sum(name: str) -> None:
    y = build_adn(name, 1, 3, "last")(minus_one_and_one(1, scale=100, shift=7))
    torch.testing.assert_close(y, minus_one_and_one(1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(NEGATIVE_SIDE))
def test_post_add_role_activates_and_normalises_only_on_request(name: str) -> None:
    x = minus_one_and_one(1, scale=100, shift=7)
    plain = build_adn(name, 1, 3, "post_add")
    assert not list(plain.parameters())
    assert torch.equal(plain(x)[1], x[1])
    normed = build_adn(name, 1, 3, "post_add", norm_after_add=True)(x)
    torch.testing.assert_close(normed[1], torch.ones(3, 4), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(NEGATIVE_SIDE))
def test_dropout_after_the_activation_doubles_what_it_keeps(name: str) -> None:
    adn = build_adn(name, 2, 3, dropout=0.5)
    y = adn(minus_one_and_one(2))[1]
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 2.0]), rtol=0, atol=1e-4)
    assert (adn.eval()(torch.ones(1, 3, 9, 9)) > 0.9).all()
