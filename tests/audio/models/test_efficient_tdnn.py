"""EfficientTDNN's networks against the sheet, and its supernet against networks with silenced channels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tessera.audio.models.efficient_tdnn import (
    BASE,
    LARGEST,
    MOBILE,
    SMALL,
    CosineClassifier,
    Subnet,
    SuperTDNN,
    SuperTDNNClassifier,
    TDNNClassifier,
    count_macs,
    count_parameters,
    refit_norms,
)
from tessera.core.backbone.macs import count_macs as counted_macs

K_MIN = Subnet((512,) * 5, (1,) * 5, 1536)
D_MIN = Subnet((512,) * 3, (1,) * 3, 1536)
C1_MIN = Subnet((256,) * 3, (1,) * 3, 768)
C2_MIN = Subnet((128,) * 3, (1,) * 3, 384)

TOY = Subnet((32, 32, 24, 32), (5, 5, 3, 5), 24)
TOY_SUBNETS = (
    Subnet((16, 8, 24), (3, 1, 3), 8),
    Subnet((32, 32, 24, 32), (1, 1, 1, 1), 24),
    Subnet((24, 16), (5, 5), 20),
)


@pytest.mark.parametrize(
    ("subnet", "parameters", "macs"),
    [
        (LARGEST, 7_550_528, 1_929_261_440),
        (BASE, 5_789_760, 1_440_413_568),
        (MOBILE, 2_416_416, 569_089_152),
        (SMALL, 899_200, 203_395_520),
        (K_MIN, 6_927_936, 1_742_483_840),
        (D_MIN, 3_979_840, 936_820_096),
        (C1_MIN, 1_254_976, 267_435_904),
        (C2_MIN, 443_968, 83_474_560),
    ],
)
def test_parameters_and_multiply_adds_equal_the_sheet(subnet: Subnet, parameters: int, macs: int) -> None:
    with torch.device("meta"):
        network = subnet.build()
        assert network.eval()(torch.empty(1, 80, 301)).shape == (1, 192)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert count_parameters(subnet) == parameters
    assert count_macs(subnet) == macs


@pytest.mark.parametrize(
    ("subnet", "macs"),
    [(LARGEST, 1_935_688_576), (BASE, 1_445_211_648), (MOBILE, 570_984_384), (SMALL, 204_072_768)],
)
def test_multiply_adds_of_three_seconds_equal_the_sheet(subnet: Subnet, macs: int) -> None:
    assert count_macs(subnet, frames=301) == macs


def test_costs_of_other_inputs_are_those_of_the_built_network() -> None:
    """The paper's count has two for each value of a batch norm besides; torch's counter has none."""
    subnet, frames = Subnet((24, 16, 8), (3, 5, 1), 20), 40
    with torch.device("meta"):
        network = subnet.build(n_mels=10, embedding=7).eval()
        macs = counted_macs(network, torch.empty(1, 10, frames))
    norms = frames * (24 + 16 + 7 * 2 + 24 + 8 + 7 * 1 + 24) + 2 * 20 + 7
    assert count_macs(subnet, frames=frames, n_mels=10, embedding=7) == macs + 2 * norms
    assert count_parameters(subnet, n_mels=10, embedding=7) == sum(p.numel() for p in network.parameters())


def test_supernet_has_ten_more_numbers_for_each_kernel_of_five() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in SuperTDNN().crops.parameters()) == 29 * 10


# ---------------------------------------------------------------- cutting


def toy(subnet: Subnet = TOY) -> SuperTDNN:
    """A supernet of small networks whose norms have seen noise and whose matrices are not the identity."""
    network = SuperTDNN(subnet, n_mels=6, embedding=5)
    for matrix in network.crops.parameters():
        nn.init.uniform_(matrix, -1, 1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    network(torch.randn(8, 6, 30))
    return network.eval()


@pytest.mark.parametrize("subnet", [*TOY_SUBNETS, TOY])
def test_exported_network_answers_as_the_supernet_and_is_its_own(subnet: Subnet) -> None:
    network, x = toy(), torch.randn(3, 6, 21)
    exported = network.export(subnet)
    before = network(x, subnet)
    torch.testing.assert_close(exported(x), before)
    assert sum(p.numel() for p in exported.parameters()) == count_parameters(subnet, n_mels=6, embedding=5)
    for parameter in exported.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(network(x, subnet), before)


def silence(layer: Any, channels: list[int]) -> None:
    """Batch norm whose output is zero in some channels."""
    with torch.no_grad():
        layer.weight[channels] = 0.0
        layer.bias[channels] = 0.0


def test_a_narrower_subnet_is_the_largest_network_with_silenced_channels() -> None:
    """Widths 16 -> 8 between, 16 -> 8 and 24 -> 16 inside, 12 -> 7 pooled; kernels and depth as they are."""
    largest = Subnet((16, 16, 24), (3, 5, 3), 12)
    subnet = Subnet((8, 8, 16), (3, 5, 3), 7)
    network, x = toy(largest), torch.randn(3, 6, 21)
    expected = network(x, subnet)

    masked: Any = network.largest
    silence(masked.stem[2], list(range(8, 16)))
    for block, (width, kept) in zip(masked.blocks, ((2, 1), (3, 2)), strict=True):
        lost = [group * width + i for group in range(8) for i in range(kept, width)]
        silence(block.reduce[2], lost)
        for conv in block.convs:
            silence(conv[2], list(range(kept, width)))
        silence(block.expand[2], list(range(8, 16)))
        with torch.no_grad():
            block.gate.squeeze.weight[2:] = 0.0
            block.gate.squeeze.bias[2:] = 0.0
    with torch.no_grad():
        masked.join[0].weight[7:] = 0.0
        masked.head.linear.weight[:, [*range(7, 12), *range(19, 24)]] = 0.0
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)


def test_a_shallower_subnet_ends_with_the_first_blocks() -> None:
    network, x = toy(), torch.randn(2, 6, 21)
    with_two = network(x, Subnet((32, 32, 24), (5, 5, 3), 24))
    for parameter in network.largest.blocks[2].parameters():
        nn.init.constant_(parameter, 9.0)
    assert torch.equal(network(x, Subnet((32, 32, 24), (5, 5, 3), 24)), with_two)
    whole: Any = network.largest
    with torch.no_grad():
        whole.join[0].weight[:, 64:] = 0.0
    torch.testing.assert_close(network(x), with_two)


def test_a_shorter_kernel_is_the_middle_of_the_longer_one_times_its_matrix() -> None:
    network = toy()
    long = network.largest.get_parameter("stem.0.weight")
    three = long[..., 1:4] @ network.crops["stem-0-weight-3"].T
    one = three[..., 1:2] * network.crops["stem-0-weight-1"]
    for kernel, expected in ((5, long), (3, three), (1, one)):
        found = network.cut(Subnet((32, 32, 24, 32), (kernel, 5, 3, 5), 24))["stem.0.weight"]
        torch.testing.assert_close(found, expected)


def test_new_supernet_crops_kernels_to_their_middle() -> None:
    network = SuperTDNN(TOY, n_mels=6, embedding=5)
    cut = network.cut(Subnet((32, 32, 24, 32), (3, 1, 1, 5), 24))
    assert torch.equal(cut["stem.0.weight"], network.largest.get_parameter("stem.0.weight")[..., 1:4])


# ---------------------------------------------------------------- training


def test_training_a_subnet_moves_no_statistic_of_the_supernet() -> None:
    network = toy().train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(torch.randn(4, 6, 30) * 3, TOY_SUBNETS[0])
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    network(torch.randn(4, 6, 30) * 3)
    assert not all(torch.equal(value, before[name]) for name, value in network.named_buffers())


def test_gradients_of_a_subnet_reach_its_part_of_the_supernet_alone() -> None:
    network = toy().train()
    network(torch.randn(4, 6, 30), Subnet((16, 8), (3, 1), 8)).square().sum().backward()
    stem = network.largest.get_parameter("stem.0.weight").grad
    assert stem is not None
    reached = stem.abs().amax((1,)) > 0
    assert reached[:16, 1:4].all()
    assert not reached[16:].any()
    assert not reached[:, [0, 4]].any()
    assert network.crops["stem-0-weight-3"].grad is not None
    assert all(p.grad is None for p in network.largest.blocks[1].parameters())


def test_a_supernet_learns_through_its_subnets() -> None:
    """The mean of band 0 is to be told by the first number of each subnet's answer."""
    network = SuperTDNN(Subnet((16, 16, 16), (3, 3, 3), 16), n_mels=6, embedding=1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    subnets = [Subnet((16, 16, 16), (3, 3, 3), 16), Subnet((8, 8), (1, 1), 8), Subnet((16, 8), (3, 1), 16)]
    losses = []
    for step in range(60):
        x = torch.randn(16, 6, 12)
        x[:, 0] += torch.randn(16, 1)
        wanted = x[:, 0].mean(-1)
        loss = (network(x, subnets[step % 3])[:, 0] - wanted / wanted.std()).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-9:]) < 0.5 * sum(losses[:9])


def test_refitted_norms_have_the_mean_statistics_of_the_batches() -> None:
    norm = nn.BatchNorm1d(2)
    batches = [torch.randn(50, 2) * 3 + 1, torch.randn(50, 2) - 4]
    network = nn.Sequential(norm, nn.Dropout(0.5)).train()
    refit_norms(network, batches)
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean(0) for b in batches]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([b.var(0) for b in batches]).mean(0))
    assert norm.momentum == 0.1
    assert network.training
    assert network[1].training


# ---------------------------------------------------------------- refusals, and the classifier


@pytest.mark.parametrize(
    ("widths", "kernels", "message"),
    [
        ((16, 16), (3,), "2 widths and 1 kernels"),
        ((16,), (3,), "at least one block"),
        ((16, 12), (3, 3), "not all multiples of 8"),
        ((16, 16), (3, 7), "not all 1, 3 or 5"),
    ],
)
def test_a_subnet_that_cannot_be_is_refused(
    widths: tuple[int, ...], kernels: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Subnet(widths, kernels, 8)


@pytest.mark.parametrize(
    "subnet",
    [
        Subnet((40, 32, 24, 32), (5, 5, 3, 5), 24),
        Subnet((32, 32, 24, 32), (5, 5, 5, 5), 24),
        Subnet((32, 32, 24, 32), (5, 5, 3, 5), 25),
        Subnet((32, 32, 24, 32, 8), (5, 5, 3, 5, 1), 24),
    ],
)
def test_what_is_no_part_of_the_supernet_is_refused(subnet: Subnet) -> None:
    network = toy()
    for ask in (network.export, lambda s: network(torch.randn(2, 6, 9), s)):
        with pytest.raises(ValueError, match="is not part of"):
            ask(subnet)


def test_classes_follow_the_embedding() -> None:
    network = TDNNClassifier(4, subnet=TOY_SUBNETS[0], n_mels=6, embedding=5).eval()
    x: Tensor = torch.randn(2, 1, 6, 20)
    assert network.embed(x).shape == (2, 5)
    torch.testing.assert_close(network(x), network.classifier(network.embed(x)))


def test_a_cosine_classifier_sees_angles_alone() -> None:
    classifier = CosineClassifier(2, 3, scale=30.0)
    classifier.weight.data = torch.tensor([[2.0, 0.0], [0.0, 0.5], [-3.0, 0.0]])
    for length in (0.1, 7.0):
        embedding = length * torch.tensor([[0.5, 0.75**0.5]])
        logits = classifier(embedding).detach()
        torch.testing.assert_close(logits, torch.tensor([[15.0, 30 * 0.75**0.5, -15.0]]))
    assert not classifier(torch.zeros(1, 2)).any()


def test_the_classifier_embeds_what_it_classifies() -> None:
    network = TDNNClassifier(3, subnet=Subnet((16, 16), (3, 3), 24), embedding=8, cosine_scale=10.0).eval()
    x = torch.randn(2, 1, 80, 30)
    embedding = network.embed(x)
    assert embedding.shape == (2, 8)
    torch.testing.assert_close(network(x), network.classifier(embedding))
    assert float(network(x).detach().abs().max()) <= 10.0


def super_classifier(sample: Any) -> SuperTDNNClassifier:
    return SuperTDNNClassifier(3, sample=sample, largest=TOY, n_mels=10, embedding=6, cosine_scale=15.0)


def test_a_step_trains_the_subnet_that_was_drawn_and_no_weight_outside_it() -> None:
    smallest = TOY_SUBNETS[0]
    network = super_classifier(lambda seed: smallest)
    network(torch.randn(4, 1, 10, 30)).square().sum().backward()
    inside = {n for n, _ in network.network.export(smallest).named_parameters()}
    for name, parameter in network.network.largest.named_parameters():
        reached = parameter.grad is not None and bool((parameter.grad != 0).any())
        assert reached == (name in inside), name
    stem = network.network.largest.get_parameter("stem.0.weight").grad
    assert stem is not None
    assert not stem[16:].any()


def test_subnets_follow_torchs_generator_like_dropout() -> None:
    drawn: list[int] = []

    def sample(seed: int) -> Subnet:
        drawn.append(seed)
        return TOY

    network = super_classifier(sample)
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        network(torch.randn(2, 1, 10, 30, generator=torch.Generator().manual_seed(0)))
    assert drawn[0] == drawn[1] != drawn[2]
    network.eval()(torch.randn(1, 1, 10, 30))
    assert len(drawn) == 3


def test_the_largest_networks_norms_keep_up_whatever_is_drawn() -> None:
    networks = [super_classifier(lambda seed, s=subnet: s) for subnet in (TOY, TOY_SUBNETS[0])]
    networks[1].load_state_dict(networks[0].state_dict())
    x = torch.randn(8, 1, 10, 30)
    for network in networks:
        network(x)
    buffers = [dict(network.named_buffers()) for network in networks]
    for name, value in buffers[0].items():
        torch.testing.assert_close(buffers[1][name], value)
    torch.testing.assert_close(*(network.eval()(x) for network in networks))


def test_an_exported_classifier_answers_as_the_supernet_did() -> None:
    network = super_classifier(lambda seed: TOY).eval()
    x = torch.randn(3, 1, 10, 30)
    for subnet in TOY_SUBNETS:
        expected = network.classifier(network.network(x.squeeze(1), subnet))
        torch.testing.assert_close(network.export(subnet)(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network.export(TOY)(x), network(x), atol=1e-5, rtol=1e-5)
