"""What each network of the sound papers must do, whatever its layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tessera.audio.models.crnn import CRNN
from tessera.audio.models.efficient_tdnn import Subnet, TDNNClassifier
from tessera.audio.models.k_nets import KNet
from tessera.audio.models.m_nets import VARIANTS, MNet
from tessera.audio.models.tf_nets import TFNet

CLASSES = 5
POOLS_1D = ((1, 4), (1, 3), (1, 2), (1, 2))
TDNN = Subnet((32, 16, 24), (5, 3, 1), 24)
Make = Callable[[], nn.Module]
NETWORKS: dict[str, tuple[Make, tuple[int, ...]]] = {
    "crnn": (lambda: CRNN(CLASSES), (1, 96, 157)),
    "crnn-mean-se": (lambda: CRNN(CLASSES, rnn_pool="mean", gate="se"), (1, 96, 200)),
    "crnn-time-eca": (lambda: CRNN(CLASSES, input_bn="time", input_frames=111, gate="eca"), (1, 96, 111)),
    **{v: (partial(MNet, CLASSES, variant=v), (1, 2501)) for v in VARIANTS},
    "m5-se": (lambda: MNet(CLASSES, gate="se", head="mean_max", dropout=0.2), (1, 2501)),
    "m11-fc": (lambda: MNet(CLASSES, variant="m11", head="fc", samples=2501), (1, 2501)),
    "k2c2": (lambda: KNet(CLASSES, pools=((2, 3), (2, 2), (2, 2), (3, 2), (4, 2))), (1, 96, 111)),
    "k2c1": (lambda: KNet(CLASSES, variant="k2c1", pools=(*POOLS_1D, (1, 1))), (1, 96, 111)),
    "k1c2": (lambda: KNet(CLASSES, variant="k1c2", pools=POOLS_1D, n_mels=31), (1, 31, 111)),
    "tf-square": (lambda: TFNet(CLASSES, layers=5, hidden=50), (1, 41, 61)),
    "tf-vertical": (lambda: TFNet(CLASSES, filters="vertical", hidden=50), (1, 96, 61)),
    "tdnn": (lambda: TDNNClassifier(CLASSES, subnet=TDNN, n_mels=33), (1, 33, 61)),
    "m34-eca": (lambda: MNet(CLASSES, variant="m34-res", gate="eca", stem_kernel=8), (1, 2501)),
}
every_network = pytest.mark.parametrize(("make", "shape"), NETWORKS.values(), ids=NETWORKS)


def settled(make: Make, shape: tuple[int, ...]) -> nn.Module:
    """The network in evaluation mode, its batch norms fitted to noise so that signals keep their size."""
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network(torch.randn(4, *shape))
    return network.eval()


@every_network
def test_logits_have_one_row_a_clip(make: Make, shape: tuple[int, ...]) -> None:
    network = make().eval()
    assert network(torch.randn(1, *shape)).shape == (1, CLASSES)
    assert network(torch.randn(3, *shape)).shape == (3, CLASSES)


@every_network
def test_gradient_reaches_every_parameter(make: Make, shape: tuple[int, ...]) -> None:
    network = settled(make, shape)
    network(torch.randn(2, *shape)).square().sum().backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


@every_network
def test_evaluation_twice_gives_the_same_logits(make: Make, shape: tuple[int, ...]) -> None:
    network, x = settled(make, shape), torch.randn(2, *shape)
    assert torch.equal(network(x), network(x))


@every_network
def test_batch_of_two_equals_two_of_one(make: Make, shape: tuple[int, ...]) -> None:
    network, x = settled(make, shape), torch.randn(2, *shape)
    one_by_one = torch.cat([network(x[:1]), network(x[1:])])
    torch.testing.assert_close(network(x), one_by_one, rtol=1e-3, atol=1e-3)


@every_network
def test_weights_carried_over_give_the_same_logits(make: Make, shape: tuple[int, ...]) -> None:
    network, other, x = settled(make, shape), make().eval(), torch.randn(2, *shape)
    assert not torch.equal(network(x), other(x))
    other.load_state_dict(network.state_dict())
    assert torch.equal(network(x), other(x))


@every_network
def test_different_clips_get_different_logits(make: Make, shape: tuple[int, ...]) -> None:
    network = settled(make, shape)
    logits: Tensor = network(torch.randn(2, *shape))
    assert (logits[0] - logits[1]).abs().max() > 1e-3


# torch 2.14: nn.GRU keeps a second list of its weights, which export finds changed; the results agree.
@pytest.mark.filterwarnings("ignore:The tensor attributes self.rnns:UserWarning")
@pytest.mark.slow
@every_network
def test_exported_program_agrees_for_another_batch_size(make: Make, shape: tuple[int, ...]) -> None:
    network = settled(make, shape)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, (torch.randn(2, *shape),), dynamic_shapes=({0: batch},))
    x = torch.randn(3, *shape)
    torch.testing.assert_close(program.module()(x), network(x), rtol=1e-3, atol=1e-3)
