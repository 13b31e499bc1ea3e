"""What each network of the sky must do, whatever its layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tessera.astronomy.models.cvt import CvT, CvTStage
from tessera.astronomy.models.density_cnn import DensityCNN
from tessera.astronomy.models.simple_vit import SimpleViT
from tessera.astronomy.models.walmsley import WalmsleyCNN
from tessera.core.backbone import GivesMaps

OUTPUTS = 5
SMALL_VIT: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "head_width": 8, "hidden": 24}
SMALL_CVT = (CvTStage(8, 1, 1, kernel=7, stride=4), CvTStage(12, 2, 2), CvTStage(16, 2, 1))
Make = Callable[[], nn.Module]
NETWORKS: dict[str, tuple[Make, tuple[int, ...]]] = {
    "walmsley": (lambda: WalmsleyCNN(OUTPUTS, size=(64, 64)), (1, 64, 64)),
    "walmsley-bands": (lambda: WalmsleyCNN(OUTPUTS, in_channels=3, size=(37, 30)), (3, 37, 30)),
    "density_cnn": (lambda: DensityCNN(OUTPUTS, size=(64, 64), dropout=0.2), (1, 64, 64)),
    "density_cnn-odd": (lambda: DensityCNN(OUTPUTS, in_channels=2, size=(51, 66), hidden=3), (2, 51, 66)),
    "simple_vit": (lambda: SimpleViT(OUTPUTS, **SMALL_VIT), (1, 32, 40)),
    "cvt": (lambda: CvT(OUTPUTS, stages=SMALL_CVT, head_width=4), (1, 47, 64)),
}
every_network = pytest.mark.parametrize(("make", "shape"), NETWORKS.values(), ids=NETWORKS)


def settled(make: Make, shape: tuple[int, ...]) -> nn.Module:
    """The network in evaluation mode, its batch norms fitted to noise so that signals keep their size."""
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network(torch.randn(4, *shape))
    return network.eval()


@every_network
def test_outputs_have_one_row_an_image(make: Make, shape: tuple[int, ...]) -> None:
    network = make().eval()
    assert network(torch.randn(1, *shape)).shape == (1, OUTPUTS)
    assert network(torch.randn(3, *shape)).shape == (3, OUTPUTS)


@every_network
def test_gradient_reaches_every_parameter(make: Make, shape: tuple[int, ...]) -> None:
    network = settled(make, shape)
    network(torch.randn(2, *shape)).square().sum().backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


@every_network
def test_evaluation_twice_gives_the_same_outputs(make: Make, shape: tuple[int, ...]) -> None:
    network, x = settled(make, shape), torch.randn(2, *shape)
    assert torch.equal(network(x), network(x))


@every_network
def test_batch_of_two_equals_two_of_one(make: Make, shape: tuple[int, ...]) -> None:
    network, x = settled(make, shape), torch.randn(2, *shape)
    one_by_one = torch.cat([network(x[:1]), network(x[1:])])
    torch.testing.assert_close(network(x), one_by_one, rtol=1e-3, atol=1e-4)


@every_network
def test_weights_carried_over_give_the_same_outputs(make: Make, shape: tuple[int, ...]) -> None:
    network, other, x = settled(make, shape), make().eval(), torch.randn(2, *shape)
    assert not torch.equal(network(x), other(x))
    other.load_state_dict(network.state_dict())
    assert torch.equal(network(x), other(x))


@every_network
def test_the_last_map_comes_with_the_outputs(make: Make, shape: tuple[int, ...]) -> None:
    network, x = settled(make, shape), torch.randn(2, *shape)
    assert isinstance(network, GivesMaps)
    maps, outputs = network.maps_and_logits(x)
    assert torch.equal(outputs, network(x))
    assert maps[-1].ndim == 4
    (slope,) = torch.autograd.grad(outputs.sum(), maps[-1])
    assert slope.abs().max() > 0


@pytest.mark.slow
@every_network
def test_exported_program_agrees_for_another_batch_size(make: Make, shape: tuple[int, ...]) -> None:
    network = settled(make, shape)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, (torch.randn(2, *shape),), dynamic_shapes=({0: batch},))
    x = torch.randn(3, *shape)
    torch.testing.assert_close(program.module()(x), network(x), rtol=1e-3, atol=1e-4)
