"""Streams and tails: cross-section, light and what the point-spread function takes from the ridge."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tessera.astronomy.simulate.frame import Frame
from tessera.astronomy.simulate.psf import FWHM_PER_SIGMA, Psf, blurred
from tessera.astronomy.simulate.ribbons import Ribbon, ribbon_image, stream, tail


def frame(size: int = 256, reach: float = 115.0, px_per_kpc: float = 2.8) -> Frame:
    middle = (size - 1) / 2
    return Frame(shape=(size, size), at_px=(middle, middle), px_per_kpc=px_per_kpc, reach_px=reach)


def straight(fwhm: float, length: float = 100.0, ridge: float = 3.0) -> Ribbon:
    x = np.linspace(-length / 2, length / 2, 50)
    return Ribbon(x_px=x, y_px=0.3 * np.ones(50), fwhm_px=np.full(50, fwhm), ridge=np.full(50, ridge))


@pytest.mark.parametrize("fwhm", [3.0, 8.0, 15.0])
def test_a_straight_ribbon_has_a_gaussian_cross_section_and_the_ridge_that_is_asked_for(fwhm: float) -> None:
    image = ribbon_image(frame(), straight(fwhm))
    sigma = fwhm / FWHM_PER_SIGMA
    away = np.arange(256) - 127.8
    expected = 3.0 * np.exp(-0.5 * (away / sigma) ** 2)
    np.testing.assert_allclose(image[:, 128], expected, atol=3.0 * 3e-4)
    assert image[128, 100:156].std() < 1e-3  # no ripple along the ridge


def test_a_ribbon_holds_ridge_times_width_times_length() -> None:
    ribbon = straight(8.0)
    light = ribbon_image(frame(), ribbon).sum(dtype=np.float64)
    expected = 3.0 * math.sqrt(2 * math.pi) * 8.0 / FWHM_PER_SIGMA * 100.0
    assert ribbon.length_px == pytest.approx(100.0)
    assert light == pytest.approx(expected, rel=1e-3)


def test_a_closed_ring_is_as_bright_everywhere() -> None:
    turn = np.linspace(0, 2 * math.pi, 400)
    ring = Ribbon(
        x_px=80 * np.cos(turn), y_px=80 * np.sin(turn), fwhm_px=np.full(400, 8.0), ridge=np.ones(400)
    )
    image = ribbon_image(frame(257), ring)
    ridge = [image[128, 208], image[128, 48], image[208, 128], image[48, 128]]
    assert np.ptp(ridge) < 2e-3
    assert ridge[0] == pytest.approx(1.0, abs=0.01)  # a bent ridge gains sigma^2 / 8 R^2 only


@pytest.mark.parametrize("beta", [2.5, 3.0])
def test_the_point_spread_function_takes_the_published_part_of_a_stream_of_8_px(beta: float) -> None:
    image = ribbon_image(frame(), straight(8.0, length=200.0))
    seen = blurred(image, Psf(fwhm_px=0.8 / 0.186, beta=beta))
    loss = -2.5 * math.log10(seen[:, 128].max() / image[:, 128].max())
    assert 0.24 < loss < 0.30


def test_a_gaussian_psf_takes_less() -> None:
    # Closed form: widths add in squares, 2.5 log10 sqrt(1 + (4.301 / 8)^2) = 0.138.
    image = ribbon_image(frame(), straight(8.0, length=200.0))
    seen = blurred(image, Psf(fwhm_px=4.301, halo=1.0, halo_fwhm_px=4.301))
    loss = -2.5 * math.log10(seen[128, 128] / image[128, 128])
    assert loss == pytest.approx(1.25 * math.log10(1 + (4.301 / 8.0) ** 2), abs=2e-3)


@pytest.mark.parametrize("seed", range(12))
def test_streams_and_tails_stay_within_the_reach_and_outside_the_galaxy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    around = frame(px_per_kpc=rng.uniform(1.6, 6.5))
    arc = stream(rng, around, nearest_px=50.0)
    r = np.hypot(arc.x_px, arc.y_px)
    assert r.max() <= around.reach_px + 1e-6
    assert np.ptp(arc.fwhm_px) == 0 and 0 < arc.fwhm_px[0] <= 6.0 * around.px_per_kpc
    way = tail(rng, around, nearest_px=50.0)
    r = np.hypot(way.x_px, way.y_px)
    assert r[0] == pytest.approx(50.0)
    assert np.all(np.diff(r) > 0) and r[-1] <= around.reach_px + way.fwhm_px.max()
    assert way.fwhm_px[-1] > 1.5 * way.fwhm_px[0]
    assert way.ridge[-1] < 0.2 * way.ridge[0]


def test_a_ribbon_beside_the_canvas_leaves_nothing() -> None:
    x = np.linspace(500.0, 600.0, 20)
    far = Ribbon(x_px=x, y_px=x, fwhm_px=np.full(20, 4.0), ridge=np.ones(20))
    assert not ribbon_image(frame(64), far).any()
