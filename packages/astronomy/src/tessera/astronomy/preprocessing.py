"""Preparation of galaxies' images: background, mask of the central object, stretches.

After M. Walmsley, A. M. N. Ferguson, R. G. Mann and C. J. Lintott, MNRAS 483 (2019) 2968, whose masks follow
M. M. Pawlik et al., MNRAS 456 (2016) 3032. Each step is a function on arrays; ``prepare`` composes them from
their configs. Different from the paper's released code: a centre below the threshold gives "no object", not
everything around it, and nothing is random but the noise of ``synthetic-sky``, which follows from the image.

Images are (C, H, W) or (H, W), float32, in counts. A pixel without a value (NaN or infinite) belongs to no
source and to no object, takes no part in the sky's statistics, and becomes sky, so 0 after subtraction; where
it is NaN in one band it is so in their sum.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tessera.astronomy.preprocessing_config import (
    ApplyMaskConfig,
    AsinhConfig,
    BackgroundConfig,
    CentralRegionConfig,
    CompleteBandsConfig,
    LogConfig,
    MeanFilterConfig,
    SigmaMaskConfig,
    SkyPreparation,
    StackConfig,
    SubtractBackgroundConfig,
    SyntheticSkyConfig,
)
from tessera.core.errors import DataError

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

NO_OBJECT = "no object at the centre"
LEAST_SKY_PIXELS = 2  # a mean and a deviation need them


@dataclasses.dataclass(frozen=True)
class Sky:
    """The sky's level and noise, in the image's unit.

    Args:
        mean: Clipped mean of the pixels outside the sources.
        std: Their clipped standard deviation.
    """

    mean: float
    std: float


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """An image on its way through the steps.

    Args:
        image: Channels (C, H, W), float32.
        missing: (H, W), where a band has no value.
        sky: Of each channel, once measured.
        sum_sky: Of the sum of the channels, which the mask is made of.
        mask: (H, W), the object's pixels, once found.
        remarks: What a person should know.
    """

    image: Image
    missing: Mask
    sky: tuple[Sky, ...] = ()
    sum_sky: Sky | None = None
    mask: Mask | None = None
    remarks: tuple[str, ...] = ()


def prepare(image: Image, preparation: SkyPreparation) -> Prepared:
    """An image (C, H, W) in counts through all steps; what is left without a value is 0 at the end."""
    if image.ndim != 3 or 0 in image.shape:
        raise DataError(
            "there is no image", found=f"shape {image.shape}", expected="bands, rows and columns (C, H, W)"
        )
    finite: Mask = np.asarray(np.isfinite(image).all(axis=0))
    n_missing = finite.size - int(np.count_nonzero(finite))
    if n_missing == finite.size:
        raise DataError("the image is empty", found="no pixel has a value in all bands")
    remarks = (f"{n_missing} of {finite.size} pixels without a value",) if n_missing else ()
    state = Prepared(image.astype(np.float32, copy=False), ~finite, remarks=remarks)
    for step in preparation.steps:
        state = _STEPS[type(step)](state, step)
    if n_missing:
        state = dataclasses.replace(state, image=_filled(state.image))
    return state


def share_with_value(band: Image) -> float:
    """Share of a band's pixels (H, W) that have a value other than zero."""
    return float(np.count_nonzero(np.isfinite(band) & (band != 0)) / band.size)


def stack_bands(image: Image) -> Image:
    """The sum of the bands (1, H, W)."""
    return image.sum(axis=0, keepdims=True, dtype=np.float32)


def clipped_sky(values: Image, *, n_sigma: float = 3.0, iterations: int = 5) -> Sky:
    """Mean and deviation of finite values (N,) after clipping around their median, round by round.

    What is left of sorted values after each round is one run of them, so they are sorted once.
    """
    if values.size < LEAST_SKY_PIXELS:
        raise DataError(
            "no sky is left to measure the background on",
            found=f"{values.size} pixels outside the sources",
            hint="a larger cut-out, or a preparation without background",
        )
    kept = np.sort(values, axis=None)
    for _ in range(iterations):
        middle = 0.5 * (float(kept[(kept.size - 1) // 2]) + float(kept[kept.size // 2]))
        reach = n_sigma * float(kept.std(dtype=np.float64))
        low = int(np.searchsorted(kept, middle - reach, side="left"))
        high = int(np.searchsorted(kept, middle + reach, side="right"))
        if high - low == kept.size:
            break
        kept = kept[low:high]
    return Sky(float(kept.mean(dtype=np.float64)), float(kept.std(dtype=np.float64)))


def source_mask(image: Image, config: BackgroundConfig | None = None) -> Mask:
    """Where sources are (H, W): connected (8 neighbours) pixels above the clipped sky, grown by a square."""
    config = config or BackgroundConfig()
    finite = image[np.isfinite(image)]
    sky = clipped_sky(finite, n_sigma=config.clip_sigma, iterations=config.clip_iterations)
    with np.errstate(invalid="ignore"):  # what has no value is not above anything
        above = image > sky.mean + config.source_sigma * sky.std
    regions, _ = ndimage.label(above, structure=np.ones((3, 3)))
    large = np.bincount(regions.ravel()) >= config.source_pixels
    large[0] = False
    return ndimage.maximum_filter(large[regions], size=config.dilation_px, mode="constant", cval=0)


def measure_sky(image: Image, sources: Mask, config: BackgroundConfig | None = None) -> Sky:
    """The sky of one channel (H, W) outside its sources (H, W)."""
    config = config or BackgroundConfig()
    values = image[~sources]
    values = values[np.isfinite(values)]
    return clipped_sky(values, n_sigma=config.clip_sigma, iterations=config.clip_iterations)


def mean_filter(image: Image, side_px: int = 3) -> Image:
    """Mean over a square around each pixel of each channel (C, H, W); mirrored beyond the edge."""
    return np.stack([ndimage.uniform_filter(channel, size=side_px, mode="reflect") for channel in image])


def central_region(mask: Mask, *, neighbours: int = 8) -> Mask | None:
    """The connected region of a mask (H, W) that holds the pixel (H // 2, W // 2), if any does."""
    centre = tuple(side // 2 for side in mask.shape)
    if not mask[centre]:
        return None
    structure = ndimage.generate_binary_structure(2, 2 if neighbours == 8 else 1)
    regions, _ = ndimage.label(mask, structure=structure)
    return regions == regions[centre]


def soft_mask(mask: Mask, *, dilation_px: float = 10.0, soften_px: int = 15) -> Image:
    """A mask (H, W) grown by a disc, then its mean over a square: 1 inside, 0 far outside."""
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.float32)
    grown = ndimage.distance_transform_edt(~mask) <= dilation_px
    return ndimage.uniform_filter(grown.astype(np.float32), size=soften_px, mode="nearest")


def log_stretch(image: Image) -> Image:
    """ln(1 + x), negative values taken as 0."""
    return np.log1p(np.maximum(image, np.float32(0)))


def asinh_stretch(image: Image, softening: float) -> Image:
    """asinh(x / softening)."""
    return np.arcsinh(image / np.float32(softening))


def lupton_picture(
    image: Image, *, stretch: float = 5.0, softening: float = 8.0, minimum: float = 0.0
) -> npt.NDArray[np.uint8]:
    """Red, green, blue (3, H, W) in counts as a picture (H, W, 3) that keeps colours at every brightness.

    R. Lupton et al., PASP 116 (2004) 133. Pixels without a value are black.

    Args:
        image: Of three bands the longest wavelength first.
        stretch: Counts over which the scale is about straight.
        softening: How soon it bends; their Q.
        minimum: Counts shown as black.
    """
    from astropy.visualization import make_lupton_rgb

    if len(image) != 3:
        raise DataError("a colour picture needs three bands", found=f"{len(image)} bands")
    picture: npt.NDArray[np.uint8] = make_lupton_rgb(
        *np.where(np.isfinite(image), image, np.float32(minimum)),
        minimum=minimum,
        stretch=stretch,
        Q=softening,
    )
    return picture


def _filled(image: Image) -> Image:
    return np.where(np.isfinite(image), image, np.float32(0))


def _complete_bands(state: Prepared, config: CompleteBandsConfig) -> Prepared:
    shares = [share_with_value(band) for band in state.image]
    poor = {place: share for place, share in enumerate(shares) if share < config.least_share}
    if poor:
        raise DataError(
            "a band is mostly empty",
            found=", ".join(f"band {place}: {100 * share:.1f} %" for place, share in poor.items()),
            expected=f"at least {100 * config.least_share:g} % of the pixels with a value other than zero",
            hint="take another pointing, or a position further from the survey's edge",
        )
    return state


def _stack(state: Prepared, config: StackConfig) -> Prepared:
    del config
    return dataclasses.replace(state, image=stack_bands(state.image))


def _background(state: Prepared, config: BackgroundConfig) -> Prepared:
    total = stack_bands(state.image)[0]
    sources = source_mask(total, config)
    sum_sky = measure_sky(total, sources, config)
    if len(state.image) == 1:
        return dataclasses.replace(state, sky=(sum_sky,), sum_sky=sum_sky)
    sky = tuple(measure_sky(channel, sources, config) for channel in state.image)
    return dataclasses.replace(state, sky=sky, sum_sky=sum_sky)


def _subtract_background(state: Prepared, config: SubtractBackgroundConfig) -> Prepared:
    del config
    levels = np.array([sky.mean for sky in state.sky], dtype=np.float32)
    image = state.image - levels[:, None, None]
    return dataclasses.replace(state, image=_filled(image) if state.missing.any() else image)


def _mean_filter(state: Prepared, config: MeanFilterConfig) -> Prepared:
    return dataclasses.replace(state, image=mean_filter(state.image, config.side_px))


def _sigma_mask(state: Prepared, config: SigmaMaskConfig) -> Prepared:
    sky = _known(state.sum_sky)
    already = sum(channel.mean for channel in state.sky)  # clipped means do not add up exactly
    level = config.n_sigma * sky.std + sky.mean - already
    above = stack_bands(state.image)[0] > np.float32(level)
    return dataclasses.replace(state, mask=above & ~state.missing)


def _central_region(state: Prepared, config: CentralRegionConfig) -> Prepared:
    mask = _known(state.mask)
    region = central_region(mask, neighbours=config.neighbours)
    if region is not None:
        return dataclasses.replace(state, mask=region)
    if config.when_missing == "fail":
        raise DataError(
            NO_OBJECT,
            found="the central pixel lies below the threshold",
            expected="a galaxy at the centre of the cut-out",
            hint="check the position, or lower the threshold",
        )
    return dataclasses.replace(state, mask=np.zeros_like(mask), remarks=(*state.remarks, NO_OBJECT))


def _apply_mask(state: Prepared, config: ApplyMaskConfig) -> Prepared:
    masked = np.where(_known(state.mask), state.image, np.float32(0))
    image = np.concatenate([masked, state.image]) if config.keep_unmasked else masked
    return dataclasses.replace(state, image=image)


def _synthetic_sky(state: Prepared, config: SyntheticSkyConfig) -> Prepared:
    weight = soft_mask(_known(state.mask), dilation_px=config.dilation_px, soften_px=config.soften_px)
    content = zlib.crc32(np.ascontiguousarray(state.image).view(np.uint8).data)
    rng = np.random.default_rng([config.seed, content])
    std = np.array([sky.std for sky in state.sky], dtype=np.float32)[:, None, None]
    noise = std * rng.standard_normal(state.image.shape, dtype=np.float32)
    image = weight * state.image + (1 - weight) * noise + np.float32(config.offset_sigma) * std
    return dataclasses.replace(state, image=np.abs(image))


def _log(state: Prepared, config: LogConfig) -> Prepared:
    del config
    return dataclasses.replace(state, image=log_stretch(state.image))


def _asinh(state: Prepared, config: AsinhConfig) -> Prepared:
    return dataclasses.replace(state, image=asinh_stretch(state.image, config.softening))


def _known(value: Any) -> Any:
    """What an earlier step has found; ``SkyPreparation`` sees to it that there is one."""
    if value is None:
        raise ValueError("a step comes before the one it needs")
    return value


_STEPS: Mapping[type, Callable[[Prepared, Any], Prepared]] = MappingProxyType(
    {
        CompleteBandsConfig: _complete_bands,
        StackConfig: _stack,
        BackgroundConfig: _background,
        SubtractBackgroundConfig: _subtract_background,
        MeanFilterConfig: _mean_filter,
        SigmaMaskConfig: _sigma_mask,
        CentralRegionConfig: _central_region,
        ApplyMaskConfig: _apply_mask,
        SyntheticSkyConfig: _synthetic_sky,
        LogConfig: _log,
        AsinhConfig: _asinh,
    }
)
