"""The cosmology CNN against its counts, its shapes and the symmetry of a periodic field."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tessera.astronomy.models.density_cnn import DensityCNN


def count(*args: Any, **options: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in DensityCNN(*args, **options).parameters())


def settled(size: tuple[int, int] = (64, 96), hidden: int = 2) -> DensityCNN:
    network = DensityCNN(4, size=size, hidden=hidden)
    with torch.no_grad():
        network.train()(torch.randn(4, 1, *size))
    return network.eval()


def test_it_has_the_published_number_without_the_unused_norm() -> None:
    assert count(4) == 672_868 - 32
    assert count(2) == 672_836 - 2 * 12_545


def test_layers_have_the_sheets_numbers_of_parameters() -> None:
    with torch.device("meta"):
        network = DensityCNN(4)
    blocks = [*network.periodic, network.last, network.head]
    counts = [sum(p.numel() for p in block.parameters()) for block in blocks]
    assert counts == [160, 4_640 + 64, 18_496 + 128, 73_856 + 256, 524_544 + 512, 50_180]


def test_maps_have_the_sheets_shapes() -> None:
    with torch.device("meta"):
        network, x = DensityCNN(4).eval(), torch.zeros(1, 1, 256, 256)
    shapes = []
    for block in (*network.periodic, network.last):
        x = block(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(16, 128, 128), (32, 64, 64), (64, 32, 32), (128, 16, 16), (256, 7, 7)]


@pytest.mark.parametrize("axis", [2, 3])
def test_maps_roll_with_a_periodic_field(axis: int) -> None:
    network, x = settled(), torch.randn(1, 1, 64, 96)
    rolled = x.roll(32, dims=axis)
    torch.testing.assert_close(network.periodic(rolled), network.periodic(x).roll(2, dims=axis))
    # the last convolution does not go round: its map moves by one, with new values at the border
    moved, still = (network.last_map(y).movedim(axis, 0) for y in (rolled, x))
    torch.testing.assert_close(moved[1:], still[:-1])
    assert not torch.allclose(moved[0], still[-1])


def test_a_field_that_is_the_same_everywhere_shows_no_edges() -> None:
    map = settled().periodic(torch.full((1, 1, 64, 96), 1.5))
    torch.testing.assert_close(map, map[..., :1, :1].expand_as(map))


def test_weights_begin_as_kaimings() -> None:
    weight = DensityCNN(4).get_parameter("periodic.3.0.weight")
    assert float(weight.detach().std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


def test_outputs_are_raw() -> None:
    network = settled()
    linear = network.head[-1]
    assert isinstance(linear, nn.Linear)
    nn.init.constant_(linear.weight, 0.0)
    nn.init.constant_(linear.bias, -7.0)
    assert network(torch.randn(1, 1, 64, 96)).tolist() == [[-7.0] * 4]


def test_the_smallest_map_has_49_pixels() -> None:
    assert DensityCNN(4, size=(49, 50)).eval()(torch.zeros(1, 1, 49, 50)).shape == (1, 4)
    with pytest.raises(ValueError, match="too small; give at least 49"):
        DensityCNN(4, size=(64, 48))


@pytest.mark.parametrize("shape", [(1, 1, 96, 64), (1, 2, 64, 96), (64, 96)])
def test_unfit_input_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"built for \(B, 1, 64, 96\)"):
        settled()(torch.zeros(shape))
