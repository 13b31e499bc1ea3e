"""What the network sees of a prepared image, and where a map over it lies on the image."""

from __future__ import annotations

import math

import pytest
import torch

from tessera.astronomy.front_ends import SkyFrontEnd
from tessera.astronomy.model_config import FrontEndConfig
from tessera.core.explain import PlacesMaps


def test_the_centre_is_cut_out_and_stretched_as_the_paper_says() -> None:
    x = torch.zeros(1, 1, 6, 6)
    x[0, 0, 2, 3], x[0, 0, 3, 3] = math.e - 1, -5.0
    seen = SkyFrontEnd(FrontEndConfig(crop_px=2, stretch="log"))(x)
    assert seen.shape == (1, 1, 2, 2)
    assert seen[0, 0].tolist() == [[0.0, pytest.approx(1.0)], [0.0, 0.0]]


def test_asinh_keeps_the_sign_after_bins_of_four_pixels() -> None:
    x = torch.tensor([[[[1.0, 3.0], [-1.0, 5.0]]]])
    config = FrontEndConfig(stretch="asinh", softening=2.0, gain=2.0, noise_reduction="bin2")
    assert SkyFrontEnd(config)(x).item() == pytest.approx(math.asinh(2.0))
    assert SkyFrontEnd(config)(-x).item() == pytest.approx(-math.asinh(2.0))


def test_asymmetry_is_the_difference_to_the_half_turn_and_none_where_a_galaxy_is_symmetric() -> None:
    front_end = SkyFrontEnd(FrontEndConfig(crop_px=3, half_turn=True))
    x = torch.zeros(1, 2, 5, 5)
    x[0, :, 2, 2] = 9.0  # the centre
    x[0, 0, 1, 1] = x[0, 0, 3, 3] = 4.0  # a pair
    assert front_end(x).shape == (1, 4, 3, 3)
    assert not front_end(x)[:, 2:].any()
    x[0, 1, 1, 2] = 5.0  # alone
    seen = front_end(x)
    assert torch.equal(seen[:, :2], x[:, :, 1:4, 1:4])
    assert not seen[0, 2].any()
    assert seen[0, 3].tolist() == [[0, 5, 0], [0, 0, 0], [0, 5, 0]]


@pytest.mark.parametrize("noise_reduction", ["none", "bin2"])
@pytest.mark.parametrize("side", [6, 7])
def test_a_map_returns_to_where_its_features_came_from(noise_reduction: str, side: int) -> None:
    front_end = SkyFrontEnd(FrontEndConfig(crop_px=4, noise_reduction=noise_reduction))  # type: ignore[arg-type]
    assert isinstance(front_end, PlacesMaps)
    x = torch.arange(float(side * side)).view(1, 1, side, side)
    features = front_end(x)
    placed = front_end.place(torch.ones_like(features[:, 0]), (side, side))
    seen = front_end(torch.where(placed[:, None] > 0, x, torch.tensor(1e6)))
    assert torch.equal(seen, features)  # all that was seen lies under the map
    assert float(placed.sum()) == 16.0
