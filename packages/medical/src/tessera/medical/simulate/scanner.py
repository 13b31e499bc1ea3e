"""What a scanner makes of true densities: partial volume, blur, motion and noise, in HU."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter1d

from tessera.medical.simulate.airway_volume import AirwayParts
from tessera.medical.simulate.tubes import Array

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
NOISE_PART = 0.5
"""Width of the noise's correlation over that of the blur."""
WIDTHS = 3.5
"""Kernels end after this many sigma."""
LOWEST_HU, HIGHEST_HU = -1024, 3071
"""What 12 bits hold with the intercept -1024."""


def blend(image: Array, part: Array, value: Array | float) -> None:
    """Replace in place that part (I, J, K) of each voxel by a tissue of ``value`` HU."""
    change = value - image
    change *= part
    image += change


def with_airways(image: Array, parts: AirwayParts, *, air: Array | float, wall: float) -> None:
    """Replace in place the wall and the lumen of airways, for each voxel by its part."""
    lumen = np.minimum(parts.lumen, parts.outer)
    image *= 1 - parts.outer
    image += (parts.outer - lumen) * np.float32(wall)
    image += lumen * np.asarray(air, dtype=np.float32)


def blurred(
    image: Array, *, spacing_mm: tuple[float, float, float], fwhm_mm: tuple[float, float, float]
) -> Array:
    """Gaussian point spread, full width at half maximum of each axis."""
    for axis, (step, width) in enumerate(zip(spacing_mm, fwhm_mm, strict=True)):
        sigma = width / FWHM_PER_SIGMA / step
        if sigma > 0:
            image = gaussian_filter1d(image, sigma, axis=axis, mode="nearest", truncate=WIDTHS)
    return image


def twice_seen(image: Array, *, shift_voxels: float) -> Array:
    """Mean of the image moved by half of ``shift_voxels`` to the front and to the back (axis J)."""
    size = image.shape[1]
    seen = np.zeros_like(image)
    for half in (-shift_voxels / 2, shift_voxels / 2):
        place = np.clip(np.arange(size) - half, 0, size - 1)
        low = np.minimum(np.floor(place).astype(int), max(size - 2, 0))
        share = (place - low).astype(np.float32)[None, :, None]
        high = np.minimum(low + 1, size - 1)
        seen += np.float32(0.5) * ((1 - share) * image[:, low] + share * image[:, high])
    return seen


def noise(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    *,
    sd: float,
    spacing_mm: tuple[float, float, float],
    fwhm_mm: tuple[float, float, float],
) -> Array:
    """Normal noise of that sd, correlated over half of the blur."""
    widths = [
        NOISE_PART * width / FWHM_PER_SIGMA / step for step, width in zip(spacing_mm, fwhm_mm, strict=True)
    ]
    field = rng.standard_normal(shape, dtype=np.float32)
    kept = 1.0
    for axis, sigma in enumerate(widths):
        if sigma < 0.2:  # the kernel is one voxel
            continue
        field = gaussian_filter1d(field, sigma, axis=axis, mode="wrap", truncate=WIDTHS)
        reach = np.arange(-math.floor(WIDTHS * sigma + 0.5), math.floor(WIDTHS * sigma + 0.5) + 1)
        kernel = np.exp(-0.5 * (reach / sigma) ** 2)
        kept *= float(np.sum((kernel / kernel.sum()) ** 2))
    field *= np.float32(sd / math.sqrt(kept))
    return field


def stored(image: Array) -> np.ndarray:
    """Whole HU in the range of 12 bits, int16."""
    return np.clip(np.rint(image), LOWEST_HU, HIGHEST_HU).astype(np.int16)
