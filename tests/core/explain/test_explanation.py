"""Whole networks are explained on the grid of their raw input."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.explain import GradCam, Occlusion, explain, grad_cam, occlusion
from tessera.core.network import GaussianScale, Network

from .networks import Averaged, Weighted, encoder


class CentreCrop(nn.Module):
    """Cuts 3 elements off each side and takes a logarithm."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., 3:-3, 3:-3].clamp_min(0).log1p()


class PlacingCrop(CentreCrop):
    def place(self, map: Tensor, shape: tuple[int, ...]) -> Tensor:
        assert tuple(side + 6 for side in map.shape[1:]) == shape
        return F.pad(map, (3, 3, 3, 3))


def input(size: int = 26) -> Tensor:
    return torch.rand(2, 2, size, size)


def test_grad_cam_returns_to_the_inputs_grid() -> None:
    body, x = encoder(2), input()
    map = explain(Network(PlacingCrop(), body), x, 1)
    expected = grad_cam(body, CentreCrop()(x), 1)
    assert expected.any()
    torch.testing.assert_close(map[:, 3:-3, 3:-3], expected)
    map[:, 3:-3, 3:-3] = 0
    assert not map.any()


def test_occlusion_sees_the_raw_input_and_finds_nothing_outside_the_crop() -> None:
    network, x = Network(CentreCrop(), encoder(2)), input()
    map = explain(network, x, 1, method=Occlusion(3, stride=1, batch_size=50))
    torch.testing.assert_close(map, occlusion(network, x, 1, window=3, stride=1))
    assert map[:, 4:-4, 4:-4].abs().max() > 1e-4
    outside = map.clone()
    outside[:, 2:-2, 2:-2] = 0  # windows of 3 that touch what is cut out have their centres here
    assert outside.abs().max() < 1e-6


@pytest.mark.parametrize("method", [None, GradCam(), GradCam(layer="encoder.stages.1"), Occlusion(5)])
def test_without_a_front_end_it_is_the_bodys_own_explanation(method: GradCam | Occlusion | None) -> None:
    body, x = encoder(2), input(20)
    expected = occlusion(body, x, 2, window=5) if isinstance(method, Occlusion) else grad_cam(body, x, 2)
    torch.testing.assert_close(explain(Network(nn.Identity(), body), x, 2, method=method), expected)


def test_a_body_that_gives_no_maps_is_explained_by_a_layers_name() -> None:
    body = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    network, x = Network(nn.Identity(), body), torch.randn(2, 1, 16)
    torch.testing.assert_close(
        explain(network, x, 3, method=GradCam("0")), grad_cam(body, x, 3, layer=body[0])
    )
    with pytest.raises(ValueError, match="name the layer"):
        explain(network, x, 3)
    with pytest.raises(ValueError, match="no module 7; among its own are 0, 1, 2"):
        explain(network, x, 3, method=GradCam("7"))


def test_features_of_another_shape_must_be_placed() -> None:
    with pytest.raises(ValueError, match=r"CentreCrop does not say where they lie \(method place\)"):
        explain(Network(CentreCrop(), encoder(2)), input(), 0)


def test_what_is_explained_is_in_the_targets_unit() -> None:
    x, scale = torch.rand(1, 2, 5), GaussianScale()
    scale.fit(torch.tensor([0.0, 20.0]))  # deviation 10
    body = Averaged(torch.eye(2))
    map = explain(Network(nn.Identity(), body, scale), x, 0)
    torch.testing.assert_close(map, 10 * x[:, 0] / 5)
    summing = Weighted(torch.ones(2, 2, 5))
    map = explain(Network(nn.Identity(), summing, scale), x, 0, method=Occlusion(1))
    torch.testing.assert_close(map, 10 * x.sum(1), rtol=1e-4, atol=1e-4)


def test_channels_last_in_memory_changes_nothing() -> None:
    network, x = Network(PlacingCrop(), encoder(2)), input()
    expected = explain(network, x, 0)
    network.use_channels_last()
    torch.testing.assert_close(explain(network, x, 0), expected, rtol=1e-4, atol=1e-6)


def test_the_front_end_is_in_evaluation_mode_too() -> None:
    network = Network(nn.Dropout(0.5), encoder(2)).train()
    x = input(20)
    assert torch.equal(explain(network, x, 0), explain(network, x, 0))
    assert network.front_end.training
