"""Gaussian and log-normal maps of matter on a periodic square, whose spectrum holds two parameters.

The spectrum has the form P(k) = A k^n T(k)^2 with n = ``TILT``, k in h / Mpc, and the transfer function T of
Bardeen, Bond, Kaiser and Szalay (ApJ 304, 15, 1986, eq. G3) of q = k / Gamma with Gamma = ``HUBBLE`` times
Omega_m: the turnover lies at k proportional to Omega_m. A is set by sigma_8: the standard deviation of the
Gaussian field averaged over discs of 8 Mpc/h, summed over the very modes of the map. These are maps with the
names and the shape of cosmology, not projected N-body simulations.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.special import j1

Array = npt.NDArray[np.float32]
Modes = npt.NDArray[np.float64]
FieldKind = Literal["lognormal", "gaussian"]

TILT = 0.96
HUBBLE = 0.67
RADIUS_MPC_H = 8.0


def wave_numbers(size_px: int, box_mpc_h: float) -> Modes:
    """Length of the wave vector of each mode of ``rfft2`` of a square map, h / Mpc (S, S // 2 + 1)."""
    step = 2 * math.pi * size_px / box_mpc_h
    rows, columns = fft.fftfreq(size_px)[:, None], fft.rfftfreq(size_px)[None, :]
    modes: Modes = step * np.hypot(rows, columns)
    return modes


def transfer_function(k: Modes, *, omega_m: float) -> Modes:
    """T(k) of cold dark matter, 1 at large scales."""
    q = np.maximum(k, 1e-12) / (omega_m * HUBBLE)
    series = 1 + 3.89 * q + (16.1 * q) ** 2 + (5.46 * q) ** 3 + (6.71 * q) ** 4
    value: Modes = np.log1p(2.34 * q) / (2.34 * q) * series**-0.25
    return value


def spectrum(k: Modes, *, omega_m: float, sigma_8: float, box_mpc_h: float) -> Modes:
    """P(k) of the Gaussian field at each mode of ``wave_numbers``, (Mpc/h)^2, 0 for the mean.

    The field's variance in a disc of 8 Mpc/h, the sum of P(k) W(8 k)^2 over all modes over the box's area
    with W(x) = 2 J1(x) / x, is ``sigma_8`` squared; that in a pixel is the same sum without W.
    """
    shape = np.where(k > 0, np.maximum(k, 1e-12) ** TILT * transfer_function(k, omega_m=omega_m) ** 2, 0.0)
    x = np.maximum(k * RADIUS_MPC_H, 1e-6)
    disc = variance(shape * (2 * j1(x) / x) ** 2, box_mpc_h=box_mpc_h)
    return shape * (sigma_8**2 / disc)


def variance(power: Modes, *, box_mpc_h: float) -> float:
    """Variance in a pixel of a field with that spectrum at the modes of ``rfft2`` (S, S // 2 + 1)."""
    size = len(power)
    twice = power[:, 1 : (size + 1) // 2].sum()  # modes whose mirror image rfft2 leaves out
    return float(power.sum() + twice) / box_mpc_h**2


def draw_field(rng: np.random.Generator, power: Modes, *, box_mpc_h: float) -> Modes:
    """A Gaussian field (S, S) with that spectrum, mean 0."""
    size = len(power)
    white = fft.rfft2(rng.standard_normal((size, size)))
    white *= np.sqrt(power) * (size / box_mpc_h)
    field: Modes = fft.irfft2(white, s=(size, size))
    return field


def density_map(
    rng: np.random.Generator,
    *,
    omega_m: float,
    sigma_8: float,
    size_px: int,
    box_mpc_h: float,
    kind: FieldKind = "lognormal",
) -> Array:
    """Density over its mean (S, S), expectation 1: exp(g - var / 2) or 1 + g of a Gaussian field g.

    Args:
        rng: Draws the field.
        omega_m: Sets the turnover.
        sigma_8: Sets the amplitude.
        size_px: Edge in pixels.
        box_mpc_h: Edge in Mpc/h.
        kind: Which of the two; a Gaussian one may fall below 0.
    """
    k = wave_numbers(size_px, box_mpc_h)
    power = spectrum(k, omega_m=omega_m, sigma_8=sigma_8, box_mpc_h=box_mpc_h)
    field = draw_field(rng, power, box_mpc_h=box_mpc_h)
    if kind == "gaussian":
        return (1.0 + field).astype(np.float32)
    return np.exp(field - variance(power, box_mpc_h=box_mpc_h) / 2).astype(np.float32)
