"""SPD-Conv: counts of its networks, worked example, both orders of convolution and space-to-depth."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims, build_down

from .checks import DIMS, check_plug, strided


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("first", ["space_to_depth", "conv"])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_spd_is_a_good_plug(spatial_dims: SpatialDims, first: str) -> None:
    check_plug(lambda d: build_down("spd", d, 8, 24, 2, first=first), spatial_dims, expected=strided(24, 2))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_convolution_sees_every_sub_grid(spatial_dims: SpatialDims) -> None:
    grids, taps = 2**spatial_dims, 3**spatial_dims
    assert parameter_count(build_down("spd", spatial_dims, 5, 7, 2)) == grids * 5 * 7 * taps
    conv_first = build_down("spd", spatial_dims, 5, 16, 2, first="conv")
    assert parameter_count(conv_first) == 5 * (16 // grids) * taps


def with_identity_kernel(down: nn.Module) -> nn.Module:
    (weight,) = down.parameters()
    with torch.no_grad():
        weight.copy_(torch.eye(len(weight)).reshape(weight.shape))
    return down


@pytest.mark.parametrize("first", ["space_to_depth", "conv"])
def test_identity_kernel_gives_the_worked_example(first: str) -> None:
    x = torch.arange(8.0).reshape(1, 2, 2, 2)
    down = with_identity_kernel(build_down("spd", 2, 2, 8, 2, kernel=1, first=first))
    assert down(x).flatten().tolist() == [0, 4, 2, 6, 1, 5, 3, 7]
    down = with_identity_kernel(build_down("spd", 2, 2, 8, 2, kernel=1, first=first, order="channels"))
    assert down(x).flatten().tolist() == list(range(8))


def test_odd_sizes_are_filled_up_with_zeros() -> None:
    down = with_identity_kernel(build_down("spd", 1, 1, 2, 2, kernel=1))
    assert down(torch.tensor([[[1.0, 2, 3]]])).tolist() == [[[1, 3], [2, 0]]]


def test_no_value_is_lost_by_the_step_before_the_convolution() -> None:
    down, x = build_down("spd", 2, 1, 4, (4, 1), kernel=1), torch.zeros(1, 1, 8, 3, requires_grad=True)
    down(x).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()


def with_spd(network: Any, stem: nn.Module, norm: str, following: str) -> nn.Module:
    """ResNet-SPD: another stem, and space-to-depth after the strided 3x3 convolutions of the blocks."""
    network.conv1 = stem
    name = norm.replace("bn", "conv")
    for stage in (network.layer2, network.layer3, network.layer4):
        block = stage[0]
        width, after = getattr(block, name).out_channels, getattr(block, following)
        c_in = getattr(block, name).in_channels
        setattr(block, name, build_down("spd", 2, c_in, 4 * width, 2, first="conv"))
        setattr(block, norm, nn.BatchNorm2d(4 * width))
        kernel, padding = after.kernel_size, after.padding
        wide = nn.Conv2d(4 * width, after.out_channels, kernel, padding=padding, bias=False)
        setattr(block, following, wide)
    return network


@pytest.mark.parametrize(
    ("name", "norm", "following", "classes", "parameters"),
    [
        ("resnet18", "bn1", "conv2", 200, 20_565_576),
        ("resnet18", "bn1", "conv2", 1000, 20_975_976),
        ("resnet50", "bn2", "conv3", 10, 27_654_026),
        ("resnet50", "bn2", "conv3", 200, 28_043_336),
        ("resnet50", "bn2", "conv3", 1000, 29_682_536),
    ],
)
def test_resnets_with_spd_have_the_counts_of_the_released_code(
    name: str, norm: str, following: str, classes: int, parameters: int
) -> None:
    resnet = pytest.importorskip("torchvision.models.resnet")
    with torch.device("meta"):
        stem = build_down("spd", 2, 3, 64, 2, kernel=1)
        network = with_spd(getattr(resnet, name)(num_classes=classes), stem, norm, following)
        assert parameter_count(network) == parameters
        y: Tensor = network(torch.empty(2, 3, 64, 64))
    assert y.shape == (2, classes)


def test_channels_that_the_sub_grids_cannot_share_are_refused() -> None:
    with pytest.raises(ValueError, match="6 channels cannot be shared by 4 sub-grids"):
        build_down("spd", 2, 3, 6, 2, first="conv")


def test_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel 2 has no middle"):
        build_down("spd", 2, 3, 6, 2, kernel=2)
