"""Slices of a scan as pictures, hung as radiologists do, with a mask's outline on top.

The patient's right (of sagittal planes the front) is at the left, the head or the front at the top.
Pictures of this module are indices into ``PALETTE``: 224 greys, then the colours of the classes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from tessera.core.data.geometry import Region
from tessera.core.report.media import Borders
from tessera.medical.config import AIR_BELOW_HU, AirwayConfig
from tessera.medical.planning.data_config import CTConfig

if TYPE_CHECKING:
    from tessera.core.run_config import RunConfig
    from tessera.medical.readers import VolumeSource

Picture = npt.NDArray[np.uint8]
Plane = npt.NDArray[Any]

SAGITTAL, CORONAL, AXIAL = 0, 1, 2  # the axis (right, anterior, superior) that a plane lies across
BORDERS: tuple[Borders, ...] = (("A", "S", "P", "I"), ("R", "S", "L", "I"), ("R", "A", "L", "P"))
GREYS = 224
COLOURS = (  # of the classes after the background, in turn
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7",
    "#ff5f5f", "#8fd14f", "#00c8c8", "#b38cff", "#ffb3d1",
)  # fmt: skip
LOW, HIGH = 0.5, 99.5  # percentiles of the slices shown that become black and white
GAP = 4  # dots between the panes of a thumbnail
PANE = 112  # dots of a thumbnail's pane


@dataclass(frozen=True)
class GreyScale:
    """The values shown as black and as white."""

    low: float
    high: float
    name: str

    @property
    def words(self) -> str:
        """For a title."""
        return f"{self.name}, {self.low:g} to {self.high:g} HU"

    @classmethod
    def of_planes(cls, planes: list[Plane]) -> GreyScale:
        """By the percentiles of what is shown."""
        low, high = np.percentile(np.concatenate([plane.ravel() for plane in planes]), [LOW, HIGH])
        return cls(float(low), float(high), "percentiles")

    def grey(self, plane: Plane) -> Picture:
        """Values as greys, 0 to ``GREYS`` - 1."""
        span = max(self.high - self.low, 1e-6)
        shown = ((plane - self.low) / span).clip(0.0, 1.0) * (GREYS - 1)
        return np.asarray(shown + 0.5, dtype=np.uint8)


LUNG = GreyScale(-1350, 150, "lung window")  # usual in radiology: level -600, width 1500
SOFT = GreyScale(-160, 240, "soft tissue window")  # usual in radiology: level 40, width 400


def holds_ct(config: RunConfig) -> bool:
    """Whether a run's scans are CT in Hounsfield units, as far as its config says."""
    schemes = getattr(config.data, "normalisation", None) or ()
    return isinstance(config, AirwayConfig) or any(isinstance(scheme, CTConfig) for scheme in schemes)


def scale_for(config: RunConfig) -> GreyScale | None:
    """The window of CT: of lungs where the structures of interest are as thin as air; None for no CT."""
    if isinstance(config, AirwayConfig):
        return LUNG
    schemes = getattr(config.data, "normalisation", None) or (None,)
    if not isinstance(schemes[0], CTConfig):
        return None
    return LUNG if schemes[0].mean < AIR_BELOW_HU else SOFT


class UprightScan:
    """A scan's first channel and its mask, by planes across right (0), anterior (1) and superior (2).

    Args:
        source: The open scan; only the planes asked for are converted.
        mask: Class of each voxel on the scan's grid.
    """

    def __init__(self, source: VolumeSource, mask: Plane | None = None) -> None:
        self._source, self._grid = source, source.grid
        self._axes, self._flips = source.grid.towards_ras()
        upright = source.grid.canonical()
        self.shape, self.spacing = upright.shape, upright.spacing
        self.mask = None if mask is None else self._turned(mask)

    def plane(self, axis: int, index: int) -> Plane:
        """Values of a plane as a picture (rows, columns)."""
        place = self._axes[axis]
        at = self.shape[axis] - 1 - index if self._flips[axis] else index
        start, stop = [0, 0, 0], list(self._grid.shape)
        start[place], stop[place] = at, at + 1
        values = self._source.read(Region(tuple(start), tuple(stop)))["input"][0].numpy()
        return _as_seen(self._turned(values).take(0, axis))

    def mask_plane(self, axis: int, index: int) -> Plane:
        """Classes of a plane as a picture (rows, columns)."""
        return _as_seen(np.moveaxis(self.mask, axis, 0)[index]) if self.mask is not None else np.zeros((1, 1))

    def areas(self, axis: int) -> npt.NDArray[np.int64]:
        """Voxels of the mask in each plane across an axis."""
        if self.mask is None:
            return np.zeros(self.shape[axis], dtype=np.int64)
        return np.array([np.count_nonzero(plane) for plane in np.moveaxis(self.mask, axis, 0)])

    def fullest(self, axis: int) -> int:
        """The plane with most of the mask; the middle one when there is none."""
        areas = self.areas(axis)
        return int(areas.argmax()) if areas.any() else self.shape[axis] // 2

    def extent_mm(self, axis: int) -> tuple[float, float]:
        """Width and height of the planes across an axis."""
        across, up = (other for other in range(3) if other != axis)
        return self.shape[across] * self.spacing[across], self.shape[up] * self.spacing[up]

    def _turned(self, values: Plane) -> Plane:
        turned = values.transpose(self._axes)
        return turned[tuple(slice(None, None, -1 if back else 1) for back in self._flips)]


def three_planes(scan: UprightScan, scale: GreyScale | None, *, pane: int = PANE) -> Picture:
    """The sagittal, coronal and axial plane with most of the mask side by side, its outline on top.

    Returns:
        Indices (pane, 3 * pane + 2 * GAP) into ``PALETTE``.
    """
    places = [scan.fullest(axis) for axis in range(3)]
    planes = [scan.plane(axis, place) for axis, place in enumerate(places)]
    scale = scale or GreyScale.of_planes(planes)
    picture = np.full((pane, 3 * pane + 2 * GAP), GREYS - 1, dtype=np.uint8)
    for axis, (place, plane) in enumerate(zip(places, planes, strict=True)):
        left = axis * (pane + GAP)
        picture[:, left : left + pane] = _pane(scan, axis, place, scale.grey(plane), pane)
    return picture


def palette_png(picture: Picture) -> bytes:
    """PNG of indices into ``PALETTE``; the same bytes each time."""
    image = Image.fromarray(picture)
    image.putpalette(PALETTE)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False)
    return buffer.getvalue()


def colour_of(number: int) -> str:
    """Colour of a class after the background, as in CSS."""
    return COLOURS[(number - 1) % len(COLOURS)]


def resized_labels(labels: Plane, size: tuple[int, int]) -> Plane:
    """Labels (rows, columns) on a coarser or finer raster; of those that share a dot the highest stays."""
    for axis, n in enumerate(size):
        starts = np.arange(n) * labels.shape[axis] // n
        labels = np.maximum.reduceat(labels, starts, axis=axis)
    return labels


def resized(grey: Picture, size: tuple[int, int]) -> Picture:
    """A picture (rows, columns) on another raster, smoothly."""
    if grey.shape == size:
        return grey
    image = Image.fromarray(np.ascontiguousarray(grey))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _pane(scan: UprightScan, axis: int, place: int, grey: Picture, side: int) -> Picture:
    width, height = scan.extent_mm(axis)
    most = max(width, height)
    size = (max(1, round(side * height / most)), max(1, round(side * width / most)))
    inner = resized(grey, size).copy()
    if scan.mask is not None:
        labels = resized_labels(scan.mask_plane(axis, place), size)
        edge = _outline(labels)
        inner[edge] = GREYS + (labels[edge] - 1) % len(COLOURS)
    pane = np.zeros((side, side), dtype=np.uint8)
    top, left = (side - size[0]) // 2, (side - size[1]) // 2
    pane[top : top + size[0], left : left + size[1]] = inner
    letter = Image.fromarray(pane)
    ImageDraw.Draw(letter).text((3, side // 2 - 6), BORDERS[axis][0], fill=GREYS - 1, font=font(11))
    return np.asarray(letter)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with the library, so that pictures are the same everywhere."""
    return ImageFont.load_default(size)


def _outline(labels: Plane) -> npt.NDArray[np.bool_]:
    """Labelled dots with another label beside them."""
    around = np.pad(labels, 1, mode="edge")
    centre = around[1:-1, 1:-1]
    beside = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    return (centre > 0) & np.logical_or.reduce([centre != other for other in beside])


def _as_seen(plane: Plane) -> Plane:
    """A plane (across, up) as rows from the top and columns from the left; all three are hung mirrored."""
    return plane[::-1, ::-1].T


def _rgb(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


PALETTE = [round(i * 255 / (GREYS - 1)) for i in range(GREYS) for _ in range(3)] + [
    part for colour in COLOURS for part in _rgb(colour)
]
