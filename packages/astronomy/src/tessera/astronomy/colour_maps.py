"""One colour map whose steps look equally large, for heat maps and maps of density.

Viridis, of S. van der Walt and N. Smith for matplotlib (CC0), read on straight lines between 17 of its
colours.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

VIRIDIS = (
    "#440154",
    "#48186a",
    "#472d7b",
    "#424086",
    "#3b528b",
    "#33638d",
    "#2c728e",
    "#26828e",
    "#21918c",
    "#1fa088",
    "#28ae80",
    "#3fbc73",
    "#5ec962",
    "#84d44b",
    "#addc30",
    "#d8e219",
    "#fde725",
)
LEVELS = 64  # of an overlay: few enough that its PNG is small
OPAQUE = 230  # alpha of the largest value

Shares = npt.NDArray[np.floating]
Picture = npt.NDArray[np.uint8]


def coloured(shares: Shares) -> Picture:
    """Shares from 0 to 1 (H, W) as red, green and blue (H, W, 3); below 0 and above 1 as 0 and 1."""
    places = np.linspace(0.0, 1.0, len(VIRIDIS))
    anchors = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in VIRIDIS])
    channels = [np.interp(shares, places, anchors[:, k]) for k in range(3)]
    return np.asarray(np.stack(channels, axis=-1) + 0.5, dtype=np.uint8)


def overlay_png(shares: Shares) -> bytes:
    """Shares (H, W) as PNG: 0 and less is transparent, 1 is almost opaque."""
    known = np.where(np.isfinite(shares), shares, 0.0).clip(0.0, 1.0)
    image = Image.fromarray(np.asarray(known * (LEVELS - 1) + 0.5, dtype=np.uint8))
    steps = np.linspace(0.0, 1.0, LEVELS)
    image.putpalette(coloured(steps[None])[0].reshape(-1).tolist())
    alpha = bytes(np.asarray(np.sqrt(steps) * OPAQUE, dtype=np.uint8).tolist())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=alpha, optimize=True)
    return buffer.getvalue()
