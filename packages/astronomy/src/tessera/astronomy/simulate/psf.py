"""The point-spread function: a Moffat core and a weak wide halo, as stacks of the survey have them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from tessera.astronomy.simulate.sersic import Array

KERNEL_PX = 65
"""Edge of the square that holds the core."""
SAMPLES = 5
"""Along a pixel's edge in the core's kernel."""
FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True, kw_only=True)
class Psf:
    """A point-spread function of total 1.

    Args:
        fwhm_px: Full width at half maximum of the core.
        beta: Moffat's exponent of the core, 2.5 to 3 for the atmosphere.
        halo: Share of the light in the halo.
        halo_fwhm_px: Full width at half maximum of the halo, which is Gaussian.
    """

    fwhm_px: float
    beta: float = 2.5
    halo: float = 0.0
    halo_fwhm_px: float = 54.0

    @property
    def gamma_px(self) -> float:
        """Moffat's width: I(r) is proportional to (1 + (r / gamma)^2) ** -beta."""
        return self.fwhm_px / (2 * math.sqrt(2 ** (1 / self.beta) - 1))


def moffat_kernel(psf: Psf, *, size_px: int = KERNEL_PX) -> Array:
    """The core alone, means over pixels, sum 1 (size, size); ``size_px`` is odd."""
    offset = (np.arange(size_px * SAMPLES, dtype=np.float32) + np.float32(0.5)) / np.float32(SAMPLES)
    squared = (offset - np.float32(size_px / 2)) ** 2
    grid = squared[:, None] + squared[None, :]
    grid *= np.float32(1.0 / psf.gamma_px**2)
    light = np.exp(np.float32(-psf.beta) * np.log1p(grid))
    kernel = light.reshape(size_px, SAMPLES, size_px, SAMPLES).mean(axis=(1, 3), dtype=np.float64)
    return (kernel / kernel.sum()).astype(np.float32)


def transfer(psf: Psf, shape: tuple[int, int]) -> npt.NDArray[np.complex64]:
    """Fourier transform (H, W // 2 + 1) of the function centred on pixel (0, 0) of a periodic image."""
    kernel = moffat_kernel(psf)
    field = np.zeros(shape, dtype=np.float32)
    field[: len(kernel), : len(kernel)] = kernel
    core = fft.rfft2(np.roll(field, (-(len(kernel) // 2),) * 2, axis=(0, 1)))
    sigma = psf.halo_fwhm_px / FWHM_PER_SIGMA
    rows, columns = (
        np.exp(-2 * (math.pi * sigma * frequency) ** 2).astype(np.float32)
        for frequency in (fft.fftfreq(shape[0]), fft.rfftfreq(shape[1]))
    )
    core *= np.float32(1 - psf.halo)
    core += np.float32(psf.halo) * rows[:, None] * columns[None, :]
    return core


def blurred(image: Array, psf: Psf) -> Array:
    """An image (H, W) seen through a point-spread function; its edges meet, so give it a margin."""
    height, width = image.shape
    spectrum = fft.rfft2(image)
    spectrum *= transfer(psf, (height, width))
    seen: Array = fft.irfft2(spectrum, s=(height, width), overwrite_x=True)
    return seen
