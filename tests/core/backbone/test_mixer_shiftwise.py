"""Shift-wise convolution: kernels side by side against maps shifted one by one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.merging import merge_branches
from tessera.core.backbone.slots import build_mixer

from .checks import DIMS, check_plug, strided


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def shifted(maps: Tensor, offset: int, axis: int, size: int) -> Tensor:
    """Values maps[p - offset] for p in 0 .. size - 1 along the axis, zero where there is none."""
    places = torch.arange(size) - offset
    inside = (places >= 0) & (places < maps.shape[axis])
    taken = maps.index_select(axis, places.clamp(0, maps.shape[axis] - 1))
    shape = [1] * maps.ndim
    shape[axis] = size
    return taken * inside.reshape(shape)


def by_shifting_maps(mixer: nn.Module, x: Tensor, length: int, kernel: int) -> Tensor:
    """The paper's way for an image: small convolutions, then shifts of their maps by the sheet's offsets."""
    active, orders, picks = (mixer.get_buffer(name) for name in ("active", "orders", "picks"))
    weights = torch.stack(list(mixer.get_submodule("weights").parameters())).sum(0)
    channels, count = weights.shape[:2]
    full = F.conv2d(  # padding kernel - 1: every place where a small kernel touches the map
        x[:, active], weights.flatten(0, 1).unsqueeze(1), padding=kernel - 1, groups=channels
    )
    full = full.reshape(len(x), channels, count, *full.shape[2:])
    inner = (kernel - 1) // 2
    total = torch.zeros_like(x[:, active])
    for axis in range(2):
        other = 1 - axis
        cut = full.narrow(3 + other, inner, x.shape[2 + other])
        band = torch.zeros_like(total)
        for assignment in range(orders.shape[1]):
            for c in range(channels):
                for i in range(count):
                    offset = length // 2 - i * kernel - (kernel - 1)
                    conv = int(orders[axis, assignment, c, i])
                    band[:, c] += shifted(cut[:, c, conv], offset, 1 + axis, x.shape[2 + axis])
        total += mixer.get_submodule(f"band_norms.{axis}")(band)
    local = torch.stack([full[:, c, int(picks[c])] for c in range(channels)], dim=1)
    local = local[..., inner : inner + x.shape[2], inner : inner + x.shape[3]]
    y = x.clone()
    y[:, active] += total + mixer.get_submodule("local_norm")(local)
    return y


@pytest.mark.parametrize(("c_out", "stride"), [(8, 1), (6, 2)])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_shiftwise_is_a_good_plug(spatial_dims: SpatialDims, c_out: int, stride: int) -> None:
    check_plug(
        lambda d: build_mixer("shiftwise", d, 8, c_out, stride, length=8),
        spatial_dims,
        expected=strided(c_out, stride),
    )


@pytest.mark.parametrize(("length", "kernel"), [(9, 3), (7, 3), (8, 3), (13, 5), (3, 3)])
def test_shiftwise_equals_small_convolutions_with_shifted_maps(length: int, kernel: int) -> None:
    mixer = build_mixer("shiftwise", 2, 5, 5, length=length, kernel=kernel)
    x = torch.randn(2, 5, 11, 8)
    mixer(x)
    mixer.eval()
    torch.testing.assert_close(mixer(x), by_shifting_maps(mixer, x, length, kernel), rtol=0, atol=1e-5)


def test_shiftwise_impulse_gives_the_worked_example() -> None:
    mixer = build_mixer("shiftwise", 1, 2, 2, length=9, ghost=0, paths=1, assignments=1).eval()
    with torch.no_grad():
        mixer.get_parameter("weights.0").copy_(torch.arange(1.0, 10).reshape(3, 3))
        mixer.get_buffer("orders").copy_(torch.arange(3))
        mixer.get_parameter("band_norms.0.weight").fill_((1 + 1e-5) ** 0.5)
        mixer.get_parameter("local_norm.weight").zero_()
    impulse = F.one_hot(torch.tensor(4), 9).float()
    y = mixer(impulse.expand(1, 2, 9))
    torch.testing.assert_close(y[0] - impulse, torch.arange(9.0, 0, -1).expand(2, 9))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_shiftwise_copies_the_share_of_the_channels_that_is_not_active(spatial_dims: SpatialDims) -> None:
    mixer = build_mixer("shiftwise", spatial_dims, 80, 80, length=3)
    active = mixer.get_buffer("active")
    assert len(set(active.tolist())) == 60
    x = torch.randn(2, 80, *[3] * spatial_dims)
    unchanged = (mixer(x) == x).flatten(2).all(2).all(0)
    assert set(unchanged.logical_not().nonzero().flatten().tolist()) == set(active.tolist())


def test_shiftwise_orders_are_permutations_that_differ_and_repeat_with_the_seed() -> None:
    orders = build_mixer("shiftwise", 2, 8, 8).get_buffer("orders")
    assert orders.shape == (2, 4, 6, 17)
    assert torch.equal(orders.sort(-1).values, torch.arange(17).expand_as(orders))
    assert len({tuple(order) for order in orders.flatten(0, 2).tolist()}) == 2 * 4 * 6
    assert torch.equal(orders, build_mixer("shiftwise", 2, 8, 8).get_buffer("orders"))
    assert not torch.equal(orders, build_mixer("shiftwise", 2, 8, 8, seed=1).get_buffer("orders"))


def test_merged_shiftwise_has_one_path_and_the_same_output() -> None:
    mixer = build_mixer("shiftwise", 2, 8, 8, length=9).eval()
    merged = merge_branches(merge_branches(copy.deepcopy(mixer)))
    x = torch.randn(2, 8, 9, 7)
    torch.testing.assert_close(merged(x), mixer(x), rtol=0, atol=1e-5)
    assert parameter_count(mixer) - parameter_count(merged) == 6 * 3 * 9


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kernel": 4}, "kernel 4"), ({"length": 2}, "length 2"), ({"ghost": 0.9}, "none of 8 channels")],
)
def test_shiftwise_options_without_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_mixer("shiftwise", 2, 8, 8, **options)
