"""Selective kernels against the worked example of their sheet and timm's module."""

from __future__ import annotations

import math

import pytest
import torch
from timm.layers.selective_kernel import SelectiveKernel
from torch import nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.slots import build_mixer

from .checks import DIMS, check_plug, strided


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_sk_is_a_good_plug(spatial_dims: SpatialDims, stride: int) -> None:
    check_plug(lambda d: build_mixer("sk", d, 8, 12, stride), spatial_dims, expected=strided(12, stride))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_sk_gives_the_worked_example(spatial_dims: SpatialDims) -> None:
    mixer = build_mixer("sk", spatial_dims, 1, 1, min_hidden=1).eval()
    with torch.no_grad():
        for branch, value in zip(mixer.get_submodule("branches").children(), (2.0, 4.0), strict=True):
            branch.get_parameter("1.weight").zero_()
            branch.get_parameter("1.bias").fill_(value)
        mixer.get_parameter("squeeze.weight").fill_(1)
        mixer.get_parameter("norm.weight").fill_(math.sqrt(1 + 1e-5))
        mixer.get_parameter("select.weight").copy_(torch.tensor([[0], [math.log(3) / 6]]))
    x = torch.randn(2, 1, *[3] * spatial_dims)
    torch.testing.assert_close(mixer(x), torch.full_like(x, 3.5))


def test_sk_weights_of_the_branches_sum_to_1_for_each_channel() -> None:
    mixer = build_mixer("sk", 2, 8, 6, branches=3)
    weights = mixer.weights(torch.randn(4, 6))  # type: ignore[operator]
    assert weights.shape == (4, 6, 3)
    assert weights.std() > 0.01
    torch.testing.assert_close(weights.sum(2), torch.ones(4, 6))


def test_sk_second_branch_sees_two_values_away() -> None:
    mixer = build_mixer("sk", 1, 1, 1).eval()
    x = torch.randn(1, 1, 11, requires_grad=True)
    middle = [torch.autograd.grad(branch[0](x)[0, 0, 5], x)[0] for branch in mixer.branches]  # type: ignore
    assert [each.flatten().nonzero().flatten().tolist() for each in middle] == [[4, 5, 6], [3, 5, 7]]


@pytest.mark.parametrize(("channels", "hidden"), [(128, 32), (256, 32), (512, 32), (1024, 64)])
def test_sk_has_the_hidden_units_of_sknet_50(channels: int, hidden: int) -> None:
    with torch.device("meta"):
        mixer = build_mixer("sk", 2, channels, channels)
    branches = 2 * (channels * (channels // 32) * 9 + 2 * channels)
    assert parameter_count(mixer) == branches + 3 * channels * hidden + 2 * hidden


@pytest.mark.parametrize("stride", [1, 2])
def test_sk_equals_timm(stride: int) -> None:
    theirs = SelectiveKernel(
        64, 32, stride=stride, groups=32, rd_ratio=1 / 16, rd_divisor=32, split_input=False
    )
    ours = build_mixer("sk", 2, 64, 32, stride)
    state = zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict({name: value.reshape(own.shape) for (name, own), value in state})
    x = torch.randn(3, 64, 9, 7)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=1e-5)


def test_sk_of_nothing_to_select_is_refused() -> None:
    with pytest.raises(ValueError, match="1 branches"):
        build_mixer("sk", 2, 8, 8, branches=1)
    with pytest.raises(ValueError, match="ratio 0"):
        build_mixer("sk", 2, 8, 8, ratio=0)
