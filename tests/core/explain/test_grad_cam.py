"""Grad-CAM against its closed form and MONAI's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims
from tessera.core.explain import grad_cam

from .networks import Averaged, encoder

visualize = pytest.importorskip("monai.visualize")

SIZES: dict[int, tuple[int, ...]] = {1: (33,), 2: (21, 26), 3: (18, 19, 20)}
DIMS: tuple[SpatialDims, ...] = (1, 2, 3)
WEIGHTS = torch.tensor([[1.0, -2.0, 0.5], [-1.0, -1.0, -1.0]])


def unchanged(x: Tensor) -> Tensor:
    return x


@pytest.mark.parametrize("d", DIMS)
def test_of_averaged_channels_it_is_their_weighted_sum_where_positive(d: int) -> None:
    x = torch.randn(2, 3, *SIZES[d])
    map = grad_cam(Averaged(WEIGHTS), x, 0)
    summed = x[:, 0] - 2 * x[:, 1] + 0.5 * x[:, 2]
    torch.testing.assert_close(map, summed.clamp_min(0) / x[0, 0].numel())


def test_a_map_that_speaks_against_the_output_gives_zeros() -> None:
    assert not grad_cam(Averaged(WEIGHTS), torch.rand(1, 3, 5, 5), 1).any()


@pytest.mark.parametrize("d", DIMS)
def test_values_agree_with_monai_before_it_normalises(d: SpatialDims) -> None:
    network, x = encoder(d), torch.randn(2, 2, *SIZES[d])
    theirs = visualize.GradCAM(network, target_layers="encoder.stages.1", postprocessing=unchanged)
    expected = theirs(x, class_idx=1)[:, 0].detach()
    assert expected.max() > 0
    torch.testing.assert_close(grad_cam(network, x, 1), expected)
    torch.testing.assert_close(
        grad_cam(network, x, 1, layer=network.get_submodule("encoder.stages.1")), expected
    )


def test_monai_turns_the_map_upside_down_and_stretches_it() -> None:
    network, x = encoder(2), torch.randn(1, 2, 21, 26)
    ours = grad_cam(network, x, 0)
    theirs = visualize.GradCAM(network, target_layers="encoder.stages.1")(x, class_idx=0)[:, 0]
    torch.testing.assert_close(1 - ours / ours.max(), theirs, atol=1e-5, rtol=0)


def test_an_earlier_layer_gives_a_finer_map_which_agrees_with_monai() -> None:
    network, x = encoder(2), torch.randn(1, 2, 24, 24)
    theirs = visualize.GradCAM(network, target_layers="encoder.stages.0", postprocessing=unchanged)
    ours = grad_cam(network, x, 2, layer=network.get_submodule("encoder.stages.0"))
    torch.testing.assert_close(ours, theirs(x, class_idx=2)[:, 0].detach())


def test_each_row_has_its_own_output_and_no_influence_on_others() -> None:
    network, x = encoder(2), torch.randn(3, 2, 20, 20)
    together = grad_cam(network, x, torch.tensor([2, 0, 1]))
    for row, index in enumerate((2, 0, 1)):
        alone = grad_cam(network, x[row : row + 1], index)[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-7)


def test_an_activation_changes_what_is_explained() -> None:
    x, network = torch.randn(1, 3, 4, 4), Averaged(WEIGHTS)
    logit = network(x)[0, 0]
    slope = torch.sigmoid(logit) * (1 - torch.sigmoid(logit))
    expected = slope * grad_cam(network, x, 0)
    torch.testing.assert_close(grad_cam(network, x, 0, activation=torch.sigmoid), expected)


def test_the_network_stays_as_it_was() -> None:
    network, x = encoder(2), torch.randn(2, 2, 20, 20)
    network.train()
    network.get_submodule("encoder.stages.0").eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    grad_cam(network, x, 0)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not x.requires_grad


def test_frozen_networks_and_inference_mode_give_the_same_map() -> None:
    network, x = encoder(2), torch.randn(2, 2, 20, 20)
    expected = grad_cam(network, x, 0)
    network.requires_grad_(False)
    with torch.inference_mode():
        assert torch.equal(grad_cam(network, x * 1.0, 0), expected)


def test_what_follows_may_change_the_map_in_place() -> None:
    torch.manual_seed(0)
    first = nn.Conv2d(2, 4, 3)
    rest = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    x = torch.randn(1, 2, 9, 9)
    maps = [
        grad_cam(nn.Sequential(first, nn.ReLU(inplace=inplace), *rest), x, 0, layer=first)
        for inplace in (True, False)
    ]
    assert torch.equal(*maps)


def test_unfit_layers_are_refused() -> None:
    x = torch.randn(1, 2, 9, 9)
    conv, flat = nn.Conv2d(2, 2, 3, padding=1), nn.Flatten()
    network = nn.Sequential(conv, nn.Sequential(conv), nn.AdaptiveAvgPool2d(1), flat)
    for layer, words in ((None, "name the layer"), (conv, "more than once"), (flat, "no map over an input")):
        with pytest.raises(ValueError, match=words):
            grad_cam(network, x, 0, layer=layer)
    with pytest.raises(ValueError, match="no part in the answer"):
        grad_cam(network, x, 0, layer=nn.ReLU())


@pytest.mark.parametrize("index", [2, -1])
def test_an_output_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        grad_cam(Averaged(WEIGHTS), torch.zeros(1, 3, 4), index)


def test_a_network_that_gives_masks_is_refused() -> None:
    network = nn.Conv2d(2, 3, 3)
    with pytest.raises(ValueError, match=r"outputs \(B, K\)"):
        grad_cam(network, torch.zeros(1, 2, 5, 5), 0, layer=network)


@pytest.mark.gpu
def test_a_gpu_gives_the_same() -> None:
    network, x = encoder(2), torch.randn(2, 2, 20, 20)
    expected = grad_cam(network, x, 0)
    found = grad_cam(network.cuda(), x.cuda(), 0)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-5)
