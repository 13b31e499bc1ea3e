"""Networks of the mixers' papers: sound in every dimension, and timm's networks with the same weights."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import timm
import torch
from timm.models.res2net import Bottle2neck
from timm.models.resnet import ResNet
from timm.models.sknet import SelectiveKernelBottleneck
from torch import nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.merging import merge_branches
from tessera.core.backbone.reference import conv_kan
from tessera.core.backbone.reference.conv_kan import KANCMLP, KKAN
from tessera.core.backbone.reference.ghostnet import GhostNet
from tessera.core.backbone.reference.replknet import RepLKNet
from tessera.core.backbone.reference.res2net import Res2Net
from tessera.core.backbone.reference.shiftwise import ResponseNorm, ShiftWiseNet
from tessera.core.backbone.reference.sknet import SKNet

from .checks import DIMS, check_plug, logits


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


SMALL: list[tuple[str, Callable[[SpatialDims], nn.Module]]] = [
    ("sknet", lambda d: SKNet(d, 8, 5, widths=(16, 32), depths=(1, 2), mixer={"kind": "sk", "ratio": 4})),
    ("res2net", lambda d: Res2Net(d, 8, 5, widths=(16, 32), depths=(1, 2), width=2)),
    ("ghostnet", lambda d: GhostNet(d, 8, 5, width=0.1)),
    ("replknet", lambda d: RepLKNet(d, 8, 5, widths=(8, 12), depths=(1, 1), kernels=(7, 7), drop_path=0.1)),
    ("shiftwise", lambda d: ShiftWiseNet(d, 8, 5, widths=(8, 12), depths=(1, 1), lengths=(9, 7))),
]


@pytest.mark.parametrize(("name", "build"), SMALL, ids=[name for name, _ in SMALL])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_small_network_is_sound_in_every_dimension(
    name: str, build: Callable[[SpatialDims], nn.Module], spatial_dims: SpatialDims
) -> None:
    check_plug(build, spatial_dims, expected=logits(5), no_export="the mixers' own tests export each of them")


@pytest.mark.parametrize("network", [KANCMLP, KKAN])
@pytest.mark.parametrize("spatial_dims", [1, 2])
def test_kan_network_is_sound(network: type[KANCMLP | KKAN], spatial_dims: SpatialDims) -> None:
    size = (conv_kan.SIZE,) * spatial_dims
    check_plug(
        lambda d: network(d, 2, 5, intervals=4),
        spatial_dims,
        channels=2,
        size=size,
        expected=logits(5),
        no_export="the mixer's own tests export it",
    )


def test_kan_network_refuses_another_size() -> None:
    with pytest.raises(ValueError, match="every axis must be 28 long"):
        KANCMLP()(torch.zeros(1, 1, 28, 32))


@pytest.mark.parametrize("network", ["replknet", "shiftwise"])
def test_merged_network_gives_the_same_output(network: str) -> None:
    net = dict(SMALL)[network](2)
    x = torch.randn(2, 8, 33, 30)
    for _ in range(3):
        net(x)
    expected = net.eval()(x)
    before = parameter_count(net)
    merged = merge_branches(net)
    torch.testing.assert_close(merged(x), expected, rtol=0, atol=1e-5)
    assert parameter_count(merged) < before


def test_response_norm_gives_a_worked_example() -> None:
    norm = ResponseNorm(2)
    x = torch.tensor([[[3.0, 4], [0, 15]]])  # norms 5 and 15, their mean 10
    assert torch.equal(norm(x), x)
    with torch.no_grad():
        norm.scale.fill_(2)
        norm.bias.copy_(torch.tensor([0.0, 1]))
    torch.testing.assert_close(norm(x), torch.tensor([[[6.0, 8], [1, 61]]]))


def in_our_order(names: list[str]) -> list[str]:
    """timm's names, where each convolution of a Res2Net block is followed by its norm."""
    key: dict[str, tuple[int, str, bool]] = {}
    for position, name in enumerate(names):
        match = re.match(r"(.*)\.(convs|bns)\.(\d)\.", name)
        if match is None:
            key[name] = (position, "", False)
            continue
        key[name] = (names.index(f"{match[1]}.convs.0.weight"), match[3], match[2] == "bns")
    return sorted(names, key=key.__getitem__)


def carry_over(theirs: nn.Module, ours: nn.Module) -> None:
    """Fill the norms of their network with noise and load all of it into ours, in order."""
    state = theirs.state_dict()
    for name, tensor in state.items():
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5) if "var" in name or "weight" in name else tensor.uniform_(-0.5, 0.5)
    own = ours.state_dict()
    names = zip(own, in_our_order(list(state)), strict=True)
    ours.load_state_dict({name: state[other].reshape(own[name].shape) for name, other in names})


def test_sknet_equals_timm() -> None:
    theirs = ResNet(
        SelectiveKernelBottleneck,  # type: ignore[arg-type]
        (1, 2, 1, 1),
        num_classes=7,
        cardinality=32,
        base_width=4,
        channels=(16, 32, 64, 128),
        block_args={"sk_kwargs": {"rd_ratio": 1 / 16, "rd_divisor": 32, "split_input": False}},
    ).eval()
    ours = SKNet(2, 3, 7, depths=(1, 2, 1, 1), widths=(64, 128, 256, 512)).eval()
    carry_over(theirs, ours)
    x = torch.randn(2, 3, 45, 38)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_res2net_equals_timm() -> None:
    theirs = ResNet(
        Bottle2neck,  # type: ignore[arg-type]
        (1, 2, 1, 1),
        num_classes=7,
        base_width=32,
        channels=(32, 40, 48, 64),
        block_args={"scale": 4},
    ).eval()
    ours = Res2Net(2, 3, 7, depths=(1, 2, 1, 1), widths=(128, 160, 192, 256), width=16).eval()
    carry_over(theirs, ours)
    x = torch.randn(2, 3, 45, 38)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_ghostnet_equals_timm() -> None:
    theirs = timm.create_model("ghostnet_050", num_classes=7).eval()
    ours = GhostNet(2, 3, 7, width=0.5).eval()
    carry_over(theirs, ours)
    x = torch.randn(2, 3, 45, 38)
    expected = theirs(x).detach()
    torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
