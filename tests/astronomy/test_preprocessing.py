"""The steps one by one, against closed forms, photutils and astropy; defects of the paper's code as tests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.convolution import Box2DKernel, convolve
from astropy.stats import SigmaClip, sigma_clipped_stats
from astropy.visualization import make_lupton_rgb
from hypothesis import given, settings
from hypothesis import strategies as st
from photutils.segmentation import detect_sources, detect_threshold

from tessera.astronomy.preprocessing import (
    NO_OBJECT,
    Prepared,
    asinh_stretch,
    central_region,
    clipped_sky,
    log_stretch,
    lupton_picture,
    mean_filter,
    measure_sky,
    prepare,
    share_with_value,
    soft_mask,
    source_mask,
)
from tessera.astronomy.preprocessing_config import (
    ApplyMaskConfig,
    AsinhConfig,
    BackgroundConfig,
    CentralRegionConfig,
    CompleteBandsConfig,
    LogConfig,
    SigmaMaskConfig,
    SkyPreparation,
    StackConfig,
    StepConfig,
    SubtractBackgroundConfig,
    SyntheticSkyConfig,
    masked_variant,
)
from tessera.core.errors import DataError

Image = npt.NDArray[np.float32]

ZERO_POINT_MAG = 30.0
PIXEL_ARCSEC = 0.186


def counts_at(mu: float) -> float:
    """Counts a pixel at a surface brightness in mag/arcsec^2."""
    return float(10 ** (-0.4 * (mu - ZERO_POINT_MAG)) * PIXEL_ARCSEC**2)


def radius(size: int) -> npt.NDArray[np.float64]:
    y, x = np.mgrid[:size, :size] - size // 2
    return np.hypot(y, x)


def disc(size: int = 512, *, centre_mu: float = 20.0, scale_px: float = 20.0) -> Image:
    """An exponential disc in counts."""
    return (counts_at(centre_mu) * np.exp(-radius(size) / scale_px)).astype(np.float32)


def noise(size: int = 512, *, seed: int = 0, sigma: float = 1.0) -> Image:
    return np.random.default_rng(seed).normal(0, sigma, (size, size)).astype(np.float32)


def steps(*some: StepConfig) -> SkyPreparation:
    return SkyPreparation(steps=some)


BEFORE = (BackgroundConfig(), SubtractBackgroundConfig())


def test_the_bands_are_added_up() -> None:
    bands = np.stack([np.full((4, 6), value, np.float32) for value in (1, 2, 4)])
    assert np.array_equal(prepare(bands, steps(StackConfig())).image, np.full((1, 4, 6), 7))


@pytest.mark.parametrize("seed", range(3))
def test_clipped_statistics_are_those_of_astropy(seed: int) -> None:
    values = np.concatenate([noise(64, seed=seed).ravel(), np.linspace(5, 500, 200, dtype=np.float32)])
    for sigma, rounds in ((3.0, 5), (2.0, 1), (2.5, 20)):
        found = clipped_sky(values, n_sigma=sigma, iterations=rounds)
        mean, _, std = sigma_clipped_stats(values.astype(np.float64), sigma=sigma, maxiters=rounds)
        assert (found.mean, found.std) == pytest.approx((mean, std), abs=1e-6)


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=2, max_size=60), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_clipping_any_values_is_what_astropy_does(values: list[float], rounds: int) -> None:
    array = np.array(values, dtype=np.float32)
    found = clipped_sky(array, n_sigma=1.5, iterations=rounds)
    mean, _, std = sigma_clipped_stats(array.astype(np.float64), sigma=1.5, maxiters=rounds)
    assert (found.mean, found.std) == pytest.approx((mean, std), rel=1e-6, abs=1e-6)


def test_sources_are_those_of_photutils() -> None:
    image = disc(160, scale_px=6) + noise(160, seed=4)
    image[20:23, 20:22] += 30  # six pixels: a source
    image[100, 30:34] += 30  # four in a row
    threshold = detect_threshold(image, 2.0, sigma_clip=SigmaClip(3.0, maxiters=5))
    sources = detect_sources(image, threshold, 5)
    assert sources is not None
    mask = sources.make_source_mask(footprint=np.ones((11, 11)))
    assert np.array_equal(source_mask(image), mask)
    mean, _, std = sigma_clipped_stats(image, mask=mask)
    sky = measure_sky(image, source_mask(image))
    assert (sky.mean, sky.std) == pytest.approx((mean, std), abs=1e-5)


def test_the_skys_level_and_noise_are_found_beside_a_galaxy() -> None:
    image = disc() + noise(seed=1, sigma=2.0) + 150
    sky = prepare(image[None], steps(BackgroundConfig())).sky[0]
    # An unbiased clip at 3 sigma would give 150 and 1.973; the disc's faint outskirts add a little.
    assert sky.mean == pytest.approx(150, abs=0.15)
    assert sky.std == pytest.approx(1.98, abs=0.03)


def test_the_mean_filter_is_a_convolution_with_a_box() -> None:
    image = noise(33)[:, :28]
    expected = convolve(np.pad(image, 1, mode="symmetric"), Box2DKernel(3), boundary=None)[1:-1, 1:-1]
    assert np.allclose(mean_filter(image[None])[0], expected, atol=1e-6)


def test_the_central_region_is_the_one_at_the_centre() -> None:
    mask = np.zeros((9, 11), dtype=bool)
    mask[4, 4:7] = mask[3, 7] = mask[0, :3] = True
    found = central_region(mask)
    assert found is not None and set(map(tuple, np.argwhere(found))) == {(4, 4), (4, 5), (4, 6), (3, 7)}
    four = central_region(mask, neighbours=4)
    assert four is not None and four.sum() == 3


def test_a_centre_below_the_threshold_gives_no_object_and_not_the_inverse() -> None:
    mask = np.ones((9, 9), dtype=bool)
    mask[4, 4] = False
    assert central_region(mask) is None
    found = prepare(noise()[None], masked_variant(3))
    assert found.mask is not None and not found.mask.any()
    assert not found.image.any()
    assert found.remarks == (NO_OBJECT,)


def test_no_object_fails_the_case_where_that_is_asked_for() -> None:
    asked = steps(*BEFORE, SigmaMaskConfig(), CentralRegionConfig(when_missing="fail"))
    with pytest.raises(DataError, match=NO_OBJECT):
        prepare(noise(64)[None], asked)


@pytest.mark.parametrize(("n_sigma", "mu"), [(3, 25.155), (5, 24.60)])
def test_the_masks_edge_lies_where_the_formula_says(n_sigma: int, mu: float) -> None:
    """A pixel of the 3 x 3 mean has a third of the noise, so the edge is at n sigma of a single pixel."""
    assert ZERO_POINT_MAG - 2.5 * math.log10(n_sigma / PIXEL_ARCSEC**2) == pytest.approx(mu, abs=5e-4)
    found = prepare((disc(scale_px=10) + noise(seed=2))[None], masked_variant(n_sigma))
    assert found.mask is not None
    edge_px = math.sqrt(found.mask.sum() / math.pi)
    assert counts_at(20.0) * math.exp(-edge_px / 10) == pytest.approx(counts_at(mu), rel=0.03)


def test_after_the_filter_three_sigma_are_nine_of_white_noise() -> None:
    found = prepare(noise(seed=3)[None], steps(*masked_variant(3).steps[2:6]))
    assert found.sum_sky is not None and found.sum_sky.std == pytest.approx(0.987, abs=0.01)
    assert found.image.std() == pytest.approx(1 / 3, abs=0.01)
    assert found.mask is not None and not found.mask.any()  # of 262,144 pixels 354 exceed 3 sigma by chance


def test_a_detached_stream_is_lost_by_the_mask_and_kept_in_the_unmasked_channel() -> None:
    stream = counts_at(25.5) * np.exp(-(((radius(512) - 180) / 3.4) ** 2) / 2)
    stream *= np.mgrid[:512, :512][0] > 300
    image = (disc() + noise(seed=5) + stream).astype(np.float32)
    masked, unmasked = prepare(image[None], masked_variant(3, keep_unmasked=True)).image
    there = stream > counts_at(25.6)
    assert masked[there].sum() == 0
    # All of it but what the 3 x 3 mean spreads, and the disc's 0.05 counts at that radius.
    assert unmasked[there].mean() == pytest.approx(stream[there].mean(), rel=0.06)
    assert np.array_equal(masked, np.where(masked != 0, unmasked, 0))


def test_a_stack_of_three_bands_reaches_fainter_than_one() -> None:
    galaxies = [disc(scale_px=10) * factor for factor in (1.0, 10**0.28, 10**0.42)]  # g-r 0.7, r-i 0.35
    noises = [noise(seed=band, sigma=sigma) for band, sigma in enumerate((0.6, 1.0, 1.4))]
    bands = np.stack([a + b for a, b in zip(galaxies, noises, strict=True)]).astype(np.float32)
    found = prepare(bands, masked_variant(3))
    assert found.mask is not None
    edge = counts_at(20.0) * math.exp(-math.sqrt(found.mask.sum() / math.pi) / 10)
    mu_g = ZERO_POINT_MAG - 2.5 * math.log10(edge / PIXEL_ARCSEC**2)
    assert mu_g == pytest.approx(26.36, abs=0.05)


def test_colour_variants_share_the_mask_of_the_stack_and_keep_each_bands_values() -> None:
    bands = np.stack([factor * disc(256) + noise(256, seed=k) + 20 * k for k, factor in enumerate((1, 2, 3))])
    colour = prepare(bands, masked_variant(3, stack=False))
    grey = prepare(bands, masked_variant(3))
    assert colour.mask is not None and grey.mask is not None
    assert np.array_equal(colour.mask, grey.mask)
    apart = (colour.image.sum(axis=0) - grey.image[0])[grey.mask]
    assert np.ptp(apart) < 0.01  # one number: clipped levels of the sky do not add up exactly
    inside = radius(256) < 8
    assert colour.image[2][inside].mean() / colour.image[0][inside].mean() == pytest.approx(3, rel=0.01)


def test_synthetic_sky_is_noise_outside_and_the_object_inside() -> None:
    image = (disc() + noise(seed=6) + 50)[None]
    before = [step for step in masked_variant(3).steps if not isinstance(step, ApplyMaskConfig)]
    found = prepare(image, steps(*before, SyntheticSkyConfig(offset_sigma=3)))
    plain = prepare(image, steps(*before))
    std = plain.sky[0].std
    far = radius(512) > 200
    assert found.image[0][far].mean() == pytest.approx(3 * std, abs=0.02)  # |N(3, 1)|
    assert found.image[0][far].std() == pytest.approx(std, abs=0.02)
    core = radius(512) < 20
    assert np.allclose(found.image[0][core], plain.image[0][core] + 3 * std, rtol=1e-5)
    assert (found.image >= 0).all()
    again = prepare(image, steps(*before, SyntheticSkyConfig(offset_sigma=3)))
    assert np.array_equal(found.image, again.image)
    other = prepare(image + 1, steps(*before, SyntheticSkyConfig(offset_sigma=3)))
    assert not np.allclose(found.image[0][far], other.image[0][far], atol=0.1)


def test_a_soft_mask_grows_by_the_radius_and_falls_over_the_square() -> None:
    mask = np.zeros((101, 101), dtype=bool)
    mask[50, 50] = True
    assert soft_mask(mask, dilation_px=10, soften_px=1).sum() == 317  # grid points within 10 of one
    soft = soft_mask(mask, dilation_px=20, soften_px=15)
    assert soft[50, 50] == 1 and soft[50, 79] == 0 and 0 < soft[50, 71] < 1
    assert not soft_mask(np.zeros((9, 9), dtype=bool)).any()


def test_stretches() -> None:
    values = np.array([-5, 0, math.e - 1, 100], dtype=np.float32)
    assert log_stretch(values) == pytest.approx([0, 0, 1, math.log(101)])
    assert asinh_stretch(values, 2.0) == pytest.approx(np.log(values / 2 + np.hypot(values / 2, 1)), rel=1e-5)
    bands = np.abs(np.stack([noise(8, seed=k) for k in range(3)])) * 20
    assert np.array_equal(lupton_picture(bands), make_lupton_rgb(*bands))
    bands[1, 2, 3] = np.nan
    assert lupton_picture(bands)[2, 3, 1] == 0
    with pytest.raises(DataError, match="2 bands"):
        lupton_picture(bands[:2])


def test_a_mostly_empty_band_is_refused() -> None:
    bands = np.ones((2, 10, 10), dtype=np.float32)
    bands[1, :2] = 0
    assert share_with_value(bands[1]) == 0.8
    prepare(bands, steps(CompleteBandsConfig()))
    bands[1, 2, 0] = np.nan
    with pytest.raises(DataError, match=r"band 1: 79\.0 %"):
        prepare(bands, steps(CompleteBandsConfig()))


def test_pixels_without_a_value_are_sky_and_counted() -> None:
    image = (disc(256) + noise(256, seed=7) + 1000)[None]
    holed = image.copy()
    holed[0, 10:30, 40:60] = np.nan
    holed[0, 128, 150] = np.inf
    whole, found = (prepare(one, masked_variant(3)) for one in (image, holed))
    assert found.remarks == ("401 of 65536 pixels without a value",)
    assert np.isfinite(found.image).all()
    assert found.mask is not None and whole.mask is not None
    assert not found.mask[128, 150] and whole.mask[128, 150]
    assert (found.mask != whole.mask).sum() < 0.01 * whole.mask.sum()
    assert found.sky[0].mean == pytest.approx(whole.sky[0].mean, abs=0.03)
    assert np.isfinite(prepare(holed, steps(StackConfig(), LogConfig())).image).all()


def test_a_value_missing_in_one_band_is_missing_in_the_stack() -> None:
    bands = np.stack([disc(128) + noise(128, seed=k) for k in range(3)])
    bands[1, 64, 70] = np.nan
    found = prepare(bands, masked_variant(3))
    assert found.missing.sum() == 1 and found.mask is not None and not found.mask[64, 70]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((1, 8, 8), np.nan, np.float32), "no pixel has a value"),
        (np.zeros((1, 0, 8), np.float32), r"shape \(1, 0, 8\)"),
        (np.zeros((8, 8), np.float32), r"shape \(8, 8\)"),
    ],
)
def test_an_image_without_pixels_or_values_is_refused(image: Image, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare(image, masked_variant(3))


def test_an_image_full_of_sources_has_no_sky() -> None:
    image = noise(24)
    image[12, 12] = 200
    crowded = BackgroundConfig(source_pixels=1, dilation_px=99)
    with pytest.raises(DataError, match="no sky is left"):
        prepare(image[None], steps(crowded))


def test_an_image_without_noise_is_masked_where_it_has_light() -> None:
    image = np.zeros((1, 64, 64), dtype=np.float32)
    image[0, 30:35, 30:35] = 5
    found = prepare(image, steps(*BEFORE, SigmaMaskConfig(), CentralRegionConfig()))
    assert found.mask is not None and found.mask.sum() == 25


@pytest.mark.parametrize(
    "shape", [(1, 33, 34), (3, 88, 88), (2, 1, 1), (1, 5, 200)], ids=lambda shape: "x".join(map(str, shape))
)
def test_odd_sizes_keep_their_shape(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(100, 1, shape).astype(np.float32)
    before = image.copy()
    chosen = (
        [LogConfig()] if shape[1] == 1 else [*masked_variant(3, stack=False).steps, AsinhConfig(softening=1)]
    )
    found = prepare(image, steps(*chosen))
    assert found.image.shape == shape and found.image.dtype == np.float32
    assert np.array_equal(image, before)


def test_turning_the_image_turns_the_result() -> None:
    bands = np.stack([disc(129, scale_px=8) + noise(129, seed=k) for k in range(3)])
    found, turned = (prepare(one, masked_variant(3)).image for one in (bands, np.rot90(bands, axes=(1, 2))))
    assert np.allclose(np.rot90(found, axes=(1, 2)), turned, atol=1e-3)


def test_the_state_says_what_was_measured() -> None:
    found: Any = prepare((disc(128) + noise(128))[None], masked_variant(5))
    assert isinstance(found, Prepared)
    assert len(found.sky) == 1 and found.sky[0] == found.sum_sky
