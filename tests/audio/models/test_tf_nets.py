"""Conv-3 and Conv-5 against the counts of their paper's sheet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tessera.audio.models.tf_nets import Filters, Layers, TFNet


@pytest.mark.parametrize(
    ("size", "filters", "layers", "fc_400", "fc_800"),
    [
        ((37, 50), "square", 3, 9_382_250, 18_762_650),
        ((37, 50), "square", 5, 5_064_674, 10_077_074),
        ((37, 50), "vertical", 3, 976_610, 1_933_010),
        ((37, 50), "vertical", 5, 539_762, 1_059_362),
        ((154, 12), "square", 3, 8_446_250, 16_890_650),
        ((154, 12), "square", 5, 4_565_474, 9_078_674),
        ((154, 12), "vertical", 3, 319_790, 556_190),
        ((154, 12), "vertical", 5, 164_186, 299_786),
    ],
)
def test_parameters_for_50_classes_equal_the_sheet(
    size: tuple[int, int], filters: Filters, layers: Layers, fc_400: int, fc_800: int
) -> None:
    for hidden, total in ((400, fc_400), (800, fc_800)):
        with torch.device("meta"):
            network = TFNet(50, layers=layers, filters=filters, size=size, hidden=hidden)
        assert sum(p.numel() for p in network.parameters()) == total


@pytest.mark.parametrize(("layers", "shapes"), [(3, [(10, 13)]), (5, [(19, 25), (10, 13), (10, 13)])])
def test_pools_keep_their_incomplete_last_window(layers: Layers, shapes: list[tuple[int, int]]) -> None:
    with torch.device("meta"):
        network, x = TFNet(2, layers=layers), torch.zeros(1, 1, 37, 50)
    found = []
    for layer in network.features:
        x = layer(x)
        if not isinstance(layer, nn.Dropout):
            found.append(tuple(x.shape[2:]))
    assert found == shapes


def test_vertical_filters_see_all_rows_at_once_and_square_ones_their_neighbours() -> None:
    for filters, far in (("vertical", True), ("square", False)):
        network = TFNet(2, filters=filters, size=(12, 8), hidden=4).eval()  # type: ignore[arg-type]
        seen: list[Tensor] = []
        network.features[0].register_forward_hook(lambda _m, _i, output, seen=seen: seen.append(output))
        x = torch.randn(1, 1, 12, 8)
        other = x.clone()
        other[:, :, 11, 0] += 5.0
        network(x), network(other)
        near_top = seen[0].reshape(1, 180, -1, 2)[:, :, 0] if filters == "square" else seen[0]
        changed = seen[1].reshape(1, 180, -1, 2)[:, :, 0] if filters == "square" else seen[1]
        assert bool((near_top != changed).any()) == far


def test_a_larger_picture_is_averaged_down_not_thinned_out() -> None:
    """A value of the small picture is a weighted mean of 128 x 128 of noise, each weight 1/64^2 at most."""
    network = TFNet(2, size=(6, 8), hidden=4).eval()
    pictures: list[Tensor] = []
    network.features.register_forward_pre_hook(lambda _module, inputs: pictures.append(inputs[0]))
    network(3.0 + torch.randn(1, 1, 6 * 64, 8 * 64))
    assert pictures[0].shape == (1, 1, 6, 8)
    assert (pictures[0] - 3.0).abs().max() < 4 / 64
    same = torch.randn(1, 1, 6, 8)
    network(same)
    assert torch.equal(pictures[1], same)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 4}, "choose 3 or 5"),
        ({"filters": "round"}, "choose square or vertical"),
        ({"size": (0, 50)}, "is empty"),
    ],
)
def test_unfit_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TFNet(2, **options)


def test_a_picture_of_two_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(B, 1, F, T\)"):
        TFNet(2, size=(6, 8), hidden=4)(torch.zeros(1, 2, 6, 8))
