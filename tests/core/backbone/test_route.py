"""Routes against sums and joins by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.slots import build_route
from tessera.core.backbone.slots.route import resize_map

from .checks import DIMS


def ramp(channels: int, *size: int, start: float = 0.0) -> torch.Tensor:
    values = torch.arange(float(channels * torch.Size(size).numel())) + start
    return values.reshape(1, channels, *size)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_last_route_hands_on_the_last_output(spatial_dims: SpatialDims) -> None:
    a, b = ramp(2, *[5] * spatial_dims), ramp(3, *[4] * spatial_dims)
    route = build_route("last", spatial_dims, [2, 3])
    assert route.out_channels == 3
    assert torch.equal(route([a, b], {}), b)


def test_sum_route_adds_outputs_of_one_shape_without_weights() -> None:
    route = build_route("sum", 1, [1, 1, 1])
    assert not list(route.parameters())
    outputs = [torch.tensor([[values]]) for values in ([1.0, 2], [10.0, 20], [100.0, 200])]
    assert route(outputs, {}).flatten().tolist() == [111, 222]


def test_sum_route_averages_a_finer_output_and_projects_other_channels() -> None:
    route = build_route("sum", 1, [2, 1])
    (weight,) = route.parameters()
    nn.init.constant_(weight, 10)
    fine = torch.tensor([[[1.0, 3, 5, 9], [0, 2, 0, 0]]])  # means 2, 7 and 1, 0
    assert route([fine, torch.tensor([[[0.5, 0.25]]])], {}).flatten().tolist() == [30.5, 70.25]


def test_concat_route_puts_outputs_side_by_side_in_order() -> None:
    a, b, c = (ramp(n, 2, 2, start=100 * n) for n in (1, 2, 3))
    every = build_route("concat", 2, [1, 2, 3])
    assert every.out_channels == 6
    assert torch.equal(every([a, b, c], {}), torch.cat([a, b, c], dim=1))
    without_stem = build_route("concat", 2, [1, 2, 3], skip=1)
    assert without_stem.out_channels == 5
    assert torch.equal(without_stem([a, b, c], {}), torch.cat([b, c], dim=1))


def test_concat_route_that_leaves_out_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="skip=2 leaves none of 2 outputs"):
        build_route("concat", 1, [3, 4], skip=2)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_resized_maps_keep_constants_and_the_same_size_is_the_same_map(spatial_dims: SpatialDims) -> None:
    x = torch.full((1, 2, *(7, 6, 5)[:spatial_dims]), 3.0)
    for size in ((3, 4, 5), (9, 8, 5), (3, 9, 5)):
        y = resize_map(x, size[:spatial_dims])
        assert tuple(y.shape[2:]) == size[:spatial_dims]
        torch.testing.assert_close(y, torch.full_like(y, 3.0))
    assert resize_map(x, x.shape[2:]) is x


def test_smaller_maps_are_means_of_bins_not_samples() -> None:
    x = torch.tensor([[[0.0, 4, 0, 0, 0, 8]]])
    assert resize_map(x, [3]).flatten().tolist() == [2, 0, 4]
    torch.testing.assert_close(resize_map(x, [2]), F.avg_pool1d(x, 3))
