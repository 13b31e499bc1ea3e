"""Counted multiply-adds against closed forms, published figures and a recursion with its own count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tessera.core.backbone import SpatialDims, conv
from tessera.core.backbone.attention import Attention
from tessera.core.backbone.encoders import Classifier, Encoder
from tessera.core.backbone.macs import count_macs
from tessera.core.backbone.reference.mlp_mixer import MIXER_LAYOUTS
from tessera.core.backbone.reference.resnets import RESNET_LAYOUTS
from tessera.core.backbone.scan import selective_scan
from tessera.core.backbone.slots.down_log_polar import LogPolarDown


def test_linear_layers_take_inputs_times_outputs_for_each_token() -> None:
    assert count_macs(nn.Linear(7, 5), torch.zeros(3, 4, 7)) == 3 * 4 * 7 * 5


@pytest.mark.parametrize(("spatial_dims", "outputs"), [(1, 5), (2, 5 * 4), (3, 5 * 4 * 3)])
def test_convolutions_take_the_kernel_of_their_group_for_each_output(
    spatial_dims: SpatialDims, outputs: int
) -> None:
    layer = conv(spatial_dims, 8, 12, kernel=3, stride=2, padding=1, groups=4)
    x = torch.zeros(2, 8, *(9, 8, 5)[:spatial_dims])
    assert count_macs(layer, x) == 2 * outputs * 12 * (8 // 4) * 3**spatial_dims


def test_transposed_convolutions_take_the_kernel_for_each_input() -> None:
    assert count_macs(nn.ConvTranspose2d(3, 5, 2, stride=2), torch.zeros(1, 3, 4, 6)) == 4 * 6 * 3 * 5 * 2 * 2


@pytest.mark.parametrize("masked", [False, True])
def test_attention_takes_four_projections_and_two_products_of_all_pairs(masked: bool) -> None:
    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = Attention(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, mask=torch.ones(5, 5, dtype=torch.bool) if masked else None)

    assert count_macs(Called(), torch.zeros(2, 5, 12)) == 2 * (4 * 5 * 12 * 12 + 2 * 5 * 5 * 12)


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts numbers that are multiplied one by one."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten.mul:
            self.count += found.numel()
        return found


def test_a_scan_takes_the_products_of_its_recursion() -> None:
    u, delta = torch.rand(2, 2, 6, 11)
    A, (B, C) = -torch.rand(6, 4), torch.rand(2, 2, 4, 11)

    def recursion() -> Tensor:
        state, outputs = torch.zeros(2, 6, 4), []
        for t in range(11):
            step = delta[..., t, None]
            state = torch.exp(step * A) * state + (step * u[..., t, None]) * B[:, None, :, t]
            outputs.append((C[:, None, :, t] * state).sum(-1))
        return torch.stack(outputs, dim=-1)

    class Scan(nn.Module):
        def forward(self, u: Tensor) -> Tensor:
            return selective_scan(u, delta, A, B, C)

    with Products() as products:  # type: ignore[no-untyped-call]
        expected = recursion()
    torch.testing.assert_close(Scan()(u), expected)
    assert count_macs(Scan(), u) == products.count == 2 * 6 * 11 * (4 * 4 + 1)


def test_reading_between_grid_points_takes_each_neighbour_once() -> None:
    assert count_macs(LogPolarDown(2, 3, 3, radii=5, angles=4), torch.zeros(2, 3, 9, 9)) == 2 * 3 * 5 * 4 * 4

    class Sample(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.grid_sample(x, torch.zeros(1, 2, 3, 4, 3), align_corners=False)

    assert count_macs(Sample(), torch.zeros(1, 5, 6, 6, 6)) == 5 * 2 * 3 * 4 * 8


def test_norms_activations_and_pools_are_not_counted() -> None:
    layers = nn.Sequential(nn.BatchNorm2d(3), nn.GELU(), nn.AvgPool2d(2), nn.Dropout())
    assert count_macs(layers, torch.zeros(2, 3, 4, 4)) == 0


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_residual_networks_take_what_torchvision_publishes(name: str) -> None:
    torchvision = pytest.importorskip("torchvision")
    published = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta["_ops"]
    with torch.device("meta"):
        network = Classifier(Encoder(2, layout=RESNET_LAYOUTS[name]), 1000)
        assert count_macs(network, torch.empty(1, 3, 224, 224)) / 1e9 == pytest.approx(published, abs=5e-4)


def test_mixer_takes_the_gmacs_of_the_sheet() -> None:
    with torch.device("meta"):
        network = Classifier(Encoder(2, layout=MIXER_LAYOUTS["mixer_b16"]), 1000)
        macs = count_macs(network, torch.empty(1, 3, 224, 224))
    assert macs / 1e9 == pytest.approx(12.60, abs=0.006)


def test_counting_leaves_network_and_input_as_they_were() -> None:
    layer = nn.Linear(2, 2)
    x = torch.ones(1, 2, requires_grad=True)
    before = layer.weight.detach().clone()
    count_macs(layer, x)
    assert layer.weight.grad is None
    assert torch.equal(layer.weight, before)
