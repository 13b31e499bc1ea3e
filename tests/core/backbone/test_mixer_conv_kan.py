"""Kolmogorov-Arnold convolution against the numbers of its sheet, scipy's splines and a sum over windows."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BSpline
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.slots import build_mixer
from tessera.core.backbone.slots.mixer_conv_kan import b_splines

from .checks import DIMS, check_plug, strided

KNOTS = torch.tensor([-2.2 + 0.4 * i for i in range(12)])


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("c_out", "stride"), [(8, 1), (5, 2)])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_conv_kan_is_a_good_plug(spatial_dims: SpatialDims, c_out: int, stride: int) -> None:
    check_plug(
        lambda d: build_mixer("conv_kan", d, 8, c_out, stride),
        spatial_dims,
        expected=strided(c_out, stride),
    )


def test_splines_give_the_worked_example() -> None:
    torch.testing.assert_close(build_mixer("conv_kan", 1, 1, 1).get_buffer("knots"), KNOTS)
    middle = torch.tensor([0, 0, 1, 23, 23, 1, 0, 0]) / 48
    left = torch.tensor([1 / 6, 2 / 3, 1 / 6, 0, 0, 0, 0, 0])
    values = b_splines(torch.tensor([0.0, -1.0]), KNOTS, 3)
    torch.testing.assert_close(values, torch.stack([middle, left], dim=1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_splines_equal_scipy(order: int) -> None:
    x = torch.linspace(-2.1, 2.1, 29)
    expected = [
        BSpline.basis_element(KNOTS[i : i + order + 2].double().numpy(), extrapolate=False)(
            x.double().numpy()
        )
        for i in range(11 - order)
    ]
    expected_values = torch.stack([torch.from_numpy(e).nan_to_num() for e in expected]).float()
    torch.testing.assert_close(b_splines(x, KNOTS, order), expected_values, rtol=0, atol=1e-5)


@given(x=st.floats(-1, 1, width=32))
def test_splines_sum_to_1_in_their_range(x: float) -> None:
    assert b_splines(torch.tensor([x]), KNOTS, 3).sum().item() == pytest.approx(1, abs=1e-5)


def test_splines_fall_outside_their_range() -> None:
    assert b_splines(torch.tensor([1.5]), KNOTS, 3).sum().item() == pytest.approx(0.6823, abs=1e-4)


def test_conv_kan_of_one_value_is_the_function_of_the_sheet() -> None:
    mixer = build_mixer("conv_kan", 1, 1, 1, kernel=1)
    with torch.no_grad():
        mixer.get_parameter("base").fill_(1)
        mixer.get_parameter("scale").fill_(2)
        mixer.get_parameter("coefficients").copy_(torch.arange(8.0).reshape(1, 1, 8, 1))
    values = mixer(torch.tensor([[[0.5, 0.0]]])).flatten()
    splines = b_splines(torch.tensor([0.5]), KNOTS, 3).flatten() @ torch.arange(8.0)
    assert values[0].item() == pytest.approx(0.31122968 + 2 * splines.item(), abs=1e-5)
    assert values[1].item() == pytest.approx(2 * (2 + 3 * 23 + 4 * 23 + 5) / 48, abs=1e-5)


def phi(mixer: nn.Module, x: Tensor, place: tuple[int, ...]) -> Tensor:
    """Sum over the channels (C,) of the functions at one place of the kernel, for each output channel."""
    at = sum(step * 3**axis for axis, step in enumerate(reversed(place)))
    base, scale, coefficients = (
        mixer.get_parameter(name).flatten(-len(place))[..., at] for name in ("base", "scale", "coefficients")
    )
    splines = b_splines(x, mixer.get_buffer("knots"), 3)  # (n, C)
    return base @ F.silu(x) + (scale * torch.einsum("oci,ic->oc", coefficients, splines)).sum(1)


@pytest.mark.parametrize("padding", [None, 0])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_conv_kan_sums_the_functions_of_its_window(spatial_dims: SpatialDims, padding: int | None) -> None:
    mixer = build_mixer("conv_kan", spatial_dims, 2, 3, 2, padding=padding, intervals=4)
    x = torch.rand(1, 2, *[5, 6, 4][:spatial_dims]) * 2 - 1
    y = mixer(x)
    padded = F.pad(x, [1 if padding is None else padding] * (2 * spatial_dims))
    for where in itertools.product(*(range(n) for n in y.shape[2:])):
        expected = torch.zeros(3)
        for place in itertools.product(range(3), repeat=spatial_dims):
            position = tuple(2 * w + p for w, p in zip(where, place, strict=True))
            expected = expected + phi(
                mixer, padded[0].permute(*range(1, spatial_dims + 1), 0)[position], place
            )
        torch.testing.assert_close(
            y[0].permute(*range(1, spatial_dims + 1), 0)[where], expected, rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_conv_kan_layer_has_the_parameters_of_the_sheet(spatial_dims: SpatialDims) -> None:
    mixer = build_mixer("conv_kan", spatial_dims, 4, 7, intervals=10)
    assert parameter_count(mixer) == 4 * 7 * 3**spatial_dims * (10 + 3 + 2)


def test_conv_kan_splines_start_near_small_noise() -> None:
    mixer = build_mixer("conv_kan", 1, 16, 16, kernel=1)
    knots = KNOTS[3:9]
    curves = torch.einsum(
        "oci,ik->ock", mixer.get_parameter("coefficients")[..., 0], b_splines(knots, KNOTS, 3)
    )
    noise = curves.flatten()
    assert 0.045 / 5 < noise.abs().max() <= 0.05001 / 5
    assert abs(noise.mean()) < 0.001


@pytest.mark.parametrize("options", [{"kernel": 2}, {"intervals": 0}, {"order": -1}, {"span": (1.0, 1.0)}])
def test_conv_kan_options_without_sense_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="mixer conv_kan"):
        build_mixer("conv_kan", 2, 8, 8, **options)
