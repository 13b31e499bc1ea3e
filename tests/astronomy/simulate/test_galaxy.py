"""A galaxy's image: feature, noise and background come out of it as they went in."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from scipy.ndimage import uniform_filter
from sklearn.metrics import roc_auc_score

from tessera.astronomy.simulate import Galaxy, TidalConfig, simulate_galaxy
from tessera.astronomy.simulate.features import mean_level
from tessera.astronomy.simulate.photometry import counts_per_px, flux
from tessera.astronomy.simulate.tidal_config import FeatureKind

EMPTY: dict[str, Any] = {
    "neighbours_per_arcmin2": 0.0,
    "stars_per_arcmin2": 0.0,
    "bright_neighbour": 0.0,
    "arms": 0.0,
    "rings": 0.0,
}
QUIET: dict[str, Any] = {
    "noise_sigma": [0.0, 0.0, 0.0],
    "electrons_per_count": 0.0,
    "background_rms": [0.0, 0.0],
}
KINDS = get_args(FeatureKind)


def made(kind: FeatureKind | None, *, seed: int = 1, index: int = 0, **values: Any) -> Galaxy:
    return simulate_galaxy(
        seed, index, kind=kind, config=TidalConfig.model_validate({"size_px": 256} | values)
    )


def test_the_image_is_float32_of_three_bands_with_the_galaxy_in_the_middle() -> None:
    galaxy = made(None, **EMPTY, **QUIET)
    assert galaxy.image.shape == (3, 256, 256) and galaxy.image.dtype == np.float32
    assert np.abs(np.array(galaxy.at_px) - 127.5).max() <= 0.5
    rows, columns = np.mgrid[:256, :256]
    x, y = galaxy.at_px
    near = np.hypot(columns - x, rows - y) < 20
    light = galaxy.image[1] * near
    assert (light * columns).sum() / light.sum() == pytest.approx(x, abs=0.1)
    assert (light * rows).sum() / light.sum() == pytest.approx(y, abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_without_flux_leaves_every_pixel_as_it_is_without_a_feature(kind: FeatureKind) -> None:
    without = made(None, hard=True)
    zero = made(kind, hard=True, feature_flux=0.0)
    assert zero.feature is not None and without.feature is None
    assert np.array_equal(zero.image, without.image)
    assert not np.array_equal(made(kind, hard=True).image, without.image)


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_adds_its_own_light_and_nothing_else(kind: FeatureKind) -> None:
    galaxy = made(kind, extras=True, electrons_per_count=0.0)
    without = made(None, electrons_per_count=0.0)
    assert galaxy.feature_image is not None and without.feature_image is None
    np.testing.assert_allclose(galaxy.image - without.image, galaxy.feature_image, atol=2e-3)
    assert galaxy.feature is not None
    share = galaxy.feature_image.sum(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(share / share[1], galaxy.feature.colour.weights, rtol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_brightness_of_a_feature_is_recovered_from_noisy_pixels_as_that_of_its_blurred_shape(
    kind: FeatureKind,
) -> None:
    galaxy = made(kind, extras=True, mu_range=[25.5, 25.5])
    without = made(None, seed=1)
    assert galaxy.feature is not None and galaxy.feature_image is not None
    noisy = galaxy.image[0] - without.image[0]  # same draws: what stays is the light and its own noise
    noisy = noisy + np.random.default_rng(5).normal(0.0, galaxy.noise_sigma[0], noisy.shape)
    template = galaxy.feature_image[0]
    area = template > 0.5 * template.max()
    error = galaxy.noise_sigma[0] / np.sqrt(area.sum())
    assert noisy[area].mean() == pytest.approx(
        mean_level(template), abs=5 * error + 0.02 * mean_level(template)
    )
    if not galaxy.feature.progenitor:  # blurred light is fainter than drawn, sharp edges most
        assert 0.5 * counts_per_px(25.5) < mean_level(template) < 1.02 * counts_per_px(25.5)


def test_light_of_a_galaxy_is_its_magnitude() -> None:
    galaxy = made(None, size_px=512, early=0.0, r_mag=[16.0, 16.0], redshift=[0.15, 0.15], **EMPTY, **QUIET)
    assert galaxy.image[1].sum(dtype=np.float64) / flux(16.0) == pytest.approx(1.0, abs=0.02)
    ratio = galaxy.image[0].sum(dtype=np.float64) / flux(16.0)
    assert ratio == pytest.approx(galaxy.host.counts_g / flux(16.0), abs=0.01)


@pytest.mark.parametrize(("depth", "sigmas"), [("cfhtls-wide", (0.6, 1.0, 1.4)), ("deep", (0.36, 0.6, 0.84))])
def test_the_sky_has_the_noise_of_its_depth(depth: str, sigmas: tuple[float, ...]) -> None:
    noisy = made(None, depth=depth, electrons_per_count=0.0)
    quiet = made(None, noise_sigma=[0.0, 0.0, 0.0], electrons_per_count=0.0)
    found = (noisy.image - quiet.image).std(axis=(1, 2))
    np.testing.assert_allclose(found, sigmas, rtol=0.02)
    assert noisy.noise_sigma == sigmas


def test_noise_is_scaled_evenly_over_its_logarithm() -> None:
    scales = [
        made(None, index=index, size_px=64, noise_scale=[0.6, 1.5], **EMPTY).noise_sigma[1]
        for index in range(60)
    ]
    assert 0.6 <= min(scales) < 0.75 and 1.2 < max(scales) <= 1.5
    assert np.mean(np.log(scales)) == pytest.approx(np.log(0.6 * 1.5) / 2, abs=0.12)


def test_the_background_is_uneven_by_its_rms() -> None:
    found = []
    for index in range(12):
        rough = made(None, index=index, size_px=128, **EMPTY, **(QUIET | {"background_rms": [0.08, 0.08]}))
        flat = made(None, index=index, size_px=128, **EMPTY, **QUIET)
        found.append(rough.image - flat.image)
        assert rough.background_rms == 0.08
    assert np.std(found) == pytest.approx(0.08, rel=0.25)
    smooth = np.diff(found[0][0], axis=0).std() / found[0][0].std()
    assert smooth < 0.05


def test_hard_images_hold_more_than_the_others() -> None:
    change = made(None, hard=True, **EMPTY, **QUIET).image - made(None, **EMPTY, **QUIET).image
    assert change.min() > -1e-3 and change.mean() > 0.03
    alike = [np.abs(change[a] - change[b]).max() < 1e-2 for a, b in ((0, 1), (0, 2), (1, 2))]
    assert sorted(alike) == [False, False, True]  # one band has the trail, all have cirrus and ghost


def test_a_galaxy_depends_on_seed_and_index_alone() -> None:
    again = made("stream", seed=4, index=2)
    assert np.array_equal(made("stream", seed=4, index=2).image, again.image)
    assert not np.array_equal(made("stream", seed=4, index=3).image, again.image)
    assert not np.array_equal(made("stream", seed=5, index=2).image, again.image)


def test_parts_of_a_galaxy_are_drawn_apart() -> None:
    drawn = [made("fan", index=index, size_px=64, **EMPTY) for index in range(12)]
    numbers = [
        [
            galaxy.host.redshift,
            galaxy.psf[0].fwhm_px,
            galaxy.background_rms,
            0.0 if galaxy.feature is None else galaxy.feature.mu,
        ]
        for galaxy in drawn
    ]
    alike = np.corrcoef(np.array(numbers).T)[np.triu_indices(4, 1)]
    assert np.abs(alike).max() < 0.9


@pytest.mark.parametrize("size", [64, 101, 200])
def test_any_size_is_made(size: int) -> None:
    galaxy = made("fan", size_px=size)
    assert galaxy.image.shape == (3, size, size) and np.isfinite(galaxy.image).all()


def test_positions_cover_the_sphere() -> None:
    places = [made(None, index=index, size_px=64, **EMPTY) for index in range(50)]
    height = np.sin(np.radians([place.dec_deg for place in places]))
    assert np.mean(height) == pytest.approx(0.0, abs=0.25) and np.std(height) == pytest.approx(
        3**-0.5, abs=0.12
    )
    assert all(0 <= place.ra_deg < 360 for place in places)


def lopsidedness(galaxy: Galaxy) -> float:
    """Highest counts, over 9 x 9 pixels, that lie on one side of the galaxy and not on the other."""
    smooth = uniform_filter(galaxy.image.sum(axis=0), 9)
    turn = np.abs(smooth - smooth[::-1, ::-1])
    rows, columns = np.mgrid[: len(turn), : len(turn)] - (len(turn) - 1) / 2
    return float(turn[np.hypot(rows, columns) > 40].max())


@pytest.mark.slow
@pytest.mark.parametrize(("flux", "least", "most"), [(1.0, 0.95, 1.0), (0.0, 0.3, 0.7)])
def test_bright_features_are_told_apart_by_asymmetry_and_those_without_flux_by_chance(
    flux: float, least: float, most: float
) -> None:
    scores, labels = [], []
    for index in range(60):
        kind = ("stream", "tail", "fan")[index % 3] if index % 2 else None
        galaxy = made(kind, index=index, mu_range=[24.5, 25.5], feature_flux=flux, **EMPTY)
        scores.append(lopsidedness(galaxy))
        labels.append(kind is not None)
    assert least <= roc_auc_score(labels, scores) <= most  # standard error of chance 0.075
