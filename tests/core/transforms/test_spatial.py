from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch

from tessera.core.errors import ConfigError
from tessera.core.transforms.spatial import AffineParams, Mirror, MirrorParams, RotateScale

SHAPES = [(9,), (8, 9), (5, 6, 7)]
ALL: dict[str, Any] = {"rotation": 1.0, "scale": (0.7, 1.4), "scaling": 1.0}


def example(*shape: int, rows: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((rows, 2, *shape), generator=generator), torch.randint(
        0, 3, (rows, *shape), generator=generator
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_an_affine_map_is_that_of_scipy(shape: tuple[int, ...]) -> None:
    change = RotateScale((40.0, 30.0, 20.0), **ALL)
    input, target = example(*shape)
    params = change.draw(input.shape, torch.Generator().manual_seed(1))
    images, masks = change.apply(input, target, params)
    centre = (np.array(shape) - 1) / 2 + 2  # zeros around it: scipy knows nothing between border and outside
    inside = tuple(slice(2, -2) for _ in shape)
    for row, matrix in enumerate(params.matrix.double().numpy()):
        offset = centre - matrix @ centre
        for channel in range(2):
            padded = np.pad(input[row, channel].numpy(), 2)
            expected = scipy.ndimage.affine_transform(padded, matrix, offset, order=1)[inside]
            np.testing.assert_allclose(images[row, channel], expected, atol=2e-5)
        nearest = scipy.ndimage.affine_transform(np.pad(target[row].numpy(), 2), matrix, offset, order=0)
        assert (masks[row].numpy() == nearest[inside]).mean() > 0.98  # ties may fall to either side
    assert masks.dtype == target.dtype


def test_a_quarter_turn_is_exact_for_image_and_mask_alike() -> None:
    input, target = example(6, 6, rows=1)
    turn = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
    images, masks = RotateScale.apply(input, target, AffineParams(torch.tensor([0]), turn))
    torch.testing.assert_close(images[0], torch.rot90(input[0], -1, (1, 2)), atol=1e-5, rtol=0)
    assert torch.equal(masks[0], torch.rot90(target[0], -1, (0, 1)))


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_that_were_not_drawn_stay_to_the_last_bit(shape: tuple[int, ...]) -> None:
    input, target = example(*shape, rows=64)
    change = RotateScale((30.0,) * 3, rotation=0.2, scale=(0.7, 1.4), scaling=0.2)
    params = change.draw(input.shape, torch.Generator().manual_seed(2))
    images, masks = change.apply(input.clone(), target.clone(), params)
    still = torch.ones(64, dtype=torch.bool)
    still[params.rows] = False
    expected = 0.2 if len(shape) == 1 else 1 - 0.8**2  # one axis cannot be turned
    assert abs(len(params.rows) / 64 - expected) < 0.2
    assert torch.equal(images[still], input[still])
    assert torch.equal(masks[still], target[still])
    assert not torch.equal(images[params.rows], input[params.rows])


def test_angles_and_factors_fill_their_ranges() -> None:
    change = RotateScale((90.0,), **(ALL | {"scale": (0.5, 2.0)}))
    matrix = change.draw((2000, 1, 4, 4), torch.Generator().manual_seed(3)).matrix
    factor = matrix.det().rsqrt()
    assert float(factor.min()) == pytest.approx(0.5, abs=0.01)
    assert float(factor.max()) == pytest.approx(2.0, abs=0.01)
    angle = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    assert float(angle.abs().max()) == pytest.approx(math.pi / 2, abs=0.02)
    assert float(angle.mean().abs()) < 0.1


def test_enlarging_by_two_shows_the_middle() -> None:
    target = torch.zeros((1, 9), dtype=torch.long)
    target[0, 4] = 1
    twice = AffineParams(torch.tensor([0]), torch.tensor([[[0.5]]]))
    _, masks = RotateScale.apply(torch.zeros((1, 1, 9)), target, twice)
    assert masks[0].nonzero()[:, 0].tolist() in ([3, 4, 5], [4, 5], [3, 4])


def test_too_few_angles_are_refused() -> None:
    with pytest.raises(ConfigError, match="too few angles"):
        RotateScale((30.0,), **ALL).draw((1, 1, 4, 4, 4), torch.Generator())


@pytest.mark.parametrize("shape", SHAPES)
def test_mirrors_turn_image_and_mask_and_undo_themselves(shape: tuple[int, ...]) -> None:
    input, target = example(*shape, rows=8)
    mirror = Mirror(swap_axis=0, swap_classes=[(1, 2)])
    params = mirror.draw(input.shape, torch.Generator().manual_seed(4))
    assert params.flipped.any()
    images, masks = mirror.apply(input, target, params)
    again = mirror.apply(images, masks, params)
    assert torch.equal(again[0], input)
    assert torch.equal(again[1], target)
    for row, flipped in enumerate(params.flipped):
        axes = [axis for axis, turned in enumerate(flipped.tolist()) if turned]
        assert torch.equal(images[row], input[row].flip([axis + 1 for axis in axes]))


def test_left_and_right_trade_places_only_along_their_axis() -> None:
    target = torch.tensor([[[0, 1, 1], [0, 0, 2]]])  # left above right
    input = target[:, None].float()
    mirror = Mirror(swap_axis=1, swap_classes=[(1, 2)])
    _, along = mirror.apply(input, target, MirrorParams(torch.tensor([[False, True]])))
    assert along.tolist() == [[[2, 2, 0], [1, 0, 0]]]
    _, across = mirror.apply(input, target, MirrorParams(torch.tensor([[True, False]])))
    assert across.tolist() == [[[0, 0, 2], [0, 1, 1]]]


def test_only_the_axes_asked_for_are_mirrored() -> None:
    drawn = Mirror([2]).draw((100, 1, 3, 3, 3), torch.Generator().manual_seed(5)).flipped
    assert not drawn[:, :2].any()
    assert 30 < int(drawn[:, 2].sum()) < 70
    assert not Mirror([]).draw((100, 1, 3), torch.Generator()).flipped.any()
    with pytest.raises(ConfigError, match="mirror_axes"):
        Mirror([3]).draw((1, 1, 3, 3), torch.Generator())
