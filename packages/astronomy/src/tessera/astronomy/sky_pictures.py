"""Images of the sky for the eye: asinh stretch, colours of three bands, a compass and a scale bar.

Row 0 of an image is its bottom, as in FITS; row 0 of a picture is its top.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from tessera.astronomy.preprocessing import asinh_stretch, lupton_picture

BLANK = (104, 104, 112)  # of pixels without a value
BLACK_PERCENTILE = (
    5.0  # of each band; in sky alone 1.6 deviations below its level: faint light is not cut off
)
WHITE_PERCENTILE = 99.5
SOFTENING_SIGMA = 3.0  # deviations of the noise at which the stretch bends
LEAST_WHITE = 10.0  # in units of the softening: an image of noise alone stays dark
MOST_WHITE = 1000.0  # in the same: beside a brighter core faint light would be lost
BALANCE = (0.44, 0.58, 1.0)  # of the reddest band first: a galaxy with g - r = 0.6, r - i = 0.3 becomes white
WAVELENGTHS = "ugrizy"  # bands from blue to red
BARS_ARCSEC = (10, 30, 60, 5, 2, 1, 120, 300, 600, 1800, 3600)  # the first that fits
LEAST_BAR, MOST_BAR = 0.08, 0.45  # of a picture's side
NORMAL_MEDIAN = 0.6745  # of the absolute value of a standard normal variable
_FROM_LINEAR = 0.1  # astropy's share of the scale up to which Lupton's stretch is about straight

Values = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]


def fitted(image: Values, side_px: int) -> Values:
    """An image (C, H, W) as means over equal areas, its longer side at most ``side_px``; NaN has no part."""
    height, width = image.shape[1:]
    share = min(1.0, side_px / max(height, width))
    size = (max(1, round(width * share)), max(1, round(height * share)))
    if size == (width, height):
        return image
    known = np.isfinite(image)
    weight = _resized(known.astype(np.float32), size)
    total = _resized(np.where(known, image, np.float32(0)), size)
    least = 1e-6  # of a pixel's area, below which only rounding is left
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > least)


def asinh_picture(image: Values, bands: Sequence[str] = ()) -> Picture:
    """An image (C, H, W) in counts as a picture (H, W, 3), its black, white and softening measured on itself.

    Three bands give colours after Lupton et al. 2004; any other number gives the grey of their mean.

    Args:
        image: Bands from blue to red, where their names do not say otherwise.
        bands: Names of the bands, for instance g, r, i.
    """
    missing = ~np.isfinite(image).all(axis=0)
    if missing.all():
        return np.full((*missing.shape, 3), BLANK, dtype=np.uint8)
    black = np.nanpercentile(image, BLACK_PERCENTILE, axis=(1, 2)).astype(np.float32)
    above = image - black[:, None, None]
    if len(image) == 3:
        above = above[reddest_first(bands)] * np.array(BALANCE, dtype=np.float32)[:, None, None]
    light = np.where(missing, np.float32(0), above.mean(axis=0))
    top = max(0.0, float(np.percentile(light[~missing], WHITE_PERCENTILE)))
    softening = SOFTENING_SIGMA * noise(light) or top / MOST_WHITE or 1.0
    span = math.asinh(min(max(top / softening, LEAST_WHITE), MOST_WHITE))
    if len(image) == 3:
        q = math.sinh(_FROM_LINEAR * span) / _FROM_LINEAR  # so that white becomes 1
        with np.errstate(divide="ignore", invalid="ignore"):  # astropy divides by the light of dark ones, too
            picture = lupton_picture(above, stretch=softening * q, softening=q)
    else:
        grey = (asinh_stretch(light, softening) / np.float32(span)).clip(0, 1)
        picture = np.repeat(np.asarray(grey * 255 + 0.5, dtype=np.uint8)[..., None], 3, axis=-1)
    picture[missing] = BLANK
    return picture


def noise(image: Values) -> float:
    """Deviation of white noise in an image (H, W), from differences of neighbours, which hold little else."""
    return (
        float(np.median(np.abs(np.diff(image, axis=1)))) / NORMAL_MEDIAN / math.sqrt(2)
        if image.shape[1] > 1
        else 0.0
    )


def reddest_first(bands: Sequence[str]) -> list[int]:
    """The places of three bands from red to blue: by their names, else as they come from blue to red."""
    places = [WAVELENGTHS.find(name[-1:].lower()) for name in bands]
    known = len(bands) == 3 and len(set(places)) == 3 and min(places) >= 0
    return sorted(range(3), key=lambda i: -places[i]) if known else [2, 1, 0]


def plain_picture(image: Values) -> Picture:
    """A stored picture (C, H, W) of one or three channels from 0 to 255 as it is, (H, W, 3)."""
    values = np.where(np.isfinite(image), image, np.float32(0)).clip(0, 255)
    picture = np.asarray(np.moveaxis(values, 0, -1) + 0.5, dtype=np.uint8)
    picture = np.repeat(picture[..., :1], 3, axis=-1) if len(image) != 3 else picture
    picture[~np.isfinite(image).all(axis=0)] = BLANK
    return picture


def enlarged(picture: Picture, side_px: int) -> Image.Image:
    """The picture with a longer side of ``side_px``."""
    height, width = picture.shape[:2]
    share = side_px / max(height, width)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)


def bar_arcsec(arcsec_per_dot: float, width: int) -> int | None:
    """Length of the scale bar of a picture, arcsec: 10, or what fits."""
    fitting = (bar for bar in BARS_ARCSEC if LEAST_BAR * width <= bar / arcsec_per_dot <= MOST_BAR * width)
    return next(fitting, None)


def mark_sky(picture: Image.Image, *, north: complex, east: complex, arcsec_per_dot: float) -> None:
    """Draw arrows to the north and the east, and a scale bar.

    Args:
        picture: It is drawn upon.
        north: Direction on the picture as right + i up, of length 1.
        east: The same.
        arcsec_per_dot: Scale of the picture.
    """
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    unit = min(width, height) / 320  # marks were laid out for 320 dots
    reach = 24 * unit
    foot = complex(width - 1.8 * reach, 1.8 * reach)  # right and up, of the lower right corner
    for word, way in (("N", north), ("E", east)):
        _line(draw, (foot, foot + reach * way), height, unit)
        _letters(draw, foot + 1.45 * reach * way, word, height=height, unit=unit, anchor="mm")
    length = bar_arcsec(arcsec_per_dot, width)
    if length is None:
        return
    start = complex(12 * unit, 14 * unit)
    _line(draw, (start, start + length / arcsec_per_dot), height, unit)
    text = f'{length}"' if length < 60 else f"{length // 60}'"  # the font has no primes
    _letters(draw, start + complex(0, 5 * unit), text, height=height, unit=unit, anchor="ls")


def _letters(
    draw: ImageDraw.ImageDraw, place: complex, text: str, *, height: int, unit: float, anchor: str
) -> None:
    draw.text(
        (place.real, height - place.imag),
        text,
        fill="white",
        anchor=anchor,
        font=ImageFont.load_default(max(8, round(13 * unit))),
        stroke_width=max(1, round(2 * unit)),
        stroke_fill="black",
    )


def _line(draw: ImageDraw.ImageDraw, ends: tuple[complex, complex], height: int, unit: float) -> None:
    points = [(end.real, height - end.imag) for end in ends]
    draw.line(points, fill="black", width=max(3, round(4 * unit)))
    draw.line(points, fill="white", width=max(1, round(2 * unit)))


def _resized(image: Values, size: tuple[int, int]) -> Values:
    box = Image.Resampling.BOX
    return np.stack(
        [np.asarray(Image.fromarray(np.ascontiguousarray(band)).resize(size, box)) for band in image]
    )
