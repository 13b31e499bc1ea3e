"""SENetV2, gather-excite, ULSAM and DAS against their sheets, timm and torchvision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims, build_gate
from tessera.core.backbone.encoders import Classifier, Encoder
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.slots.gate_das import DeformConv, sample

from .checks import DIMS, SIZES, check_plug


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def resnet_50_with(gate: dict[str, Any]) -> int:
    """Parameters with this gate at the end of each block's residual branch, for maps of 224 x 224."""
    layout = EncoderLayout(
        widths=(256, 512, 1024, 2048), depths=(3, 4, 6, 3), ratio=0.25, gate=gate, input_size=(224, 224)
    )
    with torch.device("meta"):
        return parameter_count(Classifier(Encoder(2, layout=layout), 1000))


def options_for(name: str, spatial_dims: SpatialDims) -> dict[str, Any]:
    return {"grid": SIZES[spatial_dims]} if name in {"ge", "ge_plus"} else {}


def as_map(values: list[list[float]], spatial_dims: int) -> Tensor:
    """Channels of four values as (1, C, *S)."""
    return torch.tensor(values, dtype=torch.float32).reshape(
        1, len(values), *{1: (4,), 2: (2, 2), 3: (1, 2, 2)}[spatial_dims]
    )


def set_weights(module: nn.Module, *weights: Tensor) -> nn.Module:
    with torch.no_grad():
        for parameter, weight in zip(module.parameters(), weights, strict=True):
            parameter.copy_(weight.reshape(parameter.shape))
    return module


@pytest.mark.parametrize("name", ["sae", "ge_minus", "ge", "ge_plus", "ulsam", "das"])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_gate_is_a_good_plug(name: str, spatial_dims: SpatialDims) -> None:
    check_plug(lambda d: build_gate(name, d, 8, **options_for(name, d)), spatial_dims)


@pytest.mark.parametrize("name", ["ge_minus", "ge", "ge_plus"])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_gather_excite_of_neighbourhoods_is_a_good_plug(name: str, spatial_dims: SpatialDims) -> None:
    check_plug(lambda d: build_gate(name, d, 8, extent=4), spatial_dims)


# SENetV2


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_sae_gives_the_worked_example(spatial_dims: SpatialDims) -> None:
    gate = build_gate("sae", spatial_dims, 2, ratio=2, branches=4)
    squeeze = torch.tensor([[1.0, 0], [0, 1], [1, 1], [-1, 0]])
    excite = torch.tensor([[0, 0, 0, 5.0], [0, math.log(3), 0, 0]])
    y = set_weights(gate, squeeze, excite)(as_map([[1, 3, 5, 7], [0, 0, 0, 4]], spatial_dims))
    torch.testing.assert_close(y, as_map([[0.5, 1.5, 2.5, 3.5], [0, 0, 0, 3]], spatial_dims))


def test_sae_equals_se_with_a_wider_hidden_layer() -> None:
    sae, x = build_gate("sae", 2, 64, ratio=16, branches=2), torch.randn(2, 64, 3, 5)
    se = build_gate("se", 2, 64, ratio=8, bias=False)
    se.load_state_dict(sae.state_dict())
    torch.testing.assert_close(sae(x), se(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("ratio", "branches", "total"),
    [(32, 4, 30_586_920), (16, 4, 35_616_808), (32, 1, 26_814_504), (16, 1, 28_071_976)],
)
def test_resnet_50_with_sae_has_the_parameters_of_the_sheet(ratio: int, branches: int, total: int) -> None:
    assert resnet_50_with({"kind": "sae", "ratio": ratio, "branches": branches}) == total


def test_sae_of_few_channels_keeps_one_unit_in_each_branch() -> None:
    assert parameter_count(build_gate("sae", 1, 5)) == 4 * 5 + 5 * 4


@pytest.mark.parametrize("options", [{"ratio": 0}, {"branches": 0}])
def test_sae_without_hidden_units_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        build_gate("sae", 2, 8, **options)


# Gather-excite


def test_ge_minus_gives_the_worked_example() -> None:
    y = build_gate("ge_minus", 1, 1, extent=2)(torch.tensor([[[0.0, 2, 4, 6]]]))
    torch.testing.assert_close(y, torch.tensor([[[0, 1.46211716, 3.92805516, 5.89208274]]]))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_ge_minus_of_the_whole_map_takes_the_mean_of_each_channel(spatial_dims: SpatialDims) -> None:
    y = build_gate("ge_minus", spatial_dims, 2)(as_map([[1, 3, 5, 7], [0, 0, 0, 4]], spatial_dims))
    gates = 1 / (1 + math.exp(-4)), 1 / (1 + math.exp(-1))
    expected = as_map([[v * gates[0] for v in (1, 3, 5, 7)], [0, 0, 0, 4 * gates[1]]], spatial_dims)
    torch.testing.assert_close(y, expected)


def test_ge_minus_leaves_out_what_lies_beyond_any_border() -> None:
    x = torch.zeros(1, 1, 3, 3, 3)
    x[..., 0, 0, 0] = 8  # in the first of the windows -1..1 and 1..3 of each axis, which has 2^3 positions
    weights = build_gate("ge_minus", 3, 1, extent=2)(x + 1) / (x + 1)
    expected = torch.full_like(x, 1 / (1 + math.exp(-1)))
    expected[..., :2, :2, :2] = 1 / (1 + math.exp(-2))
    torch.testing.assert_close(weights, expected)


def test_ge_minus_equals_timm() -> None:
    layers = pytest.importorskip("timm.layers.gather_excite")
    x = torch.randn(2, 3, 13, 10)
    for extent in (2, 4, 8):
        theirs = layers.GatherExcite(3, extent=extent, use_mlp=False)
        torch.testing.assert_close(build_gate("ge_minus", 2, 3, extent=extent)(x), theirs(x))


@pytest.mark.parametrize(
    ("name", "total"), [("ge_minus", 25_557_032), ("ge", 31_106_600), ("ge_plus", 33_637_592)]
)
def test_resnet_50_with_ge_has_the_parameters_of_the_sheet(name: str, total: int) -> None:
    assert resnet_50_with({"kind": name}) == total


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_ge_of_the_whole_map_weighs_every_position(spatial_dims: SpatialDims) -> None:
    x = as_map([[1, 3, 5, 7]], spatial_dims)
    gate = build_gate("ge", spatial_dims, 1, grid=tuple(x.shape[2:])).eval()
    kernel = torch.tensor([1.0, 0, -1, 1])  # 1 - 5 + 7 = 3
    set_weights(gate, kernel, torch.tensor(2.0), torch.tensor(-6 + math.log(3)))  # 2 * 3 - 6 + ln 3
    gate.get_submodule("gather.2").eps = 0.0  # type: ignore[assignment]
    torch.testing.assert_close(gate(x), 0.75 * x)


def test_ge_plus_excites_what_ge_gathers() -> None:
    x = as_map([[1, 3, 5, 7], [0, 0, 0, 4]], 2)
    gate = build_gate("ge_plus", 2, 2, grid=(2, 2), ratio=2).eval()
    means, one, zero = torch.full((2, 4), 0.25), torch.ones(2), torch.zeros(2)
    excite = torch.tensor([[0.5, -1.0]]), torch.zeros(1), torch.tensor([0.0, math.log(3)]), zero
    set_weights(gate, means, one, zero, *excite)
    gate.get_submodule("gather.2").eps = 0.0  # type: ignore[assignment]
    torch.testing.assert_close(gate(x), as_map([[0.5, 1.5, 2.5, 3.5], [0, 0, 0, 3]], 2))


def test_ge_plus_excites_positive_hidden_values_only() -> None:
    gate = build_gate("ge_plus", 1, 2, grid=(3,), ratio=2)
    nn.init.constant_(gate.get_parameter("excite.0.bias"), -100.0)
    nn.init.zeros_(gate.get_parameter("excite.2.bias"))
    x = torch.randn(2, 2, 3)
    torch.testing.assert_close(gate(x), x / 2)


@pytest.mark.parametrize("name", ["ge", "ge_plus"])
def test_ge_with_an_extent_gathers_by_halvings_with_relu_between(name: str) -> None:
    gate = build_gate(name, 2, 16, extent=8)
    kinds = [type(layer).__name__ for layer in gate.get_submodule("gather")]  # type: ignore[attr-defined]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["Conv2d", "BatchNorm2d"]
    assert gate.get_submodule("gather")(torch.zeros(1, 16, 17, 8)).shape == (1, 16, 3, 1)
    assert parameter_count(gate) == 3 * 16 * (9 + 2) + (0 if name == "ge" else 16 + 1 + 16 + 16)


@pytest.mark.parametrize("name", ["ge", "ge_plus"])
def test_ge_refuses_maps_of_another_grid(name: str) -> None:
    gate = build_gate(name, 2, 4, grid=(5, 6)).eval()
    with pytest.raises(ValueError, match=r"maps of \(5, 6\), found \(6, 5\)"):
        gate(torch.zeros(1, 4, 6, 5))
    for grid in (None, (5,), (5, 0)):
        with pytest.raises(ValueError, match="needs grid, 2 sizes"):
            build_gate(name, 2, 4, grid=grid)


@pytest.mark.parametrize("name", ["ge_minus", "ge", "ge_plus"])
@pytest.mark.parametrize("extent", [0, 1, 6])
def test_ge_extent_that_is_no_power_of_two_is_refused(name: str, extent: int) -> None:
    with pytest.raises(ValueError, match=f"gate {name}: extent {extent}"):
        build_gate(name, 1, 4, extent=extent)


# ULSAM


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_ulsam_gives_the_worked_example_in_each_group(spatial_dims: SpatialDims) -> None:
    gate = build_gate("ulsam", spatial_dims, 2, groups=2).eval()
    for name, parameter in gate.named_parameters():
        nn.init.constant_(parameter, float(name.endswith("weight")))
    for norm in gate.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            norm.eps = 0.0
    x = torch.tensor([[[0, 0, 0, math.log(3)], [math.log(3), 0, 0, 0]]])
    x = x.reshape(1, 2, *[1] * (spatial_dims - 1), 4)
    expected = torch.tensor([[[0, 0, 0, 1.51059], [1.51059, 0, 0, 0]]]).reshape(x.shape)
    torch.testing.assert_close(gate(x), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize(("channels", "count"), [(512, 2_572), (64, 332)])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_ulsam_has_the_parameters_of_the_sheet(spatial_dims: SpatialDims, channels: int, count: int) -> None:
    assert parameter_count(build_gate("ulsam", spatial_dims, channels, groups=4)) == count


def test_ulsam_equals_a_loop_over_groups_of_one_module_each() -> None:
    gate, x = build_gate("ulsam", 2, 6, groups=2), torch.randn(3, 6, 5, 4)
    state = gate.state_dict()
    parts = []
    for group in range(2):
        single = build_gate("ulsam", 2, 3, groups=1)
        single.load_state_dict({k: v.chunk(2)[group] if v.ndim else v for k, v in state.items()})
        parts.append(single(x[:, 3 * group : 3 * group + 3]))
    torch.testing.assert_close(gate(x), torch.cat(parts, dim=1))


def test_ulsam_of_silent_groups_adds_the_same_part_everywhere() -> None:
    gate = build_gate("ulsam", 1, 4, groups=2)
    nn.init.constant_(gate.get_parameter("attend.5.bias"), -100.0)
    x = torch.randn(2, 4, 8)
    torch.testing.assert_close(gate(x), x * (1 + 1 / 8))


def test_ulsam_follows_new_statistics_as_fast_as_the_authors_code() -> None:
    gate = build_gate("ulsam", 1, 4)
    gate(torch.randn(2, 4, 100) + 10)
    norm = gate.get_submodule("attend.1")
    shift = gate.get_parameter("attend.0.weight").flatten() * 10 + gate.get_parameter("attend.0.bias")
    torch.testing.assert_close(norm.running_mean, 0.9 * shift, rtol=0, atol=0.3)


def test_ulsam_of_channels_that_do_not_split_is_refused() -> None:
    with pytest.raises(ValueError, match="6 channels do not split into 4 groups"):
        build_gate("ulsam", 2, 6)


# DAS


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_deformable_convolution_without_offsets_is_an_ordinary_one(spatial_dims: SpatialDims) -> None:
    deform, x = DeformConv(spatial_dims, 3, 4).double(), torch.randn(2, 3, *SIZES[spatial_dims]).double()
    offsets = torch.zeros(2, spatial_dims * 3**spatial_dims, *SIZES[spatial_dims]).double()
    plain = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}[spatial_dims]
    expected = plain(x, deform.weight, deform.bias, padding=1)
    torch.testing.assert_close(deform(x, offsets), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_constant_offset_on_one_axis_reads_a_shifted_map(spatial_dims: SpatialDims) -> None:
    deform, x = DeformConv(spatial_dims, 3, 4).double(), torch.randn(2, 3, *SIZES[spatial_dims]).double()
    for axis in range(spatial_dims):
        offsets = torch.zeros(2, 3**spatial_dims, spatial_dims, *SIZES[spatial_dims]).double()
        offsets[:, :, axis] = 1
        zero = torch.zeros_like(offsets).flatten(1, 2)
        size = x.shape[axis + 2]
        shifted = x.roll(-1, axis + 2).index_fill(axis + 2, torch.tensor([size - 1]), 0.0)
        y, expected = deform(x, offsets.flatten(1, 2)), deform(shifted, zero)
        interior = y.narrow(axis + 2, 1, size - 2), expected.narrow(axis + 2, 1, size - 2)
        torch.testing.assert_close(*interior, rtol=0, atol=1e-6)


def test_deformable_convolution_equals_torchvision() -> None:
    ops = pytest.importorskip("torchvision.ops")
    deform, x = DeformConv(2, 3, 4), torch.randn(2, 3, 13, 10)
    offsets = 4 * torch.randn(2, 18, 13, 10)  # many outside of the map
    expected = ops.deform_conv2d(x, offsets, deform.weight, deform.bias, padding=1)
    torch.testing.assert_close(deform(x, offsets), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_samples_of_a_linear_map_are_its_values_between_positions(spatial_dims: SpatialDims) -> None:
    sizes = (4, 5, 6)[:spatial_dims]
    axes = torch.meshgrid(*[torch.arange(float(n)) for n in sizes], indexing="ij")
    ramp = sum((10**i * axis for i, axis in enumerate(axes)), start=torch.tensor(0.0))
    positions = torch.rand(1, 2, 7, spatial_dims) * (torch.tensor(sizes) - 1)
    expected = (positions * 10.0 ** torch.arange(spatial_dims)).sum(-1)
    torch.testing.assert_close(sample(ramp[None, None], positions)[:, 0], expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_das_weights_lie_between_zero_and_one(spatial_dims: SpatialDims) -> None:
    gate, x = build_gate("das", spatial_dims, 16), torch.randn(2, 16, *SIZES[spatial_dims])
    weights = gate(x) / x
    assert weights.min() > 0
    assert weights.max() < 1
    assert weights.std() > 0.01


def test_das_begins_with_an_ordinary_convolution() -> None:
    gate, x = build_gate("das", 2, 8), torch.randn(1, 8, 6, 5)
    features = torch.nn.functional.gelu(torch.nn.functional.instance_norm(x[:, :1]))
    assert not gate.get_submodule("offsets")(features).any()


@pytest.mark.parametrize(("channels", "inner"), [(64, 12), (4, 1), (10, 2)])
def test_das_features_are_a_fifth_of_the_channels(channels: int, inner: int) -> None:
    gate = build_gate("das", 2, channels)
    assert gate.get_parameter("pointwise.weight").shape[0] == inner
    offsets = inner * 9 * 18 + 18
    assert parameter_count(gate) == channels * 9 + channels * inner + offsets + channels * (inner * 9 + 3)


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"kernel": 4}, {"kernel": 0}])
def test_das_options_without_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="gate das: alpha"):
        build_gate("das", 2, 8, **options)


def test_das_finds_the_offset_that_moves_a_spot_into_view() -> None:
    deform = DeformConv(1, 1, 1, kernel=1)
    set_weights(deform, torch.ones(1), torch.zeros(1))
    x = torch.exp(-0.5 * (torch.arange(9.0) - 6) ** 2).reshape(1, 1, 9)
    move = torch.tensor(0.5, requires_grad=True)
    loss = -deform(x, torch.ones(1, 1, 9) * move)[0, 0, 4]
    (slope,) = torch.autograd.grad(loss, move)
    assert slope.item() == pytest.approx(-(math.exp(-0.5) - math.exp(-2)), abs=1e-5)
