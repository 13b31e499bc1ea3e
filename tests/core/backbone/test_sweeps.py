"""Sweeps through a map and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.backbone.sweeps import directional_sweeps, merge_sweeps, slices, stack_slices

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=3)


def test_sweeps_of_a_two_by_three_map_are_the_worked_example() -> None:
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert directional_sweeps(x)[0, :, 0].tolist() == [
        [0, 1, 2, 3, 4, 5],
        [0, 3, 1, 4, 2, 5],
        [5, 4, 3, 2, 1, 0],
        [5, 2, 4, 1, 3, 0],
    ]


def test_sweeps_of_a_sequence_are_itself_and_its_mirror_image() -> None:
    assert directional_sweeps(torch.tensor([[[1.0, 2, 3]]]))[0, :, 0].tolist() == [[1, 2, 3], [3, 2, 1]]


def test_each_sweep_of_a_volume_runs_fastest_along_its_own_axis() -> None:
    x = torch.arange(24.0).reshape(1, 1, 2, 3, 4)
    sweeps = directional_sweeps(x)[0, :, 0]
    assert sweeps[:3, :5].tolist() == [[0, 1, 2, 3, 4], [0, 4, 8, 1, 5], [0, 12, 1, 13, 2]]
    assert torch.equal(sweeps[3:], sweeps[:3].flip(-1))


@given(sizes=SIZES)
def test_merged_sweeps_are_the_map_times_their_number(sizes: list[int]) -> None:
    x = torch.arange(6.0 * torch.Size(sizes).numel()).reshape(2, 3, *sizes)
    assert torch.equal(merge_sweeps(directional_sweeps(x), sizes), 2 * len(sizes) * x)


@given(sizes=SIZES)
def test_every_sweep_alone_is_put_back_into_place(sizes: list[int]) -> None:
    x = torch.arange(6.0 * torch.Size(sizes).numel()).reshape(2, 3, *sizes)
    sweeps = directional_sweeps(x)
    for i in range(2 * len(sizes)):
        alone = torch.zeros_like(sweeps)
        alone[:, i] = sweeps[:, i]
        assert torch.equal(merge_sweeps(alone, sizes), x)


def test_sweeps_of_another_map_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(B, 4, C, 12\)"):
        merge_sweeps(directional_sweeps(torch.zeros(1, 1, 2, 3)), (3, 4))


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_stacked_again_are_the_map(axis: int, backwards: bool) -> None:
    x = torch.arange(48.0).reshape(2, 1, 2, 3, 4)
    parts = slices(x, axis, backwards=backwards)
    assert torch.equal(parts[0], x.select(axis + 2, -1 if backwards else 0))
    assert torch.equal(stack_slices(parts, axis, backwards=backwards), x)
