"""Changes of pictures against NumPy, SciPy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from tessera.audio.picture_changes import (
    blended,
    equalised,
    moved,
    resampled,
    rotated,
    stretched,
    turned_round,
    warped,
)


def picture(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def test_reading_between_rows_and_frames_is_scipys() -> None:
    x = picture(2, 3, 9, 13)
    rng = np.random.default_rng(1)
    rows, frames = rng.uniform(-2, 11, (2, 9, 13)), rng.uniform(-2, 15, (2, 9, 13))
    found = resampled(x, torch.from_numpy(rows).float(), torch.from_numpy(frames).float())
    for b in range(2):
        for c in range(3):
            expected = map_coordinates(x[b, c].numpy(), [rows[b], frames[b]], order=1, mode="nearest")
            np.testing.assert_allclose(found[b, c].numpy(), expected, atol=1e-5)


def test_a_picture_moved_by_whole_rows_and_frames_repeats_its_edges() -> None:
    x = picture(1, 1, 6, 8)
    found = moved(x, torch.tensor([2.0]), torch.tensor([-3.0]))[0, 0].numpy()
    expected = np.pad(x[0, 0].numpy(), ((2, 0), (0, 3)), mode="edge")[:6, 3:]
    np.testing.assert_array_equal(found, expected)


def test_a_turn_in_a_circle_is_numpy_roll() -> None:
    x = picture(3, 2, 4, 10)
    found = turned_round(x, torch.tensor([0.0, 0.3, -0.5]))
    for row, changed, frames in zip(x, found, (0, 3, -5), strict=True):
        np.testing.assert_array_equal(changed.numpy(), np.roll(row.numpy(), frames, axis=-1))


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_a_vocal_tract_moves_low_rows_in_proportion_and_leaves_both_ends(factor: float) -> None:
    rows = torch.arange(101.0)[:, None].expand(101, 3)[None, None]  # each row holds its own number
    found = warped(rows, torch.tensor([factor]))[0, 0, :, 0]
    torch.testing.assert_close(found[:50], torch.arange(50.0) / factor, atol=1e-4, rtol=0)
    assert float(found[0]) == 0.0
    assert float(found[-1]) == pytest.approx(100.0, abs=1e-3)
    knee = 60 * min(factor, 1.0)
    assert float(found[int(knee)]) == pytest.approx(int(knee) / factor, abs=1e-3)
    slope = (100 - knee / factor) / (100 - knee)
    assert float(found[63]) == pytest.approx(100 - slope * 37, abs=1e-3)
    steps = found.diff()
    assert bool((steps > 0).all())
    top = steps[70:]
    torch.testing.assert_close(top, top[:1].expand_as(top), atol=1e-4, rtol=0)  # a straight line


def test_a_stretch_keeps_the_middle_and_changes_the_pace() -> None:
    frames = torch.arange(21.0).expand(1, 1, 2, 21)
    found = stretched(frames, torch.tensor([0.5]))[0, 0, 0]
    torch.testing.assert_close(found, 10 + (torch.arange(21.0) - 10) / 2)


def test_a_quarter_turn_is_numpys() -> None:
    x = picture(1, 1, 7, 7)
    found = rotated(x, torch.tensor([90.0]))[0, 0].numpy()
    np.testing.assert_allclose(found, np.rot90(x[0, 0].numpy(), 1), atol=1e-4)
    torch.testing.assert_close(rotated(x, torch.tensor([0.0])), x)


def test_a_blend_has_the_share_asked_for() -> None:
    x, y = picture(2, 1, 3, 4), picture(2, 1, 3, 4).flip(-1)
    found = blended(x, y, torch.tensor([0.0, 0.25]))
    torch.testing.assert_close(found[0], x[0])
    torch.testing.assert_close(found[1], 0.75 * x[1] + 0.25 * y[1])


def test_an_equaliser_adds_cosines_over_the_rows() -> None:
    found = equalised(torch.zeros(1, 1, 11, 2), torch.tensor([[2.0, -1.0]]))[0, 0, :, 1]
    place = np.pi * np.arange(11) / 10
    np.testing.assert_allclose(found.numpy(), 2 * np.cos(place) - np.cos(2 * place), atol=1e-5)
