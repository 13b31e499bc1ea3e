"""Random changes of images of the sky: each against what it should do to known places."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tessera.astronomy.config import SkyAugmentConfig, SkyConfig
from tessera.astronomy.transforms import SkyChange, SkyTransforms


def transforms(**augment: object) -> SkyTransforms:
    return SkyTransforms(
        SkyConfig(pipeline="tidal-features", preset="test", augment=SkyAugmentConfig(**augment))
    )  # type: ignore[arg-type]


def blob(row: float, column: float, *, side: int = 33, width: float = 1.5) -> Tensor:
    """(1, 1, side, side) with a smooth blob."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))[None, None]


def centroid(image: Tensor) -> tuple[float, float]:
    total = image[0, 0].sum()
    axis = torch.arange(image.shape[-1], dtype=torch.float32)
    return (
        float((image[0, 0].sum(dim=1) * axis).sum() / total),
        float((image[0, 0].sum(dim=0) * axis).sum() / total),
    )


def test_the_matrix_and_the_shift_say_where_each_pixel_comes_from() -> None:
    angle, zoom, shift = math.radians(30.0), torch.tensor([1.1, 0.9]), torch.tensor([2.0, -3.0])
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    change = SkyChange(matrix=(turn / zoom)[None], shift=shift[None])
    image = blob(20.0, 12.0)
    moved = transforms().apply(image, change)
    row, column = centroid(moved)
    came_from = (turn / zoom) @ torch.tensor([row - 16.0, column - 16.0]) + shift + 16.0
    assert came_from.tolist() == pytest.approx([20.0, 12.0], abs=0.05)


def test_angles_zooms_and_shifts_are_symmetric_and_fill_their_ranges() -> None:
    subject = transforms(rotation_deg=90.0, shift_fraction=0.05, zoom=(0.9, 1.1))
    change = subject.draw(torch.Size((4000, 1, 512, 512)), torch.Generator().manual_seed(0))
    assert change.matrix is not None
    assert change.shift is not None
    for axis in (0, 1):
        assert abs(float(change.shift[:, axis].mean())) < 1.0
        assert float(change.shift[:, axis].min()) < -25.0
        assert float(change.shift[:, axis].max()) > 25.0
        assert float(change.shift[:, axis].abs().max()) <= 25.6
    zooms = change.matrix.norm(dim=1).reciprocal()  # of each column
    assert 0.9 <= float(zooms.min()) < 0.91
    assert 1.09 < float(zooms.max()) <= 1.1 + 1e-5
    assert float((zooms[:, 0] - zooms[:, 1]).abs().max()) > 0.1  # drawn for each axis
    sines = change.matrix[:, 1, 0] * zooms[:, 0]
    assert abs(float(sines.mean())) < 0.05


def test_exact_changes_move_values_and_change_none() -> None:
    subject = transforms(quarter_turns=True, flip=True, roll=True)
    x = torch.arange(2 * 36.0).view(2, 1, 6, 6)
    generator = torch.Generator().manual_seed(1)
    for _ in range(8):
        changed, _ = subject.on_input(x, torch.zeros(2), generator)
        assert torch.equal(changed.flatten(1).sort().values, x.flatten(1).sort().values)


def test_a_recorded_exact_change_does_what_it_says() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    subject = transforms()
    turned = subject.apply(x, SkyChange(turns=torch.tensor([1])))
    assert torch.equal(turned, torch.rot90(x, 1, dims=(2, 3)))
    flipped = subject.apply(x, SkyChange(flipped=torch.tensor([[False, True]])))
    assert torch.equal(flipped, x.flip(3))
    rolled = subject.apply(x, SkyChange(roll=torch.tensor([[1, 2]])))
    assert torch.equal(rolled, x.roll((1, 2), dims=(2, 3)))


def test_what_comes_from_outside_is_zero_or_wrapped() -> None:
    x = torch.arange(64.0).view(1, 1, 8, 8) + 1.0
    change = SkyChange(matrix=torch.eye(2)[None], shift=torch.tensor([[0.0, 2.0]]))
    empty = transforms(interpolation="nearest", border="zeros").apply(x, change)
    assert torch.equal(empty[..., :6], x[..., 2:])
    assert not empty[..., 6:].any()
    wrapped = transforms(interpolation="nearest", border="wrap").apply(x, change)
    assert torch.equal(wrapped, x.roll(-2, dims=3))


def test_the_same_generator_gives_the_same_change_and_no_change_is_the_identity() -> None:
    x = torch.rand(3, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    subject = transforms(rotation_deg=20.0, brightness=0.2, noise=0.1)
    first, second = (subject.on_input(x, x, torch.Generator().manual_seed(7))[0] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, x)
    assert torch.equal(transforms().on_input(x, x, torch.Generator())[0], x)
