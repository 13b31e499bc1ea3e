"""Large kernels and their merging against the worked examples of the sheet."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.merging import fold_norm, merge_branches
from tessera.core.backbone.slots import build_mixer
from tessera.core.backbone.slots.convolutions import conv_norm

from .checks import DIMS, check_plug, strided


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def trained(spatial_dims: SpatialDims, **options: Any) -> nn.Module:
    """A mixer whose norms are far from the identity."""
    mixer = build_mixer("replk", spatial_dims, 8, 8, **options)
    for name, tensor in mixer.state_dict().items():
        if name.endswith(("1.weight", "1.bias", "running_mean", "running_var")):
            tensor.uniform_(0.5, 2)
    return mixer


@pytest.mark.parametrize(("c_out", "stride"), [(8, 1), (6, 2)])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_replk_is_a_good_plug(spatial_dims: SpatialDims, c_out: int, stride: int) -> None:
    check_plug(
        lambda d: build_mixer("replk", d, 8, c_out, stride, kernel=7),
        spatial_dims,
        expected=strided(c_out, stride),
    )


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_merged_replk_is_a_good_plug(spatial_dims: SpatialDims) -> None:
    check_plug(
        lambda d: merge_branches(build_mixer("replk", d, 8, 8, kernel=7)),
        spatial_dims,
    )


def test_replk_gives_the_worked_example_before_and_after_merging() -> None:
    mixer = build_mixer("replk", 1, 1, 1, kernel=5, small_kernel=3).eval()
    identity = (1 + 1e-5) ** 0.5
    with torch.no_grad():
        mixer.get_parameter("branches.0.0.weight").fill_(identity)
        mixer.get_parameter("branches.1.0.weight").copy_(torch.tensor([1.0, 2, 1]) * identity)
    x = torch.tensor([[[1.0, 2, 3, 4, 5]]])
    expected = torch.tensor([[[10.0, 18, 27, 30, 26]]])
    torch.testing.assert_close(mixer(x), expected)
    merge_branches(mixer)
    torch.testing.assert_close(mixer(x), expected)
    torch.testing.assert_close(
        mixer.get_parameter("branches.0.weight").flatten(), torch.tensor([1.0, 2, 3, 2, 1])
    )


def test_folded_norm_of_the_worked_example_has_factor_1_and_bias_minus_2() -> None:
    branch = conv_norm(1, 1, 1, kernel=3, activation=None)
    norm = branch[1]
    assert isinstance(norm, nn.BatchNorm1d)
    norm.eps = 0.0
    with torch.no_grad():
        for tensor, value in zip(norm.state_dict().values(), (2, 1, 3, 4), strict=False):
            tensor.fill_(value)
    weight, bias = fold_norm(branch)
    torch.testing.assert_close(weight.float(), branch[0].get_parameter("weight"))
    assert bias.item() == -2


def test_only_a_batch_norm_is_folded() -> None:
    with pytest.raises(ValueError, match="not ReLU"):
        fold_norm(nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU()))


@pytest.mark.parametrize("small_kernel", [None, 3, 5])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_merged_replk_gives_the_same_output(spatial_dims: SpatialDims, small_kernel: int | None) -> None:
    mixer = trained(spatial_dims, kernel=7, small_kernel=small_kernel).eval()
    merged = merge_branches(copy.deepcopy(mixer))
    x = torch.randn(2, 8, *[9, 6, 7][:spatial_dims])
    torch.testing.assert_close(merged(x), mixer(x), rtol=0, atol=1e-5)
    assert parameter_count(merged) == 8 * 7**spatial_dims + 8
    assert not merged.training
    again = merge_branches(copy.deepcopy(merged))
    assert torch.equal(again(x), merged(x))


def test_merged_replk_with_a_stride_gives_the_same_output() -> None:
    mixer = build_mixer("replk", 2, 4, 8, 2, kernel=7)
    x = torch.randn(2, 4, 9, 6)
    mixer(x)
    expected = mixer.eval()(x)
    torch.testing.assert_close(merge_branches(mixer)(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("spatial_dims", "kernel"), [(1, 31), (2, 31), (3, 13)])
def test_replk_kernel_without_a_size_is_the_papers(spatial_dims: SpatialDims, kernel: int) -> None:
    with torch.device("meta"):
        mixer = build_mixer("replk", spatial_dims, 16, 16)
    assert parameter_count(mixer) == 16 * (kernel**spatial_dims + 5**spatial_dims + 4)


@pytest.mark.parametrize(("kernel", "small_kernel"), [(8, 5), (7, 4), (7, 9), (5, 5)])
def test_replk_kernels_that_do_not_fit_together_are_refused(kernel: int, small_kernel: int) -> None:
    with pytest.raises(ValueError, match=f"kernel {kernel} and small_kernel {small_kernel}"):
        build_mixer("replk", 2, 8, 8, kernel=kernel, small_kernel=small_kernel)
