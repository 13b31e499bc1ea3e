"""IBN, SELU with alpha dropout, and layer norm with GELU against their sheets."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import Role, SpatialDims, build_adn, conv
from tessera.core.backbone.encoders import Classifier, Encoder
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.slots import apply_weights
from tessera.core.backbone.slots.adn_ibn import IBN
from tessera.core.backbone.slots.adn_layer_norm import ChannelLayerNorm

from .checks import DIMS, check_plug

SELU_LIMIT = -1.7580993408473766  # -lambda alpha


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def exactly(norms: nn.Module) -> nn.Module:
    """Without the eps of the norms; torch refuses 0 in a batch norm."""
    for norm in norms.modules():
        if hasattr(norm, "eps"):
            norm.eps = 1e-12  # type: ignore[assignment]
    return norms


@pytest.mark.parametrize("name", ["ibn_a", "ibn_b", "selu", "ln_gelu"])
@pytest.mark.parametrize("role", get_args(Role))
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_bundle_is_a_good_plug_in_every_role(name: str, role: Role, spatial_dims: SpatialDims) -> None:
    check_plug(lambda d: build_adn(name, d, 8, role, dropout=0.1), spatial_dims, no_export="costs time")


@pytest.mark.parametrize(
    ("name", "role"), [("ibn_a", "first"), ("ibn_b", "stem"), ("selu", "mid"), ("ln_gelu", "mid")]
)
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_bundle_can_be_exported(name: str, role: Role, spatial_dims: SpatialDims) -> None:
    check_plug(lambda d: build_adn(name, d, 8, role), spatial_dims)


# IBN-Net


def worked_samples(spatial_dims: int) -> tuple[Tensor, Tensor]:
    """Two samples of two channels of two positions, and what IBN makes of them in training."""
    x = torch.tensor([[[1.0, 3], [1, 1]], [[10, 30], [3, 3]]])
    y = torch.tensor([[[-1.0, 1], [-1, -1]], [[-1, 1], [1, 1]]])
    shape = 2, 2, *[1] * (spatial_dims - 1), 2
    return x.reshape(shape), y.reshape(shape)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_ibn_gives_the_worked_example(spatial_dims: SpatialDims) -> None:
    x, expected = worked_samples(spatial_dims)
    torch.testing.assert_close(exactly(IBN(spatial_dims, 2))(x), expected)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_ibn_in_evaluation_keeps_its_statistics_for_the_second_half_only(spatial_dims: SpatialDims) -> None:
    x, expected = worked_samples(spatial_dims)
    y = exactly(IBN(spatial_dims, 2)).eval()(x)
    torch.testing.assert_close(y[:, 0], expected[:, 0])
    torch.testing.assert_close(y[:, 1], x[:, 1])  # running mean 0, variance 1


def test_ibn_a_stands_first_in_the_blocks_of_all_stages_but_the_last() -> None:
    places = {
        (stage, role)
        for stage in range(4)
        for role in get_args(Role)
        if any(isinstance(m, IBN) for m in build_adn("ibn_a", 2, 8, role, stage).modules())
    }
    assert places == {(0, "first"), (1, "first"), (2, "first")}


def test_ibn_a_has_as_many_parameters_as_batch_norm() -> None:
    for role in get_args(Role):
        counts = [parameter_count(build_adn(name, 2, 7, role, 1)) for name in ("ibn_a", "bn_relu")]
        assert counts[0] == counts[1]


RESNET_18, RESNET_50 = (
    EncoderLayout(),
    EncoderLayout(widths=(256, 512, 1024, 2048), depths=(3, 4, 6, 3), ratio=0.25),
)


@pytest.mark.parametrize(
    ("host", "name", "total"),
    [
        (RESNET_50, "ibn_a", 25_557_032),
        (RESNET_50, "ibn_b", 25_558_568),
        (RESNET_18, "ibn_a", 11_689_512),
        (RESNET_18, "ibn_b", 11_689_896),
    ],
)
def test_resnet_with_ibn_has_the_parameters_of_the_sheet(host: EncoderLayout, name: str, total: int) -> None:
    with torch.device("meta"):
        network = Classifier(Encoder(2, layout=replace(host, adn=name)), 1000)
    assert parameter_count(network) == total


def test_resnet_50_with_ibn_a_has_one_ibn_in_each_of_13_blocks() -> None:
    with torch.device("meta"):
        network = Encoder(2, layout=replace(RESNET_50, adn="ibn_a"))
    widths = [m.instance_channels for m in network.modules() if isinstance(m, IBN)]
    assert widths == [32] * 3 + [64] * 4 + [128] * 6


@pytest.mark.parametrize(("role", "last_block"), [("stem", False), ("post_add", True)])
def test_ibn_b_instance_normalises_stem_and_last_sums_then_activates(role: Role, last_block: bool) -> None:
    adn = exactly(build_adn("ibn_b", 1, 1, role, 1, last_block=last_block)).eval()
    torch.testing.assert_close(adn(torch.tensor([[[10.0, 30]]])), torch.tensor([[[0.0, 1]]]))


def test_ibn_refuses_what_it_cannot_normalise() -> None:
    with pytest.raises(ValueError, match="leaves one of the norms empty"):
        build_adn("ibn_a", 2, 1, "first")
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        build_adn("ibn_a", 2, 4, "first")(torch.zeros(2, 4, 1, 1))


# SELU


def test_selu_gives_the_values_of_the_sheet() -> None:
    x = torch.tensor([-2.0, -1, 0, 1, 2]).reshape(1, 1, 5)
    expected = torch.tensor([-1.52016647, -1.11133074, 0, 1.05070099, 2.10140197]).reshape(1, 1, 5)
    for role in ("mid", "post_add"):
        torch.testing.assert_close(build_adn("selu", 1, 1, role)(x), expected)
    assert torch.equal(build_adn("selu", 1, 1, "last", dropout=0.5)(x), x)


@pytest.mark.parametrize(
    ("dropout", "scale", "dropped"),
    [
        (0.05, (0.9548444760, 0.0839355722), -1.5947758717),
        (0.10, (0.9212845161, 0.1619709701), -1.4577387305),
        (0.50, (0.8864048947, 0.7791939305), -0.7791939305),
    ],
)
def test_alpha_dropout_gives_the_values_of_the_sheet(
    dropout: float, scale: tuple[float, float], dropped: float
) -> None:
    adn = build_adn("selu", 1, 1, dropout=dropout)
    activated = 1.0507009873554805
    y = adn(torch.ones(1, 1, 1000)).unique()
    torch.testing.assert_close(y, torch.tensor([dropped, scale[0] * activated + scale[1]]))
    torch.testing.assert_close(adn.eval()(torch.ones(1, 1, 3)), torch.full((1, 1, 3), activated))


def test_selu_with_alpha_dropout_keeps_mean_0_and_variance_1() -> None:
    y = build_adn("selu", 1, 1, dropout=0.1)(torch.randn(1, 1, 1_000_000))
    assert abs(y.mean()) < 4e-3
    assert abs(y.var() - 1) < 1e-2


def test_deep_selu_network_with_lecun_weights_keeps_mean_0_and_variance_1() -> None:
    layers = [(conv(1, 256, 256, kernel=1), build_adn("selu", 1, 256)) for _ in range(32)]
    network = apply_weights("lecun_normal", nn.Sequential(*[m for pair in layers for m in pair]))
    x = torch.randn(1, 256, 512)
    with torch.no_grad():
        for layer in network.children():
            x = layer(x)
            if isinstance(layer, nn.SELU):
                assert abs(x.mean()) < 0.1
                assert 0.8 < x.var() < 1.25


def test_lowest_value_of_selu_is_the_dropped_value() -> None:
    assert build_adn("selu", 1, 1)(torch.tensor([[[-1e4]]])).item() == pytest.approx(SELU_LIMIT)


# Layer norm and GELU


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_layer_norm_standardises_the_channels_of_each_position(spatial_dims: SpatialDims) -> None:
    scales = 1 + torch.rand(1, 1, *(3, 2, 2)[:spatial_dims])
    x = torch.tensor([1.0, 3]).reshape(1, 2, *[1] * spatial_dims) * scales
    y = exactly(build_adn("ln_gelu", spatial_dims, 2))(x)
    gelu = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in (-1, 1)]
    expected = torch.tensor(gelu).reshape(1, 2, *[1] * spatial_dims).expand_as(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)


def test_layer_norm_equals_timm() -> None:
    norms = pytest.importorskip("timm.layers.norm")
    ours, theirs, x = ChannelLayerNorm(5), norms.LayerNorm2d(5), torch.randn(2, 5, 4, 3)
    nn.init.normal_(ours.weight), nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))


def test_layer_norm_beside_a_sum_follows_the_roles() -> None:
    assert isinstance(build_adn("ln_gelu", 2, 4, "last"), ChannelLayerNorm)
    assert not list(build_adn("ln_gelu", 2, 4, "post_add").parameters())
    assert parameter_count(build_adn("ln_gelu", 2, 4, "post_add", norm_after_add=True)) == 8
