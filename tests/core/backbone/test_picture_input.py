"""What networks over pictures ask of their input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tessera.core.backbone.picture_input import check_picture, input_norm


@pytest.mark.parametrize(
    ("axis", "frames", "other"), [("frequency", None, (0, 1, 3)), ("time", 7, (0, 1, 2))]
)
def test_each_entry_of_the_axis_gets_mean_zero_and_variance_one(axis: Any, frames: Any, other: Any) -> None:
    x = 3 * torch.randn(64, 1, 5, 7, generator=torch.Generator().manual_seed(0)) + 2
    found = input_norm("Net", axis, rows=5, frames=frames)(x)
    torch.testing.assert_close(found.mean(other), torch.zeros(5 if frames is None else 7), atol=1e-5, rtol=0)
    spread = found.square().mean(other)
    torch.testing.assert_close(spread, torch.ones_like(spread), atol=1e-4, rtol=0)


def test_without_an_axis_nothing_changes() -> None:
    assert isinstance(input_norm("Net", "none", rows=5, frames=None), nn.Identity)


@pytest.mark.parametrize(
    ("axis", "frames", "words"),
    [
        ("rows", None, "Net: input_bn='rows' is not known"),
        ("time", None, "give the number of frames"),
        ("frequency", 7, "None for the others"),
    ],
)
def test_an_axis_that_cannot_be_is_refused(axis: Any, frames: int | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        input_norm("Net", axis, rows=5, frames=frames)


@pytest.mark.parametrize(
    ("shape", "frames", "words"),
    [
        ((2, 5, 9), None, r"Net: the input has shape \(2, 5, 9\); expected \(B, 1, 5, T\)"),
        ((2, 2, 5, 9), None, "expected"),
        ((2, 1, 6, 9), None, "expected"),
        ((2, 1, 5, 3), None, "3 frames are too few; expected at least 4. Take more"),
        ((2, 1, 5, 8), 9, "8 frames, but input_bn='time' was built for 9"),
    ],
)
def test_a_picture_that_does_not_fit_is_refused(
    shape: tuple[int, ...], frames: int | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        check_picture("Net", torch.zeros(shape), rows=5, min_frames=4, frames=frames, hint="Take more")
    check_picture("Net", torch.zeros(2, 1, 5, 9), rows=5, min_frames=4, frames=frames, hint="Take more")
