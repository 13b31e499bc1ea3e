"""Galaxies' light: published amplitudes, closed forms of what a square holds, and independent models."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.modeling.models import Sersic2D
from scipy.special import gammainc

from tessera.astronomy.simulate.photometry import flux, surface_brightness
from tessera.astronomy.simulate.sersic import CORE, Sersic, sersic_image, sersic_light

PUBLISHED = [
    (16.0, 20.0, 4.0, 0.8, 7.669249, 54.88957, 21.9988),
    (16.0, 20.0, 1.0, 0.8, 1.678347, 104.12064, 21.3037),
    (17.0, 10.0, 2.5, 0.6, 4.670909, 145.87291, 20.9376),
]


def galaxy(n: float, **changed: float) -> Sersic:
    return Sersic(**{"counts": flux(16.0), "radius_px": 20.0, "n": n, "axis_ratio": 0.8, **changed})


@pytest.mark.parametrize(("mag", "radius", "n", "q", "b", "amplitude", "mu"), PUBLISHED)
def test_amplitudes_are_the_published_ones(
    mag: float, radius: float, n: float, q: float, b: float, amplitude: float, mu: float
) -> None:
    profile = Sersic(counts=flux(mag), radius_px=radius, n=n, axis_ratio=q)
    assert profile.b == pytest.approx(b, abs=1e-6)
    assert profile.effective == pytest.approx(amplitude, abs=1e-5)
    assert surface_brightness(profile.effective) == pytest.approx(mu, abs=1e-4)


@pytest.mark.parametrize(
    ("n", "size", "share"),
    [(1.0, 1024, 0.9999), (2.5, 1024, 0.9998), (4.0, 1024, 0.9972), (4.0, 512, 0.984), (4.0, 256, 0.941)],
)
def test_a_square_holds_the_published_share_of_the_light(n: float, size: int, share: float) -> None:
    image = sersic_image((size, size), galaxy(n), (size / 2, size / 2))
    assert image.sum(dtype=np.float64) / flux(16.0) == pytest.approx(share, abs=5e-4 if size < 1024 else 1e-4)


@pytest.mark.parametrize("n", [1.0, 2.5, 4.0, 6.0])
@pytest.mark.parametrize("at", [(80.0, 80.0), (80.5, 80.5), (80.27, 79.81)])
def test_the_core_holds_what_the_closed_form_says_wherever_it_lies(n: float, at: tuple[float, float]) -> None:
    # Light within a circle of 60 px of a round profile: the regularised incomplete gamma function.
    profile = galaxy(n, radius_px=10.0, axis_ratio=1.0)
    image = sersic_image((161, 161), profile, at)
    rows, columns = np.mgrid[:161, :161]
    r = np.hypot(columns - at[0], rows - at[1])
    covered = np.clip(60.5 - r, 0, 1)  # the circle's edge passes through pixels
    expected = flux(16.0) * gammainc(2 * n, profile.b * (60.0 / 10.0) ** (1 / n))
    assert (image * covered).sum(dtype=np.float64) == pytest.approx(expected, rel=3e-3)


def test_pixel_centres_alone_would_hold_a_quarter_too_much() -> None:
    _, light = sersic_light((1024, 1024), galaxy(4.0), (512.0, 512.0), core=((2, 1),))
    assert light[light < light.max()].sum() < flux(16.0)
    assert light.sum(dtype=np.float64) / flux(16.0) > 1.2
    assert min(samples for _, samples in CORE) >= 10


def test_an_inclined_profile_is_that_of_astropy_outside_the_core() -> None:
    profile = galaxy(2.5, axis_ratio=0.5, angle_rad=0.6)
    image = sersic_image((200, 220), profile, (100.3, 90.8))
    other = Sersic2D(
        amplitude=profile.effective, r_eff=20.0, n=2.5, x_0=100.3, y_0=90.8, ellip=0.5, theta=0.6
    )
    rows, columns = np.mgrid[:200, :220]
    outside = np.hypot(columns - 100.3, rows - 90.8) > 24
    np.testing.assert_allclose(image[outside], other(columns, rows)[outside], rtol=2e-5)


def test_light_falls_to_a_level_at_the_radius_that_is_told() -> None:
    profile = galaxy(4.0, axis_ratio=1.0)
    assert profile.radius_at(profile.effective) == pytest.approx(20.0)
    radius = profile.radius_at(1.0)
    here = profile.at(np.array([[radius]], dtype=np.float32), np.zeros((1, 1), dtype=np.float32))
    assert here[0, 0] == pytest.approx(1.0, rel=1e-4)
    assert galaxy(1.0).radius_at(1e9) == 0.0


def test_a_galaxy_beside_the_image_leaves_only_its_outskirts() -> None:
    profile = galaxy(1.0, axis_ratio=1.0)
    whole = sersic_image((300, 300), profile, (150.0, 150.0))
    part = sersic_image((300, 100), profile, (-50.0, 150.0))
    np.testing.assert_allclose(part, whole[:, 200:], rtol=1e-5)
    assert not sersic_image((50, 50), profile, (900.0, 25.0)).any()


def test_half_of_the_light_lies_within_the_effective_radius() -> None:
    profile = galaxy(1.0, radius_px=30.0, axis_ratio=0.6, angle_rad=1.0)
    image = sersic_image((601, 601), profile, (300.0, 300.0))
    rows, columns = np.mgrid[:601, :601] - 300
    along = columns * np.cos(1.0) + rows * np.sin(1.0)
    across = (rows * np.cos(1.0) - columns * np.sin(1.0)) / 0.6
    half = image[np.hypot(along, across) <= 30.0].sum(dtype=np.float64)
    assert half / flux(16.0) == pytest.approx(0.5, abs=2e-3)
