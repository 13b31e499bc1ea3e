"""Downsampling against closed forms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tessera.core.backbone import build_down


def test_max_and_mean_of_a_ramp_are_its_window_ends_and_middles() -> None:
    ramp = torch.arange(11.0).reshape(1, 1, 11)
    assert build_down("max", 1, 1, 1, 4)(ramp).flatten().tolist() == [3, 7]
    assert build_down("avg", 1, 1, 1, 4)(ramp).flatten().tolist() == [1.5, 5.5]


def test_stride_can_differ_between_axes() -> None:
    grid = torch.arange(24.0).reshape(1, 1, 4, 6)
    assert build_down("max", 2, 1, 1, (2, 3))(grid).flatten().tolist() == [8, 11, 20, 23]
    assert build_down("avg", 2, 1, 1, (4, 1))(grid).flatten().tolist() == [9, 10, 11, 12, 13, 14]
    assert build_down("conv", 2, 1, 1, (4, 1))(grid).shape == (1, 1, 1, 6)


@pytest.mark.parametrize("name", ["max", "avg"])
def test_pools_project_only_when_the_channels_change(name: str) -> None:
    assert not list(build_down(name, 3, 5, 5, 2).parameters())
    assert sum(p.numel() for p in build_down(name, 3, 5, 7, 2).parameters()) == 5 * 7 + 7


@given(size=st.integers(1, 40), stride=st.integers(1, 6))
def test_convolution_with_only_its_middle_weight_takes_every_nth_value(size: int, stride: int) -> None:
    down = build_down("conv", 1, 1, 1, stride)
    assert isinstance(down, nn.Conv1d)
    assert down.bias is not None
    with torch.no_grad():
        down.weight.zero_()[..., down.weight.shape[-1] // 2] = 1
        down.bias.zero_()
    ramp = torch.arange(float(size)).reshape(1, 1, size)
    assert torch.equal(down(ramp), ramp[..., ::stride])


@pytest.mark.parametrize("stride", range(1, 7))
def test_convolution_skips_no_value_between_its_windows(stride: int) -> None:
    down = build_down("conv", 1, 1, 1, stride)
    x = torch.zeros(1, 1, 4 * stride + 1, requires_grad=True)
    down(x).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()


@pytest.mark.parametrize("name", ["conv", "max", "avg"])
@pytest.mark.parametrize("stride", [0, (2, 2, 2), (2, 0)])
def test_stride_that_does_not_fit_the_axes_is_refused(name: str, stride: int | tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="give one number or 2 numbers"):
        build_down(name, 2, 4, 4, stride)


def test_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel 4 has no middle"):
        build_down("conv", 2, 4, 4, 2, kernel=4)


def test_odd_window_around_every_second_value_takes_the_greatest_of_three() -> None:
    ramp = torch.tensor([5.0, 1, 2, 9, 3, 4, 6]).reshape(1, 1, 7)
    assert build_down("max", 1, 1, 1, 2, kernel=3)(ramp).flatten().tolist() == [5, 9, 9, 6]
    with pytest.raises(ValueError, match="down max: kernel 2 has no middle"):
        build_down("max", 1, 1, 1, 2, kernel=2)


def test_patches_are_weighed_side_by_side() -> None:
    down = build_down("patch", 1, 1, 1, 2, bias=False)
    (weight,) = down.parameters()
    with torch.no_grad():
        weight.copy_(torch.tensor([[[1.0, 10.0]]]))
    assert down(torch.tensor([[[1.0, 2, 3, 4, 5]]])).flatten().tolist() == [21, 43]
