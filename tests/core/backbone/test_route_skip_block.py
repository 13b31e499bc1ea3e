"""Skip blocks as a route, and the inverted residual they are made of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.inverted_residual import HardGate, InvertedResidual
from tessera.core.backbone.slots import build_route

from .checks import CHANNELS, DIMS, check_plug, strided


def fine_and_coarse(route: nn.Module, x: Tensor) -> Tensor:
    return route([x, x[(slice(None), slice(0, 5), *[slice(None, None, 2)] * (x.ndim - 2))]], {})


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_route_is_a_good_plug(spatial_dims: SpatialDims) -> None:
    check_plug(
        lambda d: build_route("skip_block", d, [CHANNELS, 5], kernel=3),
        spatial_dims,
        expected=strided(5, 2),
        call=fine_and_coarse,
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_inverted_residual_is_a_good_plug(spatial_dims: SpatialDims, stride: int) -> None:
    check_plug(
        lambda d: InvertedResidual(d, CHANNELS, CHANNELS, stride, expand=2, se=True),
        spatial_dims,
        expected=strided(CHANNELS, stride),
    )


def test_means_of_the_fine_map_are_added_to_the_coarse_one() -> None:
    route = build_route("skip_block", 1, [1, 1])

    class Tenfold(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 10 * x

    assert isinstance(route.block, InvertedResidual)
    setattr(route, "block", Tenfold())  # noqa: B010
    fine, coarse = torch.tensor([[[1.0, 3, 5, 9]]]), torch.tensor([[[100.0, 200]]])
    assert route([fine, coarse], {}).tolist() == [[[120, 270]]]


def test_first_stage_gets_the_stem_as_it_is() -> None:
    route, x = build_route("skip_block", 2, [4]), torch.randn(1, 4, 3, 3)
    assert not list(route.parameters())
    assert torch.equal(route([x], {}), x)


def test_inverted_residual_adds_its_input_only_where_the_shape_stays() -> None:
    block, x = InvertedResidual(2, 4, 4).eval(), torch.randn(1, 4, 5, 5)
    norm = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)][-1]
    nn.init.zeros_(norm.weight)
    assert torch.equal(block(x), x)
    for other in (InvertedResidual(2, 4, 5), InvertedResidual(2, 4, 4, 2)):
        assert not other.shortcut


def test_gate_weight_is_piecewise_linear_in_its_logit() -> None:
    gate = HardGate(8)
    for parameter in gate.parameters():
        nn.init.zeros_(parameter)
    logits = [-4.0, -3, -1.5, 0, 1.5, 3, 4, 0]
    with torch.no_grad():
        gate.excite.bias.copy_(torch.tensor(logits))
    weights = gate(torch.ones(1, 8, 2)).mean(-1).flatten()
    torch.testing.assert_close(weights, torch.tensor([0, 0, 0.25, 0.5, 0.75, 1, 1, 0.5]))


def test_negative_source_is_refused() -> None:
    with pytest.raises(ValueError, match="source -1 is negative"):
        build_route("skip_block", 1, [4, 4], source=-1)
