"""Noise and background: their standard deviations, correlations and places."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.astronomy.simulate.photometry import counts_per_px
from tessera.astronomy.simulate.sky import add_noise, cirrus, ghost, smooth_field, trail


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_empty_sky_has_the_noise_that_is_asked_for() -> None:
    image = np.zeros((512, 512), dtype=np.float32)
    add_noise(image, rng(), sigma=0.6, electrons_per_count=100.0)
    assert image.std() == pytest.approx(0.6, rel=0.01)  # sampling error 0.14 %
    assert abs(image.mean()) < 5 * 0.6 / 512
    beside = np.mean(image[:, 1:] * image[:, :-1]) / image.var()
    assert abs(beside) < 0.01


def test_bright_light_has_the_noise_of_its_electrons() -> None:
    image = np.full((300, 300), 900.0, dtype=np.float32)
    add_noise(image, rng(), sigma=1.0, electrons_per_count=100.0)
    assert image.std() == pytest.approx(np.sqrt(1.0 + 900.0 / 100.0), rel=0.01)
    assert image.mean() == pytest.approx(900.0, abs=0.05)


def test_without_a_gain_only_the_sky_is_noisy() -> None:
    image = np.full((300, 300), 900.0, dtype=np.float32)
    add_noise(image, rng(), sigma=1.0, electrons_per_count=0.0)
    assert image.std() == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("sigma_px", [4.0, 6.0])
def test_a_smooth_field_has_unit_variance_and_the_closed_form_of_the_correlation(sigma_px: float) -> None:
    # White noise smoothed by exp(-x^2 / 2 s^2) is correlated by exp(-d^2 / 4 s^2).
    fields = np.stack([smooth_field(rng(seed), (160, 200), sigma_px=sigma_px) for seed in range(30)])
    assert fields.shape == (30, 160, 200)
    assert fields.std() == pytest.approx(1.0, abs=0.03)
    for lag in (int(sigma_px), int(2 * sigma_px)):
        expected = np.exp(-(lag**2) / (4 * sigma_px**2))
        assert np.mean(fields[:, :, lag:] * fields[:, :, :-lag]) == pytest.approx(expected, abs=0.04)
        assert np.mean(fields[:, lag:] * fields[:, :-lag]) == pytest.approx(expected, abs=0.04)
    edges = np.concatenate([fields[:, 0], fields[:, -1]])
    assert edges.std() == pytest.approx(1.0, abs=0.1)


def test_background_rms_over_many_images_is_what_is_asked_for() -> None:
    rms = [0.05 * smooth_field(rng(seed), (48, 48), sigma_px=54.0).mean() for seed in range(600)]
    assert np.std(rms) == pytest.approx(0.05, rel=0.15)  # nearly constant over so small an image


def test_cirrus_has_its_mean_brightness_and_is_smooth() -> None:
    clouds = cirrus(rng(), (128, 160), mu=27.0)
    assert clouds.shape == (128, 160) and clouds.min() > 0
    assert clouds.mean(dtype=np.float64) == pytest.approx(counts_per_px(27.0), rel=1e-3)
    logarithm = np.log(clouds)
    assert np.corrcoef(logarithm[:, 1:].ravel(), logarithm[:, :-1].ravel())[0, 1] > 0.95


def test_a_ghost_is_flat_inside_and_dark_outside() -> None:
    disc = ghost(rng(4), (300, 300), mu=27.0)
    level = counts_per_px(27.0)
    assert disc.max() <= level * 1.0001 and disc.min() >= 0
    assert np.mean((disc > 0.01 * level) & (disc < 0.99 * level)) < 0.1


def test_a_trail_crosses_the_image_with_its_width_and_peak() -> None:
    line = trail(rng(2), (200, 200), fwhm_px=6.0, peak=20.0)
    assert line.max() == pytest.approx(20.0, rel=0.02)
    touched = np.argwhere(line > 10.0)
    length = np.ptp(touched, axis=0).max()
    assert length > 100
    ends = np.linalg.eigvalsh(np.cov(touched.T.astype(float)))
    assert np.sqrt(12 * ends[0]) == pytest.approx(6.0, rel=0.15)  # a strip 6 px wide
