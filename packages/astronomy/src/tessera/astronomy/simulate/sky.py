"""What lies between the galaxies and the stack: noise, uneven background, and what spoils some stacks."""

from __future__ import annotations

import math

import numpy as np
from scipy import fft

from tessera.astronomy.simulate.photometry import counts_per_px
from tessera.astronomy.simulate.psf import FWHM_PER_SIGMA
from tessera.astronomy.simulate.sersic import Array

FINEST = 0.5
"""Step of the white noise under a smooth field, over the smoothing's sigma."""
REACH = 5.0
"""Sigmas after which the Gaussian ends; beyond, its values would be denormal and slow."""
CIRRUS_SLOPE = -3.0
"""Of the power spectrum of dust's column density."""


def add_noise(image: Array, rng: np.random.Generator, *, sigma: float, electrons_per_count: float) -> None:
    """Add in place the sky's noise and that of the light itself to an image (H, W) in counts.

    Args:
        image: Mean counts, the sky subtracted.
        rng: Draws one normal number a pixel.
        sigma: Noise of the empty sky, counts a pixel.
        electrons_per_count: Electrons behind a count of the stack; 0 leaves the light's own noise out.
    """
    drawn = rng.standard_normal(image.shape, dtype=np.float32)
    if electrons_per_count > 0:
        variance = np.maximum(image, np.float32(0)) * np.float32(1 / electrons_per_count)
        variance += np.float32(sigma * sigma)
        drawn *= np.sqrt(variance, out=variance)
    else:
        drawn *= np.float32(sigma)
    image += drawn


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], *, sigma_px: float) -> Array:
    """White noise smoothed by a Gaussian of ``sigma_px``, mean 0 and variance 1 at each pixel (H, W).

    The noise lies on a grid of half a sigma, which the Gaussian cannot tell from a finer one.
    """
    step = FINEST * sigma_px
    rows, columns = (_weights(size, sigma_px=sigma_px, step_px=step) for size in shape)
    white = rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
    return np.asarray(rows @ white @ columns.T, dtype=np.float32)


def _weights(size: int, *, sigma_px: float, step_px: float) -> Array:
    """What each place of the coarse noise adds to each pixel of a line; squares sum to 1 (size, places)."""
    margin = REACH * sigma_px
    places = np.arange(-margin, size + margin, step_px)
    distance = (np.arange(size)[:, None] - places[None, :]) / sigma_px
    weights = np.where(np.abs(distance) <= REACH, np.exp(-0.5 * distance**2), 0.0)
    length = np.sqrt(np.sum(weights**2, axis=1, keepdims=True))
    return np.asarray(weights / length, dtype=np.float32)


def cirrus(rng: np.random.Generator, shape: tuple[int, int], *, mu: float) -> Array:
    """Dust of our own Galaxy: a log-normal field of slope -3, counts (H, W), on average at ``mu``."""
    height, width = shape
    frequency = np.hypot(fft.fftfreq(2 * height)[:, None], fft.rfftfreq(2 * width)[None, :])
    frequency[0, 0] = np.inf
    spectrum = fft.rfft2(rng.standard_normal((2 * height, 2 * width), dtype=np.float32))
    spectrum *= (frequency ** (CIRRUS_SLOPE / 2)).astype(np.float32)
    field = fft.irfft2(spectrum, s=(2 * height, 2 * width))[:height, :width]
    clouds: Array = np.exp((field - field.mean()) / field.std())
    clouds *= np.float32(counts_per_px(mu) / clouds.mean(dtype=np.float64))
    return clouds


def ghost(rng: np.random.Generator, shape: tuple[int, int], *, mu: float) -> Array:
    """A bright star's reflection: a disc with a central hole and soft edges, counts (H, W)."""
    size = float(max(shape))
    radius = rng.uniform(0.25, 0.6) * size
    x, y = rng.uniform(-0.2, 1.2, 2) * size
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    r = np.hypot(columns - x, rows - y).astype(np.float32)
    edge = 0.02 * size
    disc = _soft_step((radius - r) / edge) * _soft_step((r - rng.uniform(0.2, 0.4) * radius) / edge)
    return disc * np.float32(counts_per_px(mu))


def trail(rng: np.random.Generator, shape: tuple[int, int], *, fwhm_px: float, peak: float) -> Array:
    """A satellite's straight trail across the image, counts (H, W), ``peak`` along its middle."""
    angle = rng.uniform(0.0, math.pi)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    away = (columns - rng.uniform(0.1, 0.9) * shape[1]) * math.sin(angle)
    away = away - (rows - rng.uniform(0.1, 0.9) * shape[0]) * math.cos(angle)
    scaled = (away * (FWHM_PER_SIGMA / fwhm_px)).astype(np.float32)
    return np.float32(peak) * np.exp(np.float32(-0.5) * scaled * scaled)


def _soft_step(x: Array) -> Array:
    """From 0 to 1 around x = 0, over about two units."""
    step: Array = 1.0 / (1.0 + np.exp(-4.0 * np.clip(x, -5.0, 5.0)))
    return step.astype(np.float32)
