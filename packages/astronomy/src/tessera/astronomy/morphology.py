"""Classical measures of a galaxy's shape: asymmetries, concentration, smoothness, Gini and M20.

Asymmetries after M. Walmsley et al., MNRAS 483 (2019) 2968, who follow M. M. Pawlik et al., MNRAS 456 (2016)
3032. Petrosian radius, concentration, smoothness, Gini coefficient and M20 after J. M. Lotz, J. Primack and
P. Madau, AJ 128 (2004) 163, in circular apertures. Their own asymmetry is twice the one here, less the sky's.

Images are (H, W) in counts with the sky at 0; positions are (row, column) of pixel centres, radii in pixels.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tessera.astronomy.preprocessing import (
    NO_OBJECT,
    Image,
    Mask,
    central_region,
    mean_filter,
    measure_sky,
    source_mask,
    stack_bands,
)
from tessera.core.errors import DataError

Floats = npt.NDArray[np.float64]

SEARCH_BOX_PX = 50  # side of the central box with the brightest pixel
STEP_PX = 0.5  # of the search for the centre
REACH_PX = 8.0  # from the brightest pixel
PETROSIAN_RATIO = 0.2  # surface brightness at the radius to the mean within
APERTURE = 1.5  # Petrosian radii that hold the whole galaxy
SMOOTHING = 0.25  # Petrosian radii: side of the smoothing square, and of the core left out
SEGMENT_SMOOTHING = 0.2  # Petrosian radii: sigma of the Gaussian before Gini's pixels are chosen
FINE_PX = 12.0  # within which pixels are split
PIECES = 5  # along each side of a pixel
BRIGHTEST = 0.2  # share of the light whose second moment is M20
NO_PETROSIAN = "no Petrosian radius inside the image"


@dataclass(frozen=True)
class Centre:
    """Where a galaxy is least asymmetric.

    Args:
        row: In steps of half a pixel.
        column: In steps of half a pixel.
        asymmetry: There.
    """

    row: float
    column: float
    asymmetry: float


@dataclass(frozen=True)
class Growth:
    """Light inside circles around a centre.

    Args:
        radius: (R,) in px, from 0 on.
        flux: (R,) in counts.
        area: (R,) in px, of what lies in the image.
    """

    radius: Floats
    flux: Floats
    area: Floats

    def radius_of(self, share: float, total: float) -> float:
        """Smallest radius in px that holds this share of ``total``, straight between the radii known."""
        reached = np.flatnonzero(self.flux >= share * total)
        if not reached.size or not total > 0:
            return math.nan
        last = int(reached[0])
        if last == 0:
            return float(self.radius[0])
        step = (share * total - self.flux[last - 1]) / (self.flux[last] - self.flux[last - 1])
        return float(self.radius[last - 1] + step * (self.radius[last] - self.radius[last - 1]))

    def within(self, radius_px: float) -> float:
        """Counts within a radius."""
        return float(np.interp(radius_px, self.radius, self.flux))


@dataclass(frozen=True)
class Shape:
    """The measures of one galaxy; NaN for what cannot be measured.

    Args:
        asymmetry: Share of the light that is not point-symmetric, 0 to 1.
        mask_asymmetry: The same of the mask at the same centre.
        concentration: 5 log10 of the radii with 80 and 20 % of the light.
        smoothness: Share of the light in structure finer than a quarter of the Petrosian radius, the sky's
            share subtracted; higher is clumpier.
        gini: How unequally the light is spread over the pixels, 0 to 1.
        m20: log10 of the second moment of the brightest 20 % of the light to that of all.
        petrosian_px: Petrosian radius.
        mask_px: Pixels of the mask.
        remarks: What could not be measured.
    """

    asymmetry: float = math.nan
    mask_asymmetry: float = math.nan
    concentration: float = math.nan
    smoothness: float = math.nan
    gini: float = math.nan
    m20: float = math.nan
    petrosian_px: float = math.nan
    mask_px: float = math.nan
    remarks: tuple[str, ...] = ()

    def numbers(self) -> dict[str, float]:
        """The measures by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "remarks"
        }


def asymmetry_about(image: npt.ArrayLike, row: float, column: float) -> float:
    """Sum |I - I_180| / (2 sum |I|) of an image (H, W) that is 0 outside itself; NaN for one without light.

    Args:
        image: The image.
        row: Of the centre of rotation, in whole or half pixels, so that pixels fall on pixels.
        column: The same.
    """
    values = np.asarray(image, dtype=np.float64)
    total = float(np.abs(values).sum())
    if total == 0:
        return math.nan
    height, width = values.shape
    sums = (round(2 * row), round(2 * column))  # of a pixel's index and that of its partner
    starts = [max(0, both - (side - 1)) for both, side in zip(sums, (height, width), strict=True)]
    stops = [min(side - 1, both) + 1 for both, side in zip(sums, (height, width), strict=True)]
    inside = values[starts[0] : max(stops[0], starts[0]), starts[1] : max(stops[1], starts[1])]
    alone = total - float(np.abs(inside).sum())  # partners of these lie outside
    apart = float(np.abs(inside - inside[::-1, ::-1]).sum())
    return (apart + 2 * alone) / (2 * total)


def find_centre(image: Image, mask: Mask) -> Centre:
    """The centre of least asymmetry of the masked image, by a walk over half pixels.

    It begins at the brightest pixel of the central box and goes to the best of the eight neighbours, until
    none is better or 8 px are reached.
    """
    if not mask.any():
        raise DataError(NO_OBJECT, expected="a mask with pixels")
    rows, columns = np.nonzero(mask)
    corner = np.array([rows.min(), columns.min()])
    inside = (slice(corner[0], rows.max() + 1), slice(corner[1], columns.max() + 1))
    values = np.where(mask, image, 0).astype(np.float64)
    start = 2 * (_brightest(values) - corner)
    cut = values[inside]
    reach = round(REACH_PX / STEP_PX)
    known: dict[tuple[int, int], float] = {}

    def height(place: tuple[int, int]) -> float:
        if place not in known:
            known[place] = asymmetry_about(cut, place[0] / 2, place[1] / 2)
        return known[place]

    here = (int(start[0]), int(start[1]))
    while True:
        around = [(here[0] + i, here[1] + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
        near = [p for p in around if max(abs(p[0] - start[0]), abs(p[1] - start[1])) <= reach]
        best = min(near, key=height)
        if not height(best) < height(here):
            break
        here = best
    return Centre(here[0] / 2 + float(corner[0]), here[1] / 2 + float(corner[1]), height(here))


def growth_curve(image: Image, row: float, column: float) -> Growth:
    """Light and area inside circles of 0, 1, 2 ... px that reach to the farthest corner.

    Near the centre pixels are split into 5 x 5. Of a piece (or pixel) that a circle cuts, as much counts as
    of a line across it.
    """
    distance = _distance(image.shape, row, column)
    values = np.asarray(image, dtype=np.float64)
    near = distance <= FINE_PX
    far = ~near
    rows, columns = np.nonzero(near)
    places = (np.arange(PIECES) + 0.5) / PIECES - 0.5
    radii = np.hypot(
        (rows - row)[:, None, None] + places[:, None], (columns - column)[:, None, None] + places
    )
    light = np.repeat(values[near] / PIECES**2, PIECES**2)
    parts = (
        (radii.ravel(), light, 1 / PIECES),
        (distance[far], values[far], 1.0),
    )
    n = math.ceil(float(distance.max())) + 2
    flux, area = np.zeros(n), np.zeros(n)
    for radius, counts, side in parts:
        flux += _inside_circles(radius, counts, side, n)
        area += _inside_circles(radius, np.full(counts.shape, side * side), side, n)
    return Growth(np.arange(n, dtype=np.float64), flux, area)


def petrosian_radius(growth: Growth, *, ratio: float = PETROSIAN_RATIO) -> tuple[float, float]:
    """Radius in px at which the brightness a pixel falls to ``ratio`` of the mean within, and what it is.

    NaN twice where it does not within the circles known.
    """
    radius = growth.radius[1:-1]
    with np.errstate(divide="ignore", invalid="ignore"):  # beyond the image there is no ring
        local = (growth.flux[2:] - growth.flux[:-2]) / (growth.area[2:] - growth.area[:-2])
        mean = growth.flux[1:-1] / growth.area[1:-1]
        eta = np.where(mean > 0, local / mean, np.inf)
    below = np.flatnonzero(eta < ratio)
    if not below.size or below[0] == 0:
        return math.nan, math.nan
    last = int(below[0])
    step = (eta[last - 1] - ratio) / (eta[last - 1] - eta[last])
    place = float(radius[last - 1] + step * (radius[last] - radius[last - 1]))
    return place, float(np.interp(place, radius, local))


def concentration(growth: Growth, petrosian_px: float) -> float:
    """5 log10(r80 / r20), the whole light that within 1.5 Petrosian radii."""
    total = growth.within(APERTURE * petrosian_px)
    inner, outer = growth.radius_of(0.2, total), growth.radius_of(0.8, total)
    return 5 * math.log10(outer / inner) if inner > 0 and outer > 0 else math.nan


def smoothness(image: Image, centre: Centre, petrosian_px: float, *, sky: Mask) -> float:
    """Share of the light that a mean over a quarter of the Petrosian radius removes, less the sky's.

    Args:
        image: (H, W).
        centre: Of the galaxy.
        petrosian_px: Its Petrosian radius; the inner quarter of it is left out.
        sky: (H, W) where nothing but sky is; without such pixels nothing is subtracted.
    """
    side = max(3, 2 * int(SMOOTHING * petrosian_px / 2) + 1)  # odd, so that no direction is preferred
    rest = np.abs(image - ndimage.uniform_filter(image, size=side, mode="reflect"))
    radius = _distance(image.shape, centre.row, centre.column)
    ring = (radius > SMOOTHING * petrosian_px) & (radius <= APERTURE * petrosian_px)
    light = float(np.abs(image[ring]).sum(dtype=np.float64))
    if light == 0:
        return math.nan
    of_sky = float(rest[sky].mean(dtype=np.float64)) * np.count_nonzero(ring) if sky.any() else 0.0
    return float((rest[ring].sum(dtype=np.float64) - of_sky) / light)


def segment(image: Image, centre: Centre, petrosian_px: float, brightness: float) -> Mask:
    """The connected pixels (H, W) around the centre that, smoothed, reach the brightness at r_p."""
    smooth = ndimage.gaussian_filter(image, SEGMENT_SMOOTHING * petrosian_px, mode="constant")
    regions, _ = ndimage.label(smooth >= brightness, structure=np.ones((3, 3)))
    place = tuple(
        int(np.clip(round(p), 0, side - 1))
        for p, side in zip((centre.row, centre.column), image.shape, strict=True)
    )
    if regions[place] == 0:
        return np.zeros(image.shape, dtype=np.bool_)
    return np.asarray(regions == regions[place])


def gini(values: npt.ArrayLike) -> float:
    """Gini coefficient of absolute values (N,): 0 when all are equal, 1 when one has everything."""
    ordered = np.sort(np.abs(np.asarray(values, dtype=np.float64)), axis=None)
    n, total = ordered.size, ordered.sum()
    if n < 2 or total == 0:
        return math.nan
    weight = 2 * np.arange(1, n + 1) - n - 1
    return float((weight * ordered).sum() / (total * (n - 1)))


def m20(image: Image, mask: Mask) -> float:
    """log10 of the second moment of the brightest 20 % of the light to that of all, about its centroid."""
    rows, columns = np.nonzero(mask)
    flux = np.asarray(image[mask], dtype=np.float64)
    total = float(flux.sum())
    if flux.size < 2 or total <= 0:
        return math.nan
    centre = (rows @ flux) / total, (columns @ flux) / total
    moment = flux * ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2)
    order = np.argsort(-flux, kind="stable")
    count = max(
        1, int(np.searchsorted(np.cumsum(flux[order]), BRIGHTEST * total * (1 + 1e-12), side="right"))
    )
    bright, whole = float(moment[order[:count]].sum()), float(moment.sum())
    return math.log10(bright / whole) if bright > 0 and whole > 0 else math.nan


def measure_shape(bands: Image, *, n_sigma: float = 3.0) -> Shape:
    """All measures of the galaxy at the centre of an image (C, H, W) in counts.

    The bands are added up and the sky subtracted; the mask is that of the central object above ``n_sigma``.
    Asymmetries are of the filtered masked image, as in the paper. The other measures are of the unfiltered
    image, with the other objects above the threshold set to the sky.
    """
    finite = np.isfinite(bands).all(axis=0)
    total = stack_bands(bands)[0]
    sources = source_mask(total)
    sky = measure_sky(total, sources)
    image = np.where(finite, total - np.float32(sky.mean), np.float32(0))
    filtered = mean_filter(image[None])[0]
    above = (filtered > np.float32(n_sigma * sky.std)) & finite
    mask = central_region(above)
    if mask is None:
        return Shape(remarks=(NO_OBJECT,))
    centre = find_centre(filtered, mask)
    first = Shape(
        asymmetry=centre.asymmetry,
        mask_asymmetry=asymmetry_about(mask, centre.row, centre.column),
        mask_px=float(mask.sum()),
    )
    alone = np.where(above & ~mask, np.float32(0), image)
    growth = growth_curve(alone, centre.row, centre.column)
    radius, brightness = petrosian_radius(growth)
    if math.isnan(radius):
        return dataclasses.replace(
            first, gini=gini(image[mask]), m20=m20(image, mask), remarks=(NO_PETROSIAN,)
        )
    pixels = segment(alone, centre, radius, brightness)
    return dataclasses.replace(
        first,
        petrosian_px=radius,
        concentration=concentration(growth, radius),
        smoothness=smoothness(alone, centre, radius, sky=~sources & finite),
        gini=gini(alone[pixels]),
        m20=m20(alone, pixels),
    )


def _brightest(image: Floats) -> npt.NDArray[np.int64]:
    """Row and column of the brightest pixel in the central box of 50 px, or of all if that is dark."""
    corner = [max(0, side // 2 - SEARCH_BOX_PX // 2) for side in image.shape]
    box = image[corner[0] : corner[0] + SEARCH_BOX_PX, corner[1] : corner[1] + SEARCH_BOX_PX]
    if not box.any():
        corner, box = [0, 0], image
    place = np.unravel_index(int(box.argmax()), box.shape)
    return np.array(place) + np.array(corner)


def _inside_circles(radius: Floats, counts: Floats, side: float, n: int) -> Floats:
    """Counts (n,) within 0, 1, 2 ... px of pieces (N,) half a side to either side of their radius."""
    first = np.maximum(np.ceil(radius - side / 2), 0).astype(
        np.int64
    )  # the smallest circle that is not short of the piece
    share = np.clip((first - radius) / side + 0.5, 0, 1)
    begun = np.bincount(first, counts * share, minlength=n + 1)
    rest = np.bincount(first + 1, counts * (1 - share), minlength=n + 1)
    return np.cumsum(begun[:n] + rest[:n])


def _distance(shape: tuple[int, ...], row: float, column: float) -> Floats:
    return np.hypot(np.arange(shape[0])[:, None] - row, np.arange(shape[1])[None, :] - column)
