"""The tidal paper's CNN against the counts and shapes of its layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tessera.astronomy.models.walmsley import WalmsleyCNN


def count(*args: Any, **options: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in WalmsleyCNN(*args, **options).parameters())


def tiny(n_outputs: int = 1, **options: Any) -> WalmsleyCNN:
    small: dict[str, Any] = {"size": (24, 31), "widths": (2, 3, 4), "hidden": 5}
    return WalmsleyCNN(n_outputs, **(small | options))


def test_it_has_the_papers_number_of_parameters() -> None:
    assert count(1) == 3_714_593
    assert count(1, in_channels=3) == 3_715_169
    assert count(2) == 3_714_593 + 65


def test_layers_have_the_sheets_numbers_of_parameters() -> None:
    with torch.device("meta"):
        network = WalmsleyCNN(1)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [sum(p.numel() for p in m.parameters()) for m in layers] == [320, 9_248, 18_496, 3_686_464, 65]


def test_maps_have_the_sheets_shapes() -> None:
    with torch.device("meta"):
        network, x = WalmsleyCNN(1), torch.zeros(1, 1, 256, 256)
    shapes = []
    for layer in (*network.features, network.pool):
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    sheet = [(32, 254, 254), (32, 127, 127), (32, 125, 125), (32, 62, 62), (64, 60, 60), (64, 30, 30)]
    assert [shape for i, shape in enumerate(shapes) if i == 0 or shape != shapes[i - 1]] == sheet


def test_dropout_comes_before_the_relu_of_the_dense_layer() -> None:
    kinds = [type(layer) for layer in tiny().head]
    assert kinds == [nn.Flatten, nn.Linear, nn.Dropout, nn.ReLU, nn.Linear]


def test_outputs_are_raw() -> None:
    network = tiny()
    last = network.head[-1]
    assert isinstance(last, nn.Linear)
    nn.init.constant_(last.weight, 0.0)
    nn.init.constant_(last.bias, -7.0)
    assert network(torch.randn(2, 1, 24, 31)).tolist() == [[-7.0], [-7.0]]


def test_weights_begin_as_glorots_and_biases_at_zero() -> None:
    dense = WalmsleyCNN(1, size=(64, 64)).head[1]
    assert isinstance(dense, nn.Linear)
    bound = (6 / (64 * 6 * 6 + 64)) ** 0.5
    assert 0.99 * bound < float(dense.weight.detach().abs().max()) <= bound
    assert not dense.bias.any()


def test_the_dense_layer_follows_from_the_image() -> None:
    assert tiny()(torch.zeros(1, 1, 24, 31)).shape == (1, 1)
    # a pixel is left of 22 to 29, two of 30 to 37
    assert count(1, size=(22, 30)) == count(1) + 64 * 64 * (1 * 2 - 30 * 30)


def test_an_image_too_small_is_refused_with_the_least_side() -> None:
    for size in ((21, 256), (256, 21)):
        with pytest.raises(ValueError, match=r"too small.* at least 22 pixels"):
            WalmsleyCNN(1, size=size)
    with pytest.raises(ValueError, match="at least 10 pixels"):
        WalmsleyCNN(1, size=(9, 9), widths=(2, 2))


@pytest.mark.parametrize("shape", [(1, 1, 31, 24), (1, 2, 24, 31), (1, 24, 31)])
def test_unfit_input_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"built for \(B, 1, 24, 31\)"):
        tiny()(torch.zeros(shape))
