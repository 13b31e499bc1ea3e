"""Intensities as the network wants them; normalised before resampling, as in nnU-Net."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tessera.core.errors import DataError
from tessera.medical.mask_components import Mask, filled
from tessera.medical.planning.data_config import (
    BytesConfig,
    CTConfig,
    NormalisationConfig,
    RescaleConfig,
    ZScoreConfig,
)

Image = npt.NDArray[np.float32]
LEAST_STD = 1e-8


def normalise(image: Image, schemes: Sequence[NormalisationConfig]) -> Image:
    """Each channel of (C, I, J, K) by its scheme, in the image's own memory; returns the image."""
    if len(schemes) != len(image):
        raise DataError(
            "the image has another number of channels than the network was planned for",
            found=f"{len(image)} channels",
            expected=f"{len(schemes)}: {', '.join(scheme.kind for scheme in schemes)}",
            hint="give the channels the training images had, in the same order",
        )
    masked = any(isinstance(scheme, ZScoreConfig) and scheme.masked for scheme in schemes)
    inside = body(image) if masked else None
    for values, scheme in zip(image, schemes, strict=True):
        _channel(values, scheme, inside)
    return image


def body(image: Image) -> Mask:
    """Where any channel of (C, I, J, K) is not zero, and the holes in that."""
    shown = image[0] != 0
    for values in image[1:]:
        shown |= values != 0
    return filled(shown)


def _channel(values: Image, scheme: NormalisationConfig, inside: Mask | None) -> None:
    """Change the values (I, J, K) of a channel."""
    if isinstance(scheme, CTConfig):
        np.clip(values, np.float32(scheme.low), np.float32(scheme.high), out=values)
        values -= np.float32(scheme.mean)
        values /= np.float32(max(scheme.std, LEAST_STD))
    elif isinstance(scheme, ZScoreConfig):
        masked = scheme.masked and inside is not None and bool(inside.any())
        mean, std = _moments(values, inside if masked else None)
        values -= np.float32(mean)
        values /= np.float32(max(std, LEAST_STD))
        if masked and inside is not None:
            values[~inside] = 0.0
    elif isinstance(scheme, RescaleConfig):
        low, high = values.min(), values.max()
        values -= low
        values /= np.float32(max(float(high - low), LEAST_STD))
    elif isinstance(scheme, BytesConfig):
        if values.min() < 0 or values.max() > 255:
            raise DataError(
                "the image does not hold bytes",
                found=f"{values.min():g} to {values.max():g}",
                expected="0 to 255",
            )
        values /= np.float32(255)


def _moments(values: Image, inside: Mask | None) -> tuple[float, float]:
    """Mean and standard deviation, everywhere or inside; plane by plane, without a copy in float64."""
    n = values.size if inside is None else int(np.count_nonzero(inside))

    def total(power: int, mean: float) -> float:
        parts = (
            values if inside is None else (plane[kept] for plane, kept in zip(values, inside, strict=True))
        )
        return float(sum(((part.astype(np.float64) - mean) ** power).sum() for part in parts))

    mean = total(1, 0.0) / n
    return mean, math.sqrt(total(2, mean) / n)
