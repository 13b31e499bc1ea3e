"""Intensities as the network wants them; normalised before resampling, as in nnU-Net."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tessera.core.errors import DataError
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
    """Each channel of (C, I, J, K) by its scheme."""
    if len(schemes) != len(image):
        raise DataError(
            "the image has another number of channels than the network was planned for",
            found=f"{len(image)} channels",
            expected=f"{len(schemes)}: {', '.join(scheme.kind for scheme in schemes)}",
            hint="give the channels the training images had, in the same order",
        )
    masked = any(isinstance(scheme, ZScoreConfig) and scheme.masked for scheme in schemes)
    inside = body(image) if masked else None
    channels = [_channel(values, scheme, inside) for values, scheme in zip(image, schemes, strict=True)]
    return np.stack(channels).astype(np.float32, copy=False)


def body(image: Image) -> npt.NDArray[np.bool_]:
    """Where any channel of (C, I, J, K) is not zero, and the holes in that."""
    filled: npt.NDArray[np.bool_] = ndimage.binary_fill_holes((image != 0).any(0))
    return filled


def _channel(values: Image, scheme: NormalisationConfig, inside: npt.NDArray[np.bool_] | None) -> Image:
    if isinstance(scheme, CTConfig):
        clipped = np.clip(values, np.float32(scheme.low), np.float32(scheme.high))
        return (clipped - np.float32(scheme.mean)) / np.float32(max(scheme.std, LEAST_STD))
    if isinstance(scheme, ZScoreConfig):
        if scheme.masked and inside is not None and inside.any():
            scaled = np.zeros_like(values)
            scaled[inside] = _standardised(values[inside])
            return scaled
        return _standardised(values)
    if isinstance(scheme, RescaleConfig):
        low = values.min()
        return (values - low) / np.float32(max(float(values.max() - low), LEAST_STD))
    if isinstance(scheme, BytesConfig):
        if values.min() < 0 or values.max() > 255:
            raise DataError(
                "the image does not hold bytes",
                found=f"{values.min():g} to {values.max():g}",
                expected="0 to 255",
            )
        return values / np.float32(255)
    return values


def _standardised(values: Image) -> Image:
    mean, std = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    return (values - np.float32(mean)) / np.float32(max(std, LEAST_STD))
