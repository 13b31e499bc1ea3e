"""One galaxy of a simulated survey: what is drawn of it, and the image the survey would take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from scipy import fft

from tessera.astronomy.simulate.features import Feature, draw_feature
from tessera.astronomy.simulate.field import Field, add_field, add_light, draw_field
from tessera.astronomy.simulate.frame import Frame
from tessera.astronomy.simulate.hosts import BLUE, Host, draw_host, structure
from tessera.astronomy.simulate.photometry import BANDS, PIXEL_SCALE_ARCSEC, px_per_kpc
from tessera.astronomy.simulate.psf import Psf, blurred
from tessera.astronomy.simulate.sersic import Array, sersic_light
from tessera.astronomy.simulate.sky import add_noise, cirrus, ghost, smooth_field, trail
from tessera.astronomy.simulate.tidal_config import FeatureKind, TidalConfig

MARGIN_PX = 64
"""Canvas around the image, whose light the point-spread function brings in."""
REACH = 0.9
"""Half of the square for features over half of the central square."""
HALO_ARCSEC = 10.0
TRAIL_FWHM_PX = (4.0, 10.0)
TRAIL_PEAK = (5.0, 50.0)
CIRRUS_MU = (26.5, 28.0)
GHOST_MU = (26.5, 28.0)


class Part(IntEnum):
    """Which random numbers: each part has its own, so that one part does not change the others."""

    HOST = 0
    FEATURE = 1
    FIELD = 2
    SEEING = 3
    SKY = 4
    NUISANCE = 5


@dataclass(frozen=True, kw_only=True)
class Galaxy:
    """A simulated galaxy and its image.

    Args:
        image: Counts in g, r and i (3, S, S), the sky subtracted; row is y, column is x.
        at_px: Centre of the galaxy in it, (x, y) from 0.
        ra_deg: Its right ascension.
        dec_deg: Its declination.
        host: The galaxy.
        feature: Its tidal feature, if any; its ``light`` lies on the canvas, not on the image.
        feature_image: What the feature adds to the image without noise (3, S, S), when asked for.
        field: What lies around it.
        noise_sigma: Noise of the empty sky in g, r and i, counts a pixel.
        psf: Point-spread functions in g, r and i.
        background_rms: Of the uneven background, counts.
    """

    image: Array
    at_px: tuple[float, float]
    ra_deg: float
    dec_deg: float
    host: Host
    feature: Feature | None
    feature_image: Array | None
    field: Field
    noise_sigma: tuple[float, float, float]
    psf: tuple[Psf, Psf, Psf]
    background_rms: float


def simulate_galaxy(seed: int, index: int, *, kind: FeatureKind | None, config: TidalConfig) -> Galaxy:
    """Galaxy ``index`` of a survey, with a feature or (``kind`` None) without; all else is the same.

    Args:
        seed: Of the survey.
        index: From 0.
        kind: Of the feature.
        config: What it is drawn from.
    """
    draws = {part: _generator(seed, index, part) for part in Part}
    host = draw_host(draws[Part.HOST], config)
    frame = _frame(draws[Part.HOST], host, config)
    ra_deg, dec_deg = _position(draws[Part.HOST])
    field = draw_field(draws[Part.FIELD], frame, config)
    psf = _draw_psf(draws[Part.SEEING], config)
    feature = None
    if kind is not None:
        feature = draw_feature(draws[Part.FEATURE], frame, host, kind=kind, config=config)
    scene = _scene(frame, host, field)
    if feature is not None:
        add_light(scene, (slice(None), slice(None)), feature.light, feature.colour)
    scene = _seen(scene, psf, size_px=config.size_px)
    rms = _spoil(scene, draws[Part.NUISANCE], config)
    low, high = config.noise_scale
    scale = math.exp(draws[Part.SKY].uniform(math.log(low), math.log(high)))
    g, r, i = (sigma * scale for sigma in config.sky_sigma)
    for band, sigma in zip(scene, (g, r, i), strict=True):
        add_noise(band, draws[Part.SKY], sigma=sigma, electrons_per_count=config.electrons_per_count)
    return Galaxy(
        image=scene,
        at_px=(frame.at_px[0] - MARGIN_PX, frame.at_px[1] - MARGIN_PX),
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        host=host,
        feature=feature,
        feature_image=_feature_image(feature, psf, config) if feature is not None else None,
        field=field,
        noise_sigma=(g, r, i),
        psf=psf,
        background_rms=rms,
    )


def _generator(seed: int, index: int, part: Part) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, int(part))))


def _frame(rng: np.random.Generator, host: Host, config: TidalConfig) -> Frame:
    """A canvas with the galaxy within half a pixel of the image's middle."""
    size = fft.next_fast_len(config.size_px + 2 * MARGIN_PX, real=True)
    middle = MARGIN_PX + (config.size_px - 1) / 2
    x, y = (float(middle + shift) for shift in rng.uniform(-0.5, 0.5, 2))
    return Frame(
        shape=(size, size),
        at_px=(x, y),
        px_per_kpc=px_per_kpc(host.redshift),
        reach_px=REACH * min(config.central_px, config.size_px) / 2,
    )


def _position(rng: np.random.Generator) -> tuple[float, float]:
    """Right ascension and declination in degrees, uniform on the sphere."""
    return float(rng.uniform(0.0, 360.0)), math.degrees(math.asin(rng.uniform(-1.0, 1.0)))


def _draw_psf(rng: np.random.Generator, config: TidalConfig) -> tuple[Psf, Psf, Psf]:
    scale, beta, halo = (
        float(rng.uniform(*bounds)) for bounds in (config.seeing_scale, config.moffat_beta, config.halo)
    )
    g, r, i = (
        Psf(
            fwhm_px=seeing * scale / PIXEL_SCALE_ARCSEC,
            beta=beta,
            halo=halo,
            halo_fwhm_px=HALO_ARCSEC / PIXEL_SCALE_ARCSEC,
        )
        for seeing in config.seeing_arcsec
    )
    return g, r, i


def _scene(frame: Frame, host: Host, field: Field) -> Array:
    """All light but the feature's on the canvas (3, H, W)."""
    bands = np.zeros((len(BANDS), *frame.shape), dtype=np.float32)
    for profile, colour in host.parts:
        box, light = sersic_light(frame.shape, profile, frame.at_px)
        add_light(bands, box, light, colour)
    inner = structure(frame, host)
    if inner is not None:
        add_light(bands, *inner, BLUE)
    add_field(bands, field)
    return bands


def _seen(scene: Array, psf: tuple[Psf, Psf, Psf], *, size_px: int) -> Array:
    """The image (3, S, S) in the middle of a canvas, through the point-spread functions."""
    inner = slice(MARGIN_PX, MARGIN_PX + size_px)
    return np.stack([blurred(band, one)[inner, inner] for band, one in zip(scene, psf, strict=True)])


def _spoil(image: Array, rng: np.random.Generator, config: TidalConfig) -> float:
    """Add in place the uneven background, in hard mode what spoils some stacks too; gives its rms."""
    shape = image.shape[1], image.shape[2]
    rms = float(rng.uniform(*config.background_rms))
    sigma_px = rng.uniform(10.0, 60.0) / PIXEL_SCALE_ARCSEC
    image += np.stack([np.float32(rms) * smooth_field(rng, shape, sigma_px=sigma_px) for _ in BANDS])
    if config.hard:
        clouds = cirrus(rng, shape, mu=rng.uniform(*CIRRUS_MU))
        clouds += ghost(rng, shape, mu=rng.uniform(*GHOST_MU))
        image += clouds
        image[int(rng.integers(len(image)))] += trail(
            rng, shape, fwhm_px=rng.uniform(*TRAIL_FWHM_PX), peak=rng.uniform(*TRAIL_PEAK)
        )
    return rms


def _feature_image(feature: Feature, psf: tuple[Psf, Psf, Psf], config: TidalConfig) -> Array | None:
    if not config.extras:
        return None
    scene = np.zeros((len(BANDS), *feature.light.shape), dtype=np.float32)
    add_light(scene, (slice(None), slice(None)), feature.light, feature.colour)
    return _seen(scene, psf, size_px=config.size_px)
