"""Pictures of the sky: stretch, colours, blanks, compass and scale bar."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tessera.astronomy.sky_pictures import (
    BLANK,
    asinh_picture,
    bar_arcsec,
    enlarged,
    fitted,
    mark_sky,
    noise,
    plain_picture,
    reddest_first,
)


def sky(shape: tuple[int, ...], sigma: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).normal(20.0, sigma, shape).astype(np.float32)


def test_white_noise_is_measured_beside_a_galaxy() -> None:
    image = sky((200, 200), 2.0)
    y, x = np.mgrid[-100:100, -100:100]
    assert noise(image + 100 * np.exp(-np.hypot(x, y) / 25)) == pytest.approx(2.0, rel=0.05)
    assert noise(np.ones((3, 1), dtype=np.float32)) == 0.0


def test_means_over_areas_leave_nan_out() -> None:
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    image[0, 0, 0] = np.nan
    image[0, 2:, 2:] = np.nan
    small = fitted(image, 2)
    np.testing.assert_allclose(small[0], [[(1 + 4 + 5) / 3, 4.5], [10.5, np.nan]], rtol=1e-6)
    assert fitted(image, 4) is image
    assert fitted(np.ones((2, 30, 10), dtype=np.float32), 6).shape == (2, 6, 2)


def test_faint_light_is_seen_beside_a_bright_core() -> None:
    image = sky((1, 100, 100))
    image[0, 45:55, 45:55] += 20_000.0
    image[0, 10:20, 10:90] += 3.0  # three deviations of the sky
    picture = asinh_picture(image)[..., 0].astype(float)
    core, band, dark = (
        picture[47:53, 47:53].mean(),
        picture[10:20, 10:90].mean(),
        picture[70:90, 10:90].mean(),
    )
    assert core == 255
    assert dark + 15 < band < 128
    assert 5 < dark < 60


def test_three_bands_give_colours_the_reddest_as_red() -> None:
    image = sky((3, 80, 80))
    image[2, 10:20, 10:20] += 100  # only in the reddest band
    image[0, 60:70, 60:70] += 100  # only in the bluest
    for bands in ((), ("G", "R", "I"), ("sdss_g", "sdss_r", "sdss_z")):
        picture = asinh_picture(image, bands)
        assert picture[10:20, 10:20].mean(axis=(0, 1)).argmax() == 0
        assert picture[60:70, 60:70].mean(axis=(0, 1)).argmax() == 2
    assert reddest_first(("i", "g", "r")) == [0, 2, 1]
    assert reddest_first(("first", "second", "third")) == reddest_first(()) == [2, 1, 0]


def test_a_galaxy_of_usual_colour_is_white() -> None:
    image = np.zeros((3, 40, 40), dtype=np.float32)
    magnitudes = np.array([18.0, 17.4, 17.1])  # g - r = 0.6, r - i = 0.3
    image[:, 10:30, 10:30] = 10 ** (-0.4 * (magnitudes - 25.0))[:, None, None]
    found = asinh_picture(image, ("g", "r", "i"))[20, 20].astype(int)
    assert found.max() - found.min() <= 4
    assert found.max() > 200


@pytest.mark.parametrize("bands", [1, 2, 3, 5])
def test_pixels_without_a_value_are_grey(bands: int) -> None:
    image = sky((bands, 30, 30))
    image[0, 3, 4] = np.nan
    image[-1, 5, 6] = np.inf
    picture = asinh_picture(image)
    assert picture.shape == (30, 30, 3)
    assert tuple(picture[3, 4]) == tuple(picture[5, 6]) == BLANK
    assert (asinh_picture(np.full((bands, 4, 4), np.nan, dtype=np.float32)) == BLANK).all()


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0])
def test_an_even_image_is_drawn_without_complaint(value: float) -> None:
    for bands in (1, 3):
        assert asinh_picture(np.full((bands, 8, 8), value, dtype=np.float32)).shape == (8, 8, 3)


def test_a_stored_picture_stays_as_it_is() -> None:
    stored = np.random.default_rng(0).integers(0, 256, (3, 6, 7)).astype(np.float32)
    np.testing.assert_array_equal(plain_picture(stored), np.moveaxis(stored, 0, -1))
    stored[:, 2, 3] = np.nan
    assert tuple(plain_picture(stored)[2, 3]) == BLANK
    grey = plain_picture(stored[:1])
    assert tuple(grey[0, 0]) == (stored[0, 0, 0],) * 3


@pytest.mark.parametrize(
    ("scale", "width", "expected"),
    [(0.186, 128, 10), (0.1, 320, 10), (0.4, 320, 30), (10.0, 320, 300), (0.01, 320, 1), (1e4, 320, None)],
)
def test_the_bar_is_ten_arcsec_or_what_fits(scale: float, width: int, expected: int | None) -> None:
    assert bar_arcsec(scale, width) == expected


def test_arrows_point_where_they_should() -> None:
    picture = Image.new("RGB", (320, 320))
    mark_sky(picture, north=1j, east=-1 + 0j, arcsec_per_dot=0.1)
    white = np.argwhere(np.asarray(picture)[..., 0] > 200)
    bar = white[(white[:, 0] > 300) & (white[:, 1] < 160)]
    assert bar[:, 1].max() - bar[:, 1].min() == pytest.approx(100, abs=3)  # 10 arcsec
    marks = white[white[:, 1] > 200]
    row, column = 320 - 1.8 * 24, 320 - 1.8 * 24
    up = marks[abs(marks[:, 1] - column) < 2]
    left = marks[abs(marks[:, 0] - row) < 2]
    assert row - up[:, 0].min() > 20
    assert column - left[:, 1].min() > 20
    assert marks[:, 0].max() <= row + 8
    assert marks[:, 1].max() <= column + 8


def test_small_pictures_are_enlarged_in_proportion() -> None:
    assert enlarged(np.zeros((20, 40, 3), dtype=np.uint8), 320).size == (320, 160)
