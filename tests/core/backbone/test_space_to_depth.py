"""Space-to-depth in both channel orders."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.backbone.space_to_depth import (
    ChannelOrder,
    pad_to_multiple,
    space_to_depth,
)

ORDERS: tuple[ChannelOrder, ...] = get_args(ChannelOrder)


def test_two_by_two_values_of_two_channels_give_the_worked_example() -> None:
    x = torch.arange(8.0).reshape(1, 2, 2, 2)
    assert space_to_depth(x, (2, 2), order="blocks").flatten().tolist() == [0, 4, 2, 6, 1, 5, 3, 7]
    assert space_to_depth(x, (2, 2), order="channels").flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_signal_is_split_into_its_even_and_odd_values() -> None:
    x = torch.tensor([[[0.0, 1, 2, 3], [10, 11, 12, 13]]])
    blocks = [[[0, 2], [10, 12], [1, 3], [11, 13]]]
    assert space_to_depth(x, (2,), order="blocks").tolist() == blocks
    assert space_to_depth(x, (2,), order="channels").tolist() == [[[0, 2], [1, 3], [10, 12], [11, 13]]]


def test_first_axis_of_a_volume_runs_fastest_in_blocks_and_last_in_channels() -> None:
    corners = torch.arange(8.0).reshape(1, 1, 2, 2, 2)  # 4 z + 2 y + x
    assert space_to_depth(corners, (2, 2, 2), order="blocks").flatten().tolist() == [0, 4, 2, 6, 1, 5, 3, 7]
    assert space_to_depth(corners, (2, 2, 2), order="channels").flatten().tolist() == list(range(8))


def test_channel_order_is_that_of_torch_pixel_unshuffle() -> None:
    x = torch.randn(2, 3, 6, 9)
    expected = torch.nn.functional.pixel_unshuffle(x, 3)
    assert torch.equal(space_to_depth(x, (3, 3), order="channels"), expected)


@given(
    factors=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    coarse=st.integers(1, 3),
    channels=st.integers(1, 3),
    order=st.sampled_from(ORDERS),
)
def test_every_value_is_kept_at_its_offset(
    factors: tuple[int, ...], coarse: int, channels: int, order: ChannelOrder
) -> None:
    size = [coarse * factor + (factor == 1) for factor in factors]
    x = torch.randn(2, channels, *size)
    folded = space_to_depth(x, factors, order=order)
    offsets = [tuple(reversed(o)) for o in product(*map(range, reversed(factors)))]  # first axis fastest
    if order == "channels":
        offsets = list(product(*map(range, factors)))
    for number, offset in enumerate(offsets):
        steps = [slice(o, None, f) for o, f in zip(offset, factors, strict=True)]
        place = slice(number, None, len(offsets))
        if order == "blocks":
            place = slice(number * channels, (number + 1) * channels)
        assert torch.equal(folded[:, place], x[:, :, *steps])
    assert folded.shape[1] == channels * len(offsets)


def test_padding_appends_zeros_to_the_axes_that_need_it() -> None:
    padded = pad_to_multiple(torch.ones(1, 1, 3, 4), (2, 3))
    assert padded.shape == (1, 1, 4, 6)
    assert padded[0, 0, :3, :4].sum() == padded.sum() == 12


def test_sizes_that_the_factors_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"size \(5,\) is not divisible by \(2,\); pad it first"):
        space_to_depth(torch.zeros(1, 1, 5), (2,), order="blocks")
