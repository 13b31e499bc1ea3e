"""All-CNN: its down, its head, and All-CNN-C."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims, build_down, build_head
from tessera.core.backbone.reference.all_cnn import AllCNN

from .checks import DIMS, check_plug, last_of_two_maps, logits, strided


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_down_is_a_good_plug(spatial_dims: SpatialDims) -> None:
    check_plug(lambda d: build_down("all_cnn", d, 8, 6, 2), spatial_dims, expected=strided(6, 2))


@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_head_is_a_good_plug(spatial_dims: SpatialDims, rectify: bool) -> None:
    check_plug(
        lambda d: build_head("conv_mean", d, [4, 8], 5, rectify=rectify),
        spatial_dims,
        expected=logits(5),
        call=last_of_two_maps,
    )


def test_middle_tap_takes_every_second_value_and_drops_negative_ones() -> None:
    down = build_down("all_cnn", 1, 1, 1, 2)
    weight, bias = down.parameters()
    with torch.no_grad():
        weight.copy_(torch.tensor([[[0.0, 1, 0]]]))
        bias.zero_()
    assert down(torch.tensor([[[1.0, 2, 3, 4]]])).tolist() == [[[1, 3]]]
    assert down(torch.tensor([[[-1.0, 2, 3, -4]]])).tolist() == [[[0, 3]]]


@pytest.mark.parametrize("size", range(1, 12))
def test_output_is_as_long_as_that_of_the_pool_it_replaces(size: int) -> None:
    x = torch.zeros(1, 1, size, size + 1)
    pooled = nn.MaxPool2d(3, 2, padding=1)(x)
    assert build_down("all_cnn", 2, 1, 1, 2)(x).shape == pooled.shape


def scores(head: nn.Module, weight: list[list[float]], bias: list[float]) -> nn.Module:
    old_weight, old_bias = head.parameters()
    with torch.no_grad():
        old_weight.copy_(torch.tensor(weight).reshape(old_weight.shape))
        old_bias.copy_(torch.tensor(bias))
    return head


def test_head_averages_the_positive_scores() -> None:
    x = torch.tensor([[[[1.0, -3], [2, 4]]]])
    head = scores(build_head("conv_mean", 2, [9, 1], 2), [[1.0], [-2.0]], [0.0, 1.0])
    assert head([x]).tolist() == [[7 / 4, 7 / 4]]  # 1, 0, 2, 4 and 0, 7, 0, 0
    head = scores(build_head("conv_mean", 2, [9, 1], 2, rectify=False), [[1.0], [-2.0]], [0.0, 1.0])
    assert head([x]).tolist() == [[1, -1]]


def test_head_drops_values_in_training_only() -> None:
    head = scores(build_head("conv_mean", 1, [1], 1, dropout=1.0), [[1.0]], [0.5])
    x = torch.ones(1, 1, 3)
    assert head([x]).item() == 0.5
    assert head.eval()([x]).item() == 1.5


def test_map_of_a_32_pixel_image_shrinks_to_16_8_and_6() -> None:
    with torch.device("meta"):
        network, sizes = AllCNN(2, 3, 10), []

        def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            sizes.append(output.shape[-1])

        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(note)
        assert network(torch.empty(1, 3, 32, 32)).shape == (1, 10)
    assert sizes == [32, 32, 16, 16, 16, 8, 6, 6, 6]


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_all_cnn_takes_any_size_in_each_dimension(spatial_dims: SpatialDims) -> None:
    with torch.device("meta"):
        network = AllCNN(spatial_dims, 2, 4)
        assert network(torch.empty(2, 2, *(33, 10, 9)[:spatial_dims])).shape == (2, 4)


def test_all_cnn_trains_and_evaluates_like_a_plug() -> None:
    check_plug(
        lambda d: AllCNN(d, 3, 4, input_dropout=0.1), 1, channels=3, size=(21,), expected=logits(4), atol=1e-5
    )


def test_convolutions_are_followed_by_relu_and_drop_in_the_papers_places() -> None:
    rates = [m.p for m in AllCNN(2, 3, 10).modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.2, 0.5, 0.5, 0.0]
    assert sum(isinstance(m, nn.ReLU) for m in AllCNN(2, 3, 10).modules()) == 8  # the ninth is the head's
