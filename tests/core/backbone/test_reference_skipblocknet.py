"""SkipblockNet-M and its MobileNetV3 host: wiring, and timm's host with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.inverted_residual import make_divisible
from tessera.core.backbone.reference.skipblocknet import (
    SKIPBLOCKNET_M,
    SKIPS_M,
    MobileNetV3,
    mobilenet_v3_large,
    skipblocknet_m,
)

from .checks import DIMS, check_plug, logits


@pytest.mark.parametrize(
    ("value", "expected"), [(16 * 2.3, 40), (184 / 4, 48), (1, 8), (80 * 2.3, 184), (72 / 4, 24)]
)
def test_channels_go_to_a_multiple_of_eight_not_far_below(value: float, expected: int) -> None:
    assert make_divisible(value) == expected


def test_host_with_timms_weights_gives_timms_output() -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("mobilenetv3_large_100", num_classes=7).eval()
    ours = mobilenet_v3_large(2, 3, 7).eval()
    names, values = list(ours.state_dict()), list(theirs.state_dict().values())
    assert len(names) == len(values)
    shapes = [v.shape for v in ours.state_dict().values()]
    for value in values:
        if value.dtype.is_floating_point:  # norms and biases away from their ones and zeros
            value.add_(0.05 * torch.rand_like(value))
    ours.load_state_dict(
        {n: v.reshape(shape) for n, v, shape in zip(names, values, shapes, strict=True)}, strict=True
    )
    x = torch.randn(2, 3, 65, 64)
    with torch.no_grad():
        expected = theirs(x)
        assert expected.std() > 1e-3
        torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-5)


def test_skips_join_the_first_map_to_28_and_14_pixels() -> None:
    sizes: list[tuple[int, ...]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        sizes.append((*inputs[0].shape[1:], *output.shape[1:]))

    with torch.device("meta"):
        network = skipblocknet_m(2, 3, 10)
        for skip in network.skips.values():
            skip.block.register_forward_hook(note)  # type: ignore[union-attr]
        assert network.last_map(torch.empty(2, 3, 224, 224)).shape == (2, 960, 7, 7)
    assert sizes == [(16, 28, 28, 40, 28, 28), (16, 14, 14, 80, 14, 14)]


def test_skips_add_to_the_output_of_their_row() -> None:
    with_skips = skipblocknet_m(2, 3, 5).eval()
    without = MobileNetV3(2, 3, 5, rows=SKIPBLOCKNET_M).eval()
    without.load_state_dict(with_skips.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    for skip in with_skips.skips.values():
        assert not torch.equal(with_skips(x), without(x))
        last = [m for m in skip.modules() if isinstance(m, nn.BatchNorm2d)][-1]
        nn.init.zeros_(last.weight)
    assert torch.equal(with_skips(x), without(x))
    assert list(SKIPS_M) == [5, 9]


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_odd_sizes_are_halved_five_times_in_each_dimension(spatial_dims: SpatialDims) -> None:
    with torch.device("meta"):
        network = skipblocknet_m(spatial_dims, 1, 4)
        x = torch.empty(2, 1, *(67, 65, 33)[:spatial_dims])
        assert network.last_map(x).shape == (2, 960, *(3, 3, 2)[:spatial_dims])
        assert network(x).shape == (2, 4)


def test_network_trains_evaluates_and_exports() -> None:
    check_plug(lambda d: skipblocknet_m(d, 2, 3, dropout=0.0), 1, channels=2, size=(65,), expected=logits(3))
