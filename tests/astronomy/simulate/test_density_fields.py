"""Maps of matter: their spectrum, variance and mean are those of the closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import fft
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from tessera.astronomy.simulate import DensityMapsConfig, density_map, numbered_map
from tessera.astronomy.simulate.density_fields import (
    draw_field,
    spectrum,
    transfer_function,
    variance,
    wave_numbers,
)

BOX = 500.0


def bands(field: np.ndarray, count: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wave number, mean power and modes in rings of a periodic map, by a full complex transform."""
    size = len(field)
    power = np.abs(fft.fft2(field)) ** 2 * (BOX / size**2) ** 2
    frequency = 2 * math.pi * fft.fftfreq(size, BOX / size)
    k = np.hypot(frequency[:, None], frequency[None, :])
    edges = np.geomspace(1.5 * 2 * math.pi / BOX, math.pi * size / BOX, count + 1)
    ring = np.digitize(k.ravel(), edges)
    modes = np.bincount(ring, minlength=count + 2)[1:-1]
    mean = np.bincount(ring, power.ravel(), minlength=count + 2)[1:-1] / modes
    middle = np.bincount(ring, k.ravel(), minlength=count + 2)[1:-1] / modes
    return middle, mean, modes


@pytest.mark.parametrize("size", [64, 65])
def test_a_field_has_the_spectrum_that_is_asked_for(size: int) -> None:
    power = spectrum(wave_numbers(size, BOX), omega_m=0.3, sigma_8=0.8, box_mpc_h=BOX)
    drawn = [bands(draw_field(np.random.default_rng(seed), power, box_mpc_h=BOX), 6)[1] for seed in range(60)]
    frequency = 2 * math.pi * fft.fftfreq(size, BOX / size)
    full = np.hypot(frequency[:, None], frequency[None, :])
    expected = spectrum(full, omega_m=0.3, sigma_8=1.0, box_mpc_h=BOX)  # its shape alone
    edges = np.geomspace(1.5 * 2 * math.pi / BOX, math.pi * size / BOX, 7)
    ring = np.digitize(full.ravel(), edges)
    shape = np.bincount(ring, expected.ravel())[1:7] / np.bincount(ring)[1:7]
    ratio = np.mean(drawn, axis=0) / shape
    assert np.ptp(ratio) / ratio.mean() < 0.12  # a few hundred modes in the first ring
    _, _, modes = bands(np.zeros((size, size)), 6)
    scatter = np.std(drawn, axis=0) / np.mean(drawn, axis=0)
    assert np.all(scatter[1:] < 3.0 * np.sqrt(2.0 / modes[1:]))


@pytest.mark.parametrize("size", [64, 65])
def test_variance_of_the_log_field_is_the_sum_over_its_modes(size: int) -> None:
    power = spectrum(wave_numbers(size, BOX), omega_m=0.3, sigma_8=0.7, box_mpc_h=BOX)
    found = [
        np.var(
            np.log(
                density_map(
                    np.random.default_rng(seed), omega_m=0.3, sigma_8=0.7, size_px=size, box_mpc_h=BOX
                )
            )
        )
        for seed in range(60)
    ]
    assert np.mean(found) == pytest.approx(variance(power, box_mpc_h=BOX), rel=0.03)


@pytest.mark.parametrize("size", [8, 9])
def test_variance_counts_every_mode_of_the_whole_transform_once(size: int) -> None:
    half = 1 / (1 + wave_numbers(size, BOX))
    frequency = 2 * math.pi * fft.fftfreq(size, BOX / size)
    whole = 1 / (1 + np.hypot(frequency[:, None], frequency[None, :]))
    assert variance(half, box_mpc_h=BOX) == pytest.approx(whole.sum() / BOX**2, rel=1e-12)


def test_the_log_field_in_discs_of_8_mpc_has_the_amplitude_of_its_name() -> None:
    # The field's mean over discs drawn on a map of fine pixels: a direct count, no window function.
    size, box = 160, 160.0
    found = []
    rows, columns = np.mgrid[:size, :size]
    away = np.hypot(np.minimum(rows, size - rows), np.minimum(columns, size - columns))
    disc = (away <= 8.0) / np.sum(away <= 8.0)
    for seed in range(40):
        density = density_map(
            np.random.default_rng(seed),
            omega_m=0.4,
            sigma_8=0.9,
            size_px=size,
            box_mpc_h=box,
            kind="gaussian",
        )
        smooth = fft.irfft2(fft.rfft2(density - 1.0) * fft.rfft2(disc), s=(size, size))
        found.append(np.var(smooth))
    assert math.sqrt(np.mean(found)) == pytest.approx(0.9, rel=0.04)


def test_log_normal_maps_have_the_mean_one_and_are_positive() -> None:
    maps = [
        density_map(np.random.default_rng(seed), omega_m=0.3, sigma_8=0.8, size_px=64, box_mpc_h=BOX)
        for seed in range(80)
    ]
    assert np.min(maps) > 0 and maps[0].dtype == np.float32 and maps[0].shape == (64, 64)
    assert np.mean(maps) == pytest.approx(1.0, abs=0.02)


def test_the_turnover_moves_with_omega_m() -> None:
    k = np.geomspace(1e-3, 1.0, 4000)
    peak = [k[np.argmax(k**0.96 * transfer_function(k, omega_m=omega_m) ** 2)] for omega_m in (0.15, 0.3)]
    assert peak[1] / peak[0] == pytest.approx(2.0, rel=0.01)
    assert transfer_function(np.array([1e-9]), omega_m=0.3)[0] == pytest.approx(1.0, abs=1e-5)
    # BBKS at q = 1, from the formula by hand: ln(3.34) / 2.34 (1 + 3.89 + 259.21 + 162.77 + 2027.17)^(-1/4).
    q1 = transfer_function(np.array([0.3 * 0.67]), omega_m=0.3)[0]
    assert q1 == pytest.approx(0.51542 * 2454.04**-0.25, rel=1e-4)


def test_amplitude_scales_power_by_its_square_and_the_mean_has_none() -> None:
    k = wave_numbers(64, BOX)
    one = spectrum(k, omega_m=0.3, sigma_8=0.5, box_mpc_h=BOX)
    two = spectrum(k, omega_m=0.3, sigma_8=1.0, box_mpc_h=BOX)
    np.testing.assert_allclose(two, 4 * one)
    assert one[0, 0] == 0 and np.all(one.ravel()[1:] > 0)


def test_a_few_lines_on_the_power_spectrum_recover_the_amplitude() -> None:
    config = DensityMapsConfig(size_px=128, box_mpc_h=BOX)
    truth, found = [], []
    for index in range(240):
        parameters, density = numbered_map(index, seed=2, config=config)
        truth.append([parameters["sigma_8"], parameters["omega_m"]])
        found.append(np.log(bands(np.log(density))[1]))
    features, targets = np.array(found), np.array(truth)
    fitted = Ridge(alpha=1e-3).fit(features[:160], targets[:160]).predict(features[160:])
    assert r2_score(targets[160:, 0], fitted[:, 0]) > 0.95
    assert r2_score(targets[160:, 1], fitted[:, 1]) > 0.5


def test_parameters_fill_their_ranges_evenly() -> None:
    config = DensityMapsConfig(size_px=16)
    drawn = [numbered_map(index, seed=0, config=config)[0] for index in range(300)]
    for name, (low, high) in (("omega_m", (0.1, 0.5)), ("sigma_8", (0.6, 1.0))):
        values = np.array([row[name] for row in drawn])
        assert values.min() >= low and values.max() <= high
        assert values.std() == pytest.approx((high - low) / math.sqrt(12), rel=0.08)  # 0.1155
