"""The point-spread function: widths, sums and the kernel of another library."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.convolution import Moffat2DKernel
from scipy.signal import fftconvolve

from tessera.astronomy.simulate.photometry import flux
from tessera.astronomy.simulate.psf import Psf, blurred, moffat_kernel, transfer
from tessera.astronomy.simulate.sersic import Sersic, sersic_image

SEEING = 0.8 / 0.186


@pytest.mark.parametrize(("beta", "gamma"), [(3.0, 4.218), (2.5, 3.805)])
def test_widths_are_the_published_ones(beta: float, gamma: float) -> None:
    assert Psf(fwhm_px=SEEING, beta=beta).gamma_px == pytest.approx(gamma, abs=2e-3)


def test_the_kernel_is_the_moffat_profile_of_astropy_averaged_over_pixels() -> None:
    psf = Psf(fwhm_px=SEEING, beta=2.5)
    other = Moffat2DKernel(psf.gamma_px, 2.5, x_size=65, y_size=65, mode="oversample", factor=5)
    other.normalize()
    np.testing.assert_allclose(moffat_kernel(psf), other.array, rtol=1e-4, atol=1e-9)


def test_half_of_the_peak_lies_at_half_of_the_width() -> None:
    kernel = moffat_kernel(Psf(fwhm_px=20.0, beta=3.0))
    assert kernel[32, 42] / kernel[32, 32] == pytest.approx(0.5, abs=2e-3)


def test_all_light_stays_in_a_large_image() -> None:
    image = sersic_image(
        (600, 600), Sersic(counts=flux(16.0), radius_px=20.0, n=1.0, axis_ratio=0.8), (300.0, 300.0)
    )
    for psf in (Psf(fwhm_px=SEEING), Psf(fwhm_px=SEEING, halo=0.02)):
        seen = blurred(image, psf)
        assert seen.sum(dtype=np.float64) / image.sum(dtype=np.float64) == pytest.approx(1.0, abs=1e-4)
    psf = Psf(fwhm_px=SEEING)
    kept = blurred(image, psf)[44:556, 44:556].sum(dtype=np.float64) / flux(16.0)
    assert kept > 0.9997


def test_blurring_is_convolution_with_core_and_halo() -> None:
    rng = np.random.default_rng(3)
    image = np.zeros((300, 260), dtype=np.float32)
    image[120:180, 110:150] = rng.random((60, 40))
    psf = Psf(fwhm_px=SEEING, beta=2.7, halo=0.3, halo_fwhm_px=20.0)
    x = np.arange(-80, 81)
    halo = np.exp(-4 * np.log(2) * (x[:, None] ** 2 + x[None, :] ** 2) / 20.0**2)
    kernel = 0.3 * halo / halo.sum()
    kernel[80 - 32 : 80 + 33, 80 - 32 : 80 + 33] += 0.7 * moffat_kernel(psf)
    np.testing.assert_allclose(blurred(image, psf), fftconvolve(image, kernel, mode="same"), atol=2e-6)


def test_the_transfer_begins_at_one_and_never_amplifies() -> None:
    values = np.abs(transfer(Psf(fwhm_px=SEEING, halo=0.02), (128, 130)))
    assert values[0, 0] == pytest.approx(1.0, abs=1e-6)
    assert values.max() <= values[0, 0]
