"""SS2D of VMamba: parameter counts, mirror images, and its scan against a scan written out by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims, build_down
from tessera.core.backbone.encoders import Classifier, Encoder
from tessera.core.backbone.reference.vmamba import VMAMBA_LAYOUTS
from tessera.core.backbone.scan import selective_scan_reference
from tessera.core.backbone.scan.directional import DirectionalScan
from tessera.core.backbone.slots import build_mixer
from tessera.core.backbone.slots.mixer_ss2d import SS2DMixer

from .checks import DIMS, SIZES, check_plug, strided


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_ss2d_is_a_good_plug(spatial_dims: SpatialDims, stride: int) -> None:
    check_plug(
        lambda d: build_mixer("ss2d", d, 8, 12, stride, order=2), spatial_dims, expected=strided(12, stride)
    )


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_stem_is_a_good_plug(spatial_dims: SpatialDims, stride: int) -> None:
    check_plug(lambda d: build_down("vmamba", d, 8, 12, stride), spatial_dims, expected=strided(12, stride))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vmamba_t", 30_249_064),
        ("vmamba_t_s2l5", 30_705_832),
        ("vmamba_s", 50_147_752),
        ("vmamba_b", 88_557_800),
        ("vmamba_s_s1l20", 49_012_840),
        ("vmamba_b_s1l20", 86_614_504),
    ],
)
def test_vmamba_has_the_published_number_of_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        network = Classifier(Encoder(2, layout=VMAMBA_LAYOUTS[name]), 1000)
    assert count(network) == parameters
    assert network(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_parameters_of_the_operator_follow_the_formula(spatial_dims: SpatialDims) -> None:
    C, D, N, R, K = 40, 60, 4, 3, 2 * spatial_dims
    expected = (
        2 * C * D + 3**spatial_dims * D + K * (R + 2 * N) * D + K * R * D + K * D + K * D * N + K * D + 2 * D
    )
    assert count(build_mixer("ss2d", spatial_dims, C, C, ratio=1.5, order=N)) == expected


def test_scan_is_the_recursion_of_the_sheet() -> None:
    scan = DirectionalScan(1, directions=1, order=1, rank=1)
    with torch.no_grad():  # step ln 2, decay rate -1, B = C = 1 wherever the input is 1
        scan.step_weight.zero_()
        scan.step_bias.zero_()
        scan.project.fill_(1)
    u = torch.tensor([1.0, 0, 2])
    y = scan(u.reshape(1, 1, 1, 3)).flatten()
    state, expected = torch.zeros(()), []
    for value in u:  # here B = C = u
        state = state / 2 + torch.tensor(2.0).log() * value * value
        expected.append(value * state + value)
    torch.testing.assert_close(y, torch.stack(expected))
    torch.testing.assert_close(y[0], torch.tensor(1.69314718))


def test_first_step_sizes_and_rates_are_those_of_mamba() -> None:
    scan = DirectionalScan(500, directions=2, order=3, rank=4)
    steps = F.softplus(scan.step_bias)
    assert 1e-3 <= steps.min() < 1.1e-3
    assert 0.09 < steps.max() <= 0.1 + 1e-6
    torch.testing.assert_close(scan.log_rate.exp()[7], torch.tensor([1.0, 2, 3]))


def mirrored_directions(mixer: SS2DMixer, spatial_dims: int) -> SS2DMixer:
    """The same mixer in which each direction has the weights of the opposite one."""
    other = SS2DMixer(spatial_dims, 6, 6, order=2)  # type: ignore[arg-type]
    other.load_state_dict(mixer.state_dict())
    directions = 2 * spatial_dims
    with torch.no_grad():
        for parameter in other.scan.parameters():
            apart = parameter.reshape(directions, -1).roll(spatial_dims, dims=0)
            parameter.copy_(apart.reshape(parameter.shape))
        other.depthwise.weight.copy_(mixer.depthwise.weight.flip(list(range(2, 2 + spatial_dims))))
    return other


def test_each_direction_scans_its_own_order_of_the_map() -> None:
    mixer, x = SS2DMixer(2, 6, 6, order=2), torch.randn(2, 6, 2, 3)
    scan, orders = (
        mixer.scan,
        [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0], [5, 2, 4, 1, 3, 0]],
    )
    with torch.no_grad():
        scan.step_bias.normal_()
    flat = F.silu(mixer.depthwise(mixer.project_in(x))).flatten(2)
    total = torch.zeros_like(flat)
    rates, skips = scan.log_rate.reshape(4, 6, 2), scan.skip.reshape(4, 6)
    for k, order in enumerate(orders):
        sequence = flat[..., order]
        step, read_in, read_out = (scan.project[k] @ sequence).split([1, 2, 2], dim=1)
        total[..., order] += selective_scan_reference(
            sequence,
            scan.step_weight[k] @ step,
            -rates[k].exp(),
            read_in,
            read_out,
            D=skips[k],
            delta_bias=scan.step_bias[k],
            delta_softplus=True,
        )
    normed = F.layer_norm(total.transpose(1, 2), (6,), mixer.norm.weight, mixer.norm.bias)
    expected = mixer.project_out(normed.transpose(1, 2).reshape(2, 6, 2, 3))
    torch.testing.assert_close(mixer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_mirrored_map_and_directions_give_the_mirrored_output(spatial_dims: SpatialDims) -> None:
    mixer = SS2DMixer(spatial_dims, 6, 6, order=2)
    with torch.no_grad():
        mixer.scan.step_bias.normal_()
    axes = list(range(2, 2 + spatial_dims))
    x = torch.randn(1, 6, *SIZES[spatial_dims])
    mirrored = mirrored_directions(mixer, spatial_dims)(x.flip(axes)).flip(axes)
    torch.testing.assert_close(mirrored, mixer(x), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(mixer(x.flip(axes)).flip(axes), mixer(x), atol=1e-3)


def test_every_position_sees_every_other() -> None:
    mixer = SS2DMixer(2, 4, 4, kernel=1)
    x = torch.randn(1, 4, 5, 7, requires_grad=True)
    y: Tensor = mixer(x)[0, :, 2, 3]
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert (x.grad.abs().sum(1) > 0).all()


def test_options_that_make_no_operator_are_refused() -> None:
    with pytest.raises(ValueError, match="kernel 4 odd"):
        build_mixer("ss2d", 2, 8, 8, kernel=4)
    with pytest.raises(ValueError, match="order 0"):
        build_mixer("ss2d", 2, 8, 8, order=0)
    with pytest.raises(ValueError, match="1, 2 or 4 per axis"):
        build_down("vmamba", 2, 3, 8, 3)
