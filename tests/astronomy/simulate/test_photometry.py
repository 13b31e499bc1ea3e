"""Magnitudes, counts and sizes: the published numbers of the survey."""

from __future__ import annotations

import math

import pytest

from tessera.astronomy.simulate.photometry import (
    Colour,
    counts_per_px,
    flux,
    kpc_per_arcsec,
    magnitude,
    noise_limit,
    px_per_kpc,
    surface_brightness,
)


@pytest.mark.parametrize(
    ("mu", "counts"),
    [
        (24.0, 8.690),
        (25.0, 3.460),
        (26.0, 1.377),
        (26.5, 0.869),
        (27.0, 0.548),
        (27.5, 0.346),
        (27.7, 0.288),
        (28.0, 0.218),
    ],
)
def test_counts_a_pixel_at_a_surface_brightness_are_the_published_ones(mu: float, counts: float) -> None:
    assert counts_per_px(mu) == pytest.approx(counts, abs=6e-4)
    assert surface_brightness(counts_per_px(mu)) == pytest.approx(mu, abs=1e-9)


@pytest.mark.parametrize(
    ("sigma", "pixel", "box"), [(0.6, 26.90, 30.04), (1.0, 26.35, 29.48), (1.3, 26.06, 29.20)]
)
def test_noise_is_as_deep_as_published(sigma: float, pixel: float, box: float) -> None:
    assert noise_limit(sigma) == pytest.approx(pixel, abs=0.006)
    assert noise_limit(sigma, n_sigma=3.0, box_arcsec=10.0) == pytest.approx(box, abs=0.006)


@pytest.mark.parametrize(
    ("z", "scale"), [(0.04, 0.818), (0.05, 1.011), (0.1, 1.906), (0.15, 2.701), (0.2, 3.408)]
)
def test_a_second_of_arc_spans_the_published_lengths(z: float, scale: float) -> None:
    assert kpc_per_arcsec(z) == pytest.approx(scale, abs=6e-4)
    assert px_per_kpc(z) * 0.186 * scale == pytest.approx(1.0, abs=1e-3)


def test_the_zero_point_is_one_count_and_no_light_is_infinitely_faint() -> None:
    assert flux(30.0) == 1.0
    assert flux(16.0) == pytest.approx(398107.2, abs=0.05)
    assert magnitude(flux(21.3)) == pytest.approx(21.3)
    assert magnitude(0.0) == math.inf and surface_brightness(0.0) == math.inf


def test_a_colour_weighs_bands_by_their_magnitudes() -> None:
    g, r, i = Colour(0.7, 0.35).weights
    assert magnitude(g) - magnitude(r) == pytest.approx(0.7)
    assert magnitude(r) - magnitude(i) == pytest.approx(0.35)
