"""SoftPool against the worked examples of its sheet."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.backbone import SpatialDims, build_down

from .checks import DIMS, check_plug, floored

LN3 = math.log(3)


@pytest.mark.parametrize("c_out", [8, 5])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_softpool_is_a_good_plug(spatial_dims: SpatialDims, c_out: int) -> None:
    check_plug(lambda d: build_down("softpool", d, 8, c_out, 2), spatial_dims, expected=floored(c_out, 2))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_softpool_has_parameters_only_where_the_channels_change(spatial_dims: SpatialDims) -> None:
    assert not list(build_down("softpool", spatial_dims, 5, 5, 2).parameters())
    assert sum(p.numel() for p in build_down("softpool", spatial_dims, 5, 7, 2).parameters()) == 5 * 7 + 7


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ([0.0, LN3], 0.82395922),
        ([[0.0, 0.0], [0.0, LN3]], 0.54930614),
        ([[-1.0, -2.0], [-3.0, -4.0]], -1.50734746),
        ([[[2.0, 2.0], [2.0, 2.0]], [[2.0, 2.0], [2.0, 2.0]]], 2.0),
        ([1000.0, 0.0], 1000.0),
        ([-1000.0, -1000.0], -1000.0),
    ],
)
def test_one_window_gives_the_worked_example(window: list[float], expected: float) -> None:
    x = torch.tensor(window)[None, None]
    down = build_down("softpool", x.ndim - 2, 1, 1, 2)  # type: ignore[arg-type]
    assert down(x).item() == pytest.approx(expected, abs=1e-6)


def test_each_channel_has_its_own_weights() -> None:
    x = torch.tensor([[[0.0, LN3], [LN3, 0.0]]])
    expected = torch.full((1, 2, 1), 0.82395922)
    torch.testing.assert_close(build_down("softpool", 1, 2, 2, 2)(x), expected)


def test_windows_lie_side_by_side_on_every_axis() -> None:
    steps = torch.tensor([[1.0, 1, 1, 2, 2, 2, 9], [3, 3, 3, 4, 4, 4, 9]])
    x = steps.repeat_interleave(2, dim=0)[None, None]
    torch.testing.assert_close(
        build_down("softpool", 2, 1, 1, (2, 3))(x), torch.tensor([[[[1.0, 2], [3, 4]]]])
    )


@given(values=st.lists(st.floats(-50, 50, width=32), min_size=8, max_size=8))
def test_result_lies_between_the_mean_and_the_maximum(values: list[float]) -> None:
    x = torch.tensor(values).reshape(1, 1, 2, 2, 2)
    pooled = build_down("softpool", 3, 1, 1, 2)(x).item()
    assert x.mean().item() - 1e-4 <= pooled <= x.max().item() + 1e-4


def test_gradient_flows_through_values_and_weights() -> None:
    x = torch.tensor([[[0.0, LN3]]], requires_grad=True)
    build_down("softpool", 1, 1, 1, 2)(x).sum().backward()
    pooled = 0.75 * LN3  # d/dx_i of sum w x is w_i (1 + x_i - pooled)
    expected = torch.tensor([[[0.25 * (1 - pooled), 0.75 * (1 + LN3 - pooled)]]])
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected)


def test_half_precision_does_not_overflow() -> None:
    x = torch.tensor([[[60.0, 0.0]]], dtype=torch.float16)  # exp(60) is far beyond the largest float16
    assert build_down("softpool", 1, 1, 1, 2)(x).item() == 60
