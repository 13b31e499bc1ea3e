"""Windows side by side against the worked example of the MobileViT sheet."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.backbone.partition import merge_windows, pad_to_windows, partition_windows

AXES = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3)


def test_positions_at_the_same_place_of_four_patches_are_the_worked_example() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    sequences = partition_windows(x, (2, 2)).transpose(1, 2)[0, :, :, 0]
    assert sequences.tolist() == [[0, 2, 8, 10], [1, 3, 9, 11], [4, 6, 12, 14], [5, 7, 13, 15]]


@given(axes=AXES)
def test_merging_undoes_the_partition(axes: list[tuple[int, int]]) -> None:
    window, sizes = [w for w, _ in axes], [w * n for w, n in axes]
    x = torch.arange(float(6 * torch.Size(sizes).numel())).reshape(2, 3, *sizes)
    tokens = partition_windows(x, window)
    assert tokens.shape == (2, torch.Size([n for _, n in axes]).numel(), torch.Size(window).numel(), 3)
    assert torch.equal(merge_windows(tokens, window, sizes), x)


def test_each_window_holds_a_block_of_the_volume() -> None:
    x = torch.arange(4 * 6 * 2.0).reshape(1, 1, 4, 6, 2)
    tokens = partition_windows(x, (2, 3, 1))[0, :, :, 0]
    assert torch.equal(tokens[0].sort().values, x[0, 0, :2, :3, 0].flatten().sort().values)
    assert torch.equal(tokens[-1].sort().values, x[0, 0, 2:, 3:, 1].flatten().sort().values)


def test_padding_fills_the_last_windows_and_says_where() -> None:
    padded, inside = pad_to_windows(torch.ones(1, 1, 3, 4), (2, 2))
    assert padded.shape == (1, 1, 4, 4)
    assert inside is not None
    assert inside.tolist() == [[True] * 4] * 2 + [[True, True, False, False]] * 2
    assert torch.equal(partition_windows(padded, (2, 2))[0, :, :, 0] > 0, inside)
    assert pad_to_windows(padded, (2, 2))[1] is None


def test_map_that_the_windows_do_not_fill_is_refused() -> None:
    with pytest.raises(ValueError, match=r"windows of \(2, 2\) do not fill a map of \(3, 4\)"):
        partition_windows(torch.ones(1, 1, 3, 4), (2, 2))
