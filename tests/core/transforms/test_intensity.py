from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from tessera.core.transforms.intensity import (
    Blur,
    Brightness,
    Contrast,
    Gamma,
    LowResolution,
    MapChange,
    MapParams,
    Noise,
)

SHAPES = [(40,), (12, 13), (6, 7, 8)]
CHANGES = [
    Noise(1.0, 0.0, 0.1),
    Blur(1.0, 0.5, 1.0),
    Brightness(1.0, 0.75, 1.25),
    Contrast(1.0, 0.75, 1.25),
    LowResolution(1.0, 0.5, 0.8),
    Gamma(1.0, 0.7, 1.5),
    Gamma(1.0, 0.7, 1.5, inverted=True),
]


def example(*shape: int, rows: int = 3, channels: int = 2) -> Tensor:
    return torch.randn((rows, channels, *shape), generator=torch.Generator().manual_seed(0))


def all_at(value: float, x: Tensor, seed: int = 1) -> MapParams:
    return MapParams(torch.ones(x.shape[:2], dtype=torch.bool), torch.full(x.shape[:2], value), seed)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("change", CHANGES, ids=lambda c: type(c).__name__)
def test_only_the_maps_drawn_change_and_a_record_replays(change: MapChange, shape: tuple[int, ...]) -> None:
    x = example(*shape, rows=16)
    params = type(change).draw(change, x.shape, torch.Generator().manual_seed(2))
    chosen = torch.rand((16, 2), generator=torch.Generator().manual_seed(3)) < 0.5
    params = MapParams(chosen, params.value, params.seed)
    before = x.clone()
    changed = change.apply(x, params)
    assert torch.equal(x, before)
    assert torch.equal(changed[~chosen], x[~chosen])
    assert (changed[chosen] != x[chosen]).flatten(1).any(1).all()
    assert changed.isfinite().all()
    assert torch.equal(change.apply(x, params), changed)


def test_rows_and_channels_are_drawn_with_their_odds() -> None:
    chosen = Blur(0.2, 0.5, 1.0, channel_probability=0.5).draw((4000, 2, 4), torch.Generator().manual_seed(4))
    rows = chosen.chosen.any(1).float().mean()
    assert float(rows) == pytest.approx(0.2 * 0.75, abs=0.03)
    assert float(chosen.chosen.float().mean()) == pytest.approx(0.1, abs=0.02)
    assert float(chosen.value.min()) >= 0.5
    assert float(chosen.value.max()) <= 1.0


def test_noise_has_the_variance_drawn_and_differs_from_map_to_map() -> None:
    x = torch.zeros((2, 2, 50, 50))
    noisy = Noise(1.0, 0.0, 0.1).apply(x, all_at(0.09, x))
    np.testing.assert_allclose(noisy.std(dim=(2, 3)), 0.3, atol=0.02)
    assert len({float(each[0, 0]) for each in noisy.flatten(0, 1)}) == 4
    other = Noise(1.0, 0.0, 0.1).apply(x, all_at(0.09, x, seed=2))
    assert not torch.equal(noisy, other)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.7])
def test_blur_is_the_gaussian_filter_of_scipy(shape: tuple[int, ...], sigma: float) -> None:
    x = example(*shape)
    blurred = Blur(1.0, 0.5, 2.0).apply(x, all_at(sigma, x))
    for ours, map_ in zip(blurred.flatten(0, 1), x.flatten(0, 1), strict=True):
        expected = scipy.ndimage.gaussian_filter(map_.double().numpy(), sigma, mode="nearest", truncate=4.0)
        np.testing.assert_allclose(ours, expected, atol=2e-4)


def test_maps_with_different_widths_are_blurred_each_by_its_own() -> None:
    x = example(30, rows=1, channels=3)
    values = torch.tensor([[0.5, 0.8, 1.0]])
    together = Blur(1.0, 0.5, 1.0).apply(x, MapParams(torch.ones((1, 3), dtype=torch.bool), values, 0))
    for channel in range(3):
        alone = Blur(1.0, 0.5, 1.0).apply(x[:, [channel]], all_at(float(values[0, channel]), x[:, [channel]]))
        torch.testing.assert_close(together[:, [channel]], alone, atol=1e-5, rtol=0)


def test_brightness_multiplies_and_contrast_keeps_mean_and_range() -> None:
    x = example(20, 20)
    torch.testing.assert_close(Brightness(1.0, 0.5, 2.0).apply(x, all_at(1.2, x)), 1.2 * x)
    less = Contrast(1.0, 0.5, 2.0).apply(x, all_at(0.8, x))
    mean = x.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(less, mean + 0.8 * (x - mean))
    more = Contrast(1.0, 0.5, 2.0).apply(x, all_at(1.5, x))
    assert torch.equal(more.amax(dim=(2, 3)), x.amax(dim=(2, 3)))
    assert torch.equal(more.amin(dim=(2, 3)), x.amin(dim=(2, 3)))


@pytest.mark.parametrize("shape", SHAPES)
def test_low_resolution_of_everything_changes_nothing_and_of_half_loses_detail(
    shape: tuple[int, ...],
) -> None:
    x = example(*shape)
    torch.testing.assert_close(LowResolution(1.0, 0.5, 1.0).apply(x, all_at(1.0, x)), x)
    half = LowResolution(1.0, 0.5, 1.0).apply(x, all_at(0.5, x))
    assert half.shape == x.shape
    assert float(half.diff(dim=-1).abs().mean()) < 0.8 * float(x.diff(dim=-1).abs().mean())
    flat = torch.full_like(x, 2.5)
    torch.testing.assert_close(LowResolution(1.0, 0.5, 1.0).apply(flat, all_at(0.5, x)), flat)


@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_keeps_mean_spread_and_order(inverted: bool) -> None:
    x = example(25, 25)
    bent = Gamma(1.0, 0.7, 1.5, inverted=inverted).apply(x, all_at(1.5, x))
    torch.testing.assert_close(bent.mean(dim=(2, 3)), x.mean(dim=(2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(bent.std(dim=(2, 3)), x.std(dim=(2, 3)), atol=1e-4, rtol=0)
    order = x[0, 0].flatten().argsort()
    assert (bent[0, 0].flatten()[order].diff() >= -1e-6).all()
    same = Gamma(1.0, 0.7, 1.5, inverted=inverted).apply(x, all_at(1.0, x))
    torch.testing.assert_close(same, x, atol=1e-4, rtol=0)


def test_gamma_above_one_makes_the_dark_more_alike_and_inverted_the_bright() -> None:
    x = torch.linspace(0, 1, 101)[None, None]
    dark = Gamma(1.0, 1.0, 2.0).apply(x, all_at(2.0, x))[0, 0].diff()
    bright = Gamma(1.0, 1.0, 2.0, inverted=True).apply(x, all_at(2.0, x))[0, 0].diff()
    assert float(dark[0]) < float(dark[-1])
    torch.testing.assert_close(bright, dark.flip(0), atol=1e-5, rtol=0)


def test_a_flat_map_stays_flat() -> None:
    x = torch.full((1, 1, 9), 3.0)
    for change in CHANGES[3:]:
        torch.testing.assert_close(change.apply(x, all_at(0.7, x)), x, atol=1e-5, rtol=0)
