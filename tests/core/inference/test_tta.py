"""Test-time changes: what they do, and back."""

from __future__ import annotations

import pytest
import torch

from tessera.core.errors import ConfigError
from tessera.core.inference.tta import changes


def test_no_names_mean_the_unchanged_input_once() -> None:
    (only,) = changes((), spatial_dims=1)
    assert only.name == "identity"


def test_identity_is_not_counted_twice_and_neither_are_repeats() -> None:
    assert len(changes(("identity", "shift", "shift"), spatial_dims=1)) == 3


def test_shift_rolls_an_eighth_of_the_last_axis_both_ways() -> None:
    line = torch.arange(16.0).reshape(1, 1, 16)
    _, forth, back = changes(("shift",), spatial_dims=1)
    assert forth.apply(line)[0, 0, :3].tolist() == [14.0, 15.0, 0.0]
    assert back.apply(line)[0, 0, :3].tolist() == [2.0, 3.0, 4.0]


def test_flip_counts_spatial_axes_from_zero() -> None:
    plane = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert changes(("flip-0",), spatial_dims=2)[1].apply(plane)[0, 0].tolist() == [[3, 4, 5], [0, 1, 2]]
    assert changes(("flip-1",), spatial_dims=2)[1].apply(plane)[0, 0].tolist() == [[2, 1, 0], [5, 4, 3]]


def test_every_change_comes_back() -> None:
    odd = torch.randn(2, 3, 5, 7, 19, generator=torch.Generator().manual_seed(0))
    for change in changes(("shift", "flip-0", "flip-1", "flip-2", "flip-0-2"), spatial_dims=3):
        assert torch.equal(change.invert(change.apply(odd)), odd), change.name


def test_flip_of_several_axes_reverses_each() -> None:
    box = torch.randn(1, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    (_, change) = changes(("flip-0-2",), spatial_dims=3)
    assert torch.equal(change.apply(box), box.flip(2).flip(4))


def test_classes_change_places_once_for_each_axis_that_is_mirrored() -> None:
    maps = torch.arange(4.0).reshape(1, 4, 1, 1)
    swaps = {0: ((1, 2),), 1: ((1, 2), (0, 3))}
    for name, expected in (("flip-0", [0, 2, 1, 3]), ("flip-1", [3, 2, 1, 0]), ("flip-0-1", [3, 1, 2, 0])):
        _, change = changes((name,), spatial_dims=2, mirror_swaps=swaps)
        assert change.restore(maps).flatten().tolist() == expected, name
    _, forth, _ = changes(("shift",), spatial_dims=2, mirror_swaps=swaps)
    assert forth.restore(maps).flatten().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["flip-1", "flip-", "flip--1", "flip-0-0", "flip-0-1", "rotate", ""])
def test_an_unknown_change_names_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="identity, shift, flip-0"):
        changes((name,), spatial_dims=1)
