"""Closed forms of discs and Gaussians, photutils, and what must not change a measure."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photutils.morphology import gini as photutils_gini
from photutils.profiles import CurveOfGrowth
from scipy.ndimage import rotate
from scipy.optimize import brentq

from tessera.astronomy import morphology
from tessera.astronomy.morphology import (
    NO_PETROSIAN,
    Centre,
    asymmetry_about,
    concentration,
    find_centre,
    gini,
    growth_curve,
    m20,
    measure_shape,
    petrosian_radius,
    segment,
    smoothness,
)
from tessera.astronomy.preprocessing import NO_OBJECT
from tessera.core.errors import DataError

Image = npt.NDArray[np.float32]


def distance(size: int, row: float, column: float) -> npt.NDArray[np.float64]:
    y, x = np.mgrid[:size, :size]
    return np.hypot(y - row, x - column)


def gaussian(size: int = 201, *, sigma: float = 12.0, row: float = 100.0, column: float = 100.0) -> Image:
    return (1000 * np.exp(-((distance(size, row, column) / sigma) ** 2) / 2)).astype(np.float32)


def disc(size: int = 301, *, scale: float = 12.0, row: float = 150.0, column: float = 150.0) -> Image:
    return (1000 * np.exp(-distance(size, row, column) / scale)).astype(np.float32)


def test_what_is_symmetric_has_no_asymmetry() -> None:
    assert asymmetry_about(gaussian(), 100, 100) == pytest.approx(0, abs=1e-12)
    mask = np.zeros((9, 12), dtype=bool)
    mask[2:4, 3:8] = mask[3:5, 2:7] = True
    assert asymmetry_about(mask, 3, 4.5) == 0  # centres between pixels


def test_half_a_disc_about_its_centre_of_rotation_is_wholly_asymmetric() -> None:
    half = (distance(61, 30, 30) < 20) & (np.arange(61)[:, None] > 30)
    assert asymmetry_about(half, 30, 30) == 1
    whole = distance(61, 30, 30) < 20
    quarter_missing = whole & ~((np.arange(61)[:, None] > 30) & (np.arange(61) > 30))
    missing = whole.sum() - quarter_missing.sum()
    assert asymmetry_about(quarter_missing, 30, 30) == pytest.approx(missing / quarter_missing.sum())


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_asymmetry_is_that_of_an_image_turned_by_another_library(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = np.zeros((41, 41))
    image[14:26, 13:27] = rng.random((12, 14))
    turned = rotate(image, 180, reshape=False, order=0)  # about pixel (20, 20)
    expected = np.abs(image - turned).sum() / (2 * image.sum())
    assert asymmetry_about(image, 20, 20) == pytest.approx(expected)
    # Cut so that partners lie outside: light without a partner is wholly asymmetric.
    assert asymmetry_about(image[14:26, 13:27], 6, 7) == pytest.approx(expected)


def test_asymmetry_without_light_is_undefined() -> None:
    assert math.isnan(asymmetry_about(np.zeros((3, 3)), 1, 1))


@pytest.mark.parametrize("place", [(100.0, 100.0), (103.5, 97.0), (96.0, 106.5)])
def test_the_centre_is_found_to_half_a_pixel(place: tuple[float, float]) -> None:
    image = gaussian(row=place[0], column=place[1])
    image[round(place[0]) + 3, round(place[1]) + 3] += 2000  # a knot pulls the brightest pixel aside
    found = find_centre(image, image > 1)
    assert (found.row, found.column) == place
    assert found.asymmetry == pytest.approx(2000 / image[image > 1].sum(), rel=0.01)


def test_the_centre_stays_near_the_brightest_pixel() -> None:
    image = gaussian() * 0.01
    image[100, 80] += 1000
    found = find_centre(image, image > 0.5)
    assert found.row == 100 and 80 <= found.column <= 88


def test_a_mask_without_pixels_has_no_centre() -> None:
    with pytest.raises(DataError, match=NO_OBJECT):
        find_centre(gaussian(), np.zeros((201, 201), dtype=bool))


@pytest.mark.parametrize(("row", "column"), [(100.0, 100.0), (98.5, 103.0)])
def test_the_growth_curve_is_that_of_photutils(row: float, column: float) -> None:
    image = gaussian(sigma=6)
    found = growth_curve(image, row, column)
    radii = np.arange(1.0, 90)
    expected = CurveOfGrowth(image.astype(float), (column, row), radii).profile
    assert found.flux[1:90] == pytest.approx(expected, rel=8e-3)
    assert found.flux[2:90] == pytest.approx(expected[1:], rel=2e-3)
    assert found.area[2:90] == pytest.approx(math.pi * radii[1:] ** 2, rel=2e-3)
    assert found.flux[-1] == pytest.approx(image.sum(), rel=1e-6)
    assert found.area[-1] == pytest.approx(image.size)


def exponential_share(x: float) -> float:
    """Light of an exponential disc within x scale lengths."""
    return 1 - (1 + x) * math.exp(-x)


def test_petrosian_radius_and_concentration_of_a_gaussian_in_closed_form() -> None:
    u = brentq(lambda u: u * math.exp(-u) / (1 - math.exp(-u)) - 0.2, 0.1, 20)
    growth = growth_curve(gaussian(), 100, 100)
    radius, brightness = petrosian_radius(growth)
    assert radius == pytest.approx(12 * math.sqrt(2 * u), rel=0.005)
    assert brightness == pytest.approx(1000 * math.exp(-u), rel=0.02)
    within = 1 - math.exp(-u * 1.5**2)
    r20, r80 = (math.sqrt(-math.log(1 - share * within)) for share in (0.2, 0.8))
    assert concentration(growth, radius) == pytest.approx(5 * math.log10(r80 / r20), abs=0.01)


def test_petrosian_radius_and_concentration_of_a_disc_in_closed_form() -> None:
    x = brentq(lambda x: x * x * math.exp(-x) / (2 * exponential_share(x)) - 0.2, 0.5, 20)
    growth = growth_curve(disc(), 150, 150)
    radius, _ = petrosian_radius(growth)
    assert radius == pytest.approx(12 * x, rel=0.005)
    within = exponential_share(1.5 * x)
    r20, r80 = (brentq(lambda y, s=s: exponential_share(y) - s * within, 0.01, 20) for s in (0.2, 0.8))
    assert concentration(growth, radius) == pytest.approx(5 * math.log10(r80 / r20), abs=0.02)


def test_an_even_surface_has_no_petrosian_radius() -> None:
    growth = growth_curve(np.ones((40, 40), dtype=np.float32), 20, 20)
    assert all(math.isnan(value) for value in petrosian_radius(growth))


def test_gini_in_closed_form_and_against_photutils() -> None:
    assert gini(np.full(50, 3.0)) == pytest.approx(0)
    assert gini(np.eye(1, 50, 7)) == pytest.approx(1)
    assert gini([1, 2, 3]) == pytest.approx(2 * (3 - 1) / (6 * 2))
    n = 100_000
    even = (np.arange(n) + 0.5) / n
    assert gini(even) == pytest.approx(1 / 3, abs=1e-3)
    assert gini(-np.log(even)) == pytest.approx(0.5, abs=1e-3)  # an exponential distribution
    image = np.random.default_rng(0).normal(2, 3, (20, 30))
    assert gini(image) == pytest.approx(photutils_gini(image))
    assert math.isnan(gini([5.0])) and math.isnan(gini(np.zeros(4)))


def test_m20_in_closed_form() -> None:
    line = np.ones((1, 10), dtype=np.float32)  # centred on 4.5; the first two are the "brightest"
    assert m20(line, line > 0) == pytest.approx(math.log10((4.5**2 + 3.5**2) / 82.5))
    bright = gaussian(301, sigma=12, row=150, column=150)
    # Light within u = r^2 / 2 sigma^2 is 1 - e^-u, its second moment 1 - (1 + u) e^-u of the whole's.
    assert m20(bright, bright > 1e-3) == pytest.approx(math.log10(1 - 0.8 * (1 - math.log(0.8))), abs=0.01)
    assert math.isnan(m20(bright, np.zeros_like(bright, dtype=bool)))


def test_a_bright_knot_far_out_raises_m20() -> None:
    image = gaussian()
    knots = image + 8 * gaussian(sigma=1.5, row=130, column=130)
    assert m20(knots, knots > 1) > m20(image, image > 1) + 0.3


def test_smoothness_in_closed_form() -> None:
    y, x = np.mgrid[:101, :101]
    board = (1 + (-1.0) ** (x + y)).astype(np.float32)  # 0 and 2: a mean over 5 x 5 is 0.96 or 1.04
    centre, nowhere = Centre(50, 50, 0), np.zeros((101, 101), dtype=bool)
    assert smoothness(board, centre, 16.0, sky=nowhere) == pytest.approx(0.96, rel=0.01)
    assert smoothness(board, centre, 16.0, sky=x < 10) == pytest.approx(0, abs=0.01)  # all of it is "sky"
    flat = np.full((101, 101), 3, dtype=np.float32)
    assert smoothness(flat, centre, 16.0, sky=nowhere) == pytest.approx(0, abs=1e-6)


def test_the_sky_share_of_the_smoothness_is_subtracted() -> None:
    rng = np.random.default_rng(0)
    quiet = measure_shape(gaussian()[None] + rng.normal(0, 0.1, (1, 201, 201)).astype(np.float32))
    noisy = measure_shape(gaussian()[None] + rng.normal(0, 8, (1, 201, 201)).astype(np.float32))
    assert noisy.smoothness == pytest.approx(quiet.smoothness, abs=0.02)


def test_the_segment_is_what_reaches_the_brightness_around_the_centre() -> None:
    image = gaussian(sigma=12)
    image[150:153, 20:23] = 1000
    radius, brightness = petrosian_radius(growth_curve(image, 100, 100))
    found = segment(image, Centre(100, 100, 0), radius, brightness)
    smooth = math.hypot(12, radius / 5)  # sigma after the Gaussian, whose peak falls as its square grows
    edge = smooth * math.sqrt(2 * math.log(1000 * (12 / smooth) ** 2 / brightness))
    assert math.sqrt(found.sum() / math.pi) == pytest.approx(edge, rel=0.01)
    assert not found[151, 21]


def galaxy(seed: int = 0, *, knot: float = 4.0) -> Image:
    rng = np.random.default_rng(seed)
    light = 0.3 * disc(161, scale=7, row=80, column=80) + knot * gaussian(161, sigma=3, row=88, column=95)
    return np.stack([light * share + rng.normal(0, 1, light.shape) for share in (0.5, 1, 1.5)]).astype(
        np.float32
    )


def test_a_companion_makes_a_galaxy_asymmetric() -> None:
    plain, disturbed = measure_shape(galaxy(knot=0)), measure_shape(galaxy(knot=0.2))
    assert plain.asymmetry < 0.05 < disturbed.asymmetry
    assert disturbed.mask_asymmetry > plain.mask_asymmetry
    assert plain.remarks == ()


def test_turning_mirroring_and_brightening_change_nothing() -> None:
    bands = galaxy(knot=0.2)
    first = measure_shape(bands).numbers()
    for other in (bands[:, ::-1], np.rot90(bands, axes=(1, 2)), bands * np.float32(7), bands + 100):
        found = measure_shape(np.ascontiguousarray(other)).numbers()
        for name, value in first.items():
            assert found[name] == pytest.approx(value, rel=0.02, abs=0.003), name


def test_another_galaxy_far_away_changes_little() -> None:
    bands = galaxy(knot=0)
    crowded = bands + 0.2 * gaussian(161, sigma=2, row=20, column=30)
    alone, beside = measure_shape(bands).numbers(), measure_shape(crowded).numbers()
    for name, value in alone.items():
        assert beside[name] == pytest.approx(value, rel=0.03, abs=0.02), name


def test_no_object_gives_no_measures_and_says_so() -> None:
    noise = np.random.default_rng(1).normal(0, 1, (3, 64, 64)).astype(np.float32)
    found = measure_shape(noise)
    assert found.remarks == (NO_OBJECT,)
    assert all(math.isnan(value) for value in found.numbers().values())


def test_without_a_petrosian_radius_the_other_measures_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(morphology, "petrosian_radius", lambda growth: (math.nan, math.nan))
    found = measure_shape(galaxy())
    assert found.remarks == (NO_PETROSIAN,)
    missing = {name for name, value in found.numbers().items() if math.isnan(value)}
    assert missing == {"petrosian_px", "concentration", "smoothness"}


def test_pixels_without_a_value_do_not_spread() -> None:
    bands = galaxy(knot=0.2)
    holed = bands.copy()
    holed[1, 5:15, 5:15] = np.nan
    whole, found = measure_shape(bands).numbers(), measure_shape(holed).numbers()
    for name, value in whole.items():
        assert found[name] == pytest.approx(value, rel=0.02, abs=0.003), name
