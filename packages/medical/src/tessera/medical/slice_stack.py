"""Axial slices to leaf through in the report, small enough for a page with many cases."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from tessera.core.report.media import ImageStack
from tessera.medical.pictures import (
    AXIAL,
    BORDERS,
    COLOURS,
    GREYS,
    GreyScale,
    Picture,
    Plane,
    UprightScan,
    colour_of,
    resized,
    resized_labels,
)

SLICES = 40  # shown of a scan at most
SIDE = 256  # dots of a slice's side at most
SMOOTH = 192  # dots up to which small slices are enlarged: a browser blurs each into its neighbours
JPEG_BYTES = 340_000  # of all slices at most: 24 cases give a page of some 14 MB
QUALITIES = (80, 70, 60, 50, 40, 30)  # of JPEG, the first that is small enough
NAMED = 8  # classes in the legend at most


def axial_stack(
    scan: UprightScan, scale: GreyScale | None, *, classes: Sequence[str] = (), mask_name: str = ""
) -> ImageStack:
    """The scan's axial slices from the feet to the head.

    Of a scan with more than ``SLICES`` slices each interval shows the one that holds most of the mask.

    Args:
        scan: The scan, with or without a mask.
        scale: Values shown as black and white; None: by percentiles of what is shown.
        classes: Names of the mask's classes, the background first.
        mask_name: What the mask is, for the title.
    """
    places = _chosen(scan)
    planes = [scan.plane(AXIAL, place) for place in places]
    finer = max(1, SMOOTH // max(planes[0].shape))
    size = (min(finer * planes[0].shape[0], SIDE), min(finer * planes[0].shape[1], SIDE))
    words = scale.words if scale else "grey by percentiles"
    scale = scale or GreyScale.of_planes(planes)
    greys = [resized(scale.grey(plane), size) for plane in planes]
    columns = math.ceil(math.sqrt(len(places)))
    labels = [
        resized_labels(scan.mask_plane(AXIAL, place), size) for place in places if scan.mask is not None
    ]
    width, height = scan.extent_mm(AXIAL)
    total = scan.shape[AXIAL]
    some = f"{len(places)} of {total} axial slices" if len(places) < total else "Axial slices"
    return ImageStack(
        title=f"{some}{f' with the {mask_name}' if mask_name else ''}; {words}",
        image=_jpeg(_tiled(greys, columns)),
        mask=_mask_png(_tiled(_coloured(labels), columns)) if labels else None,
        columns=columns,
        labels=tuple(f"slice {place + 1} of {total}" for place in places),
        aspect=round(width / height, 4),
        first=_first(scan, places),
        borders=BORDERS[AXIAL],
        legend=_legend(labels, classes),
    )


def _chosen(scan: UprightScan) -> list[int]:
    """Places of the slices, in order."""
    n = scan.shape[AXIAL]
    areas = scan.areas(AXIAL)
    bounds = np.linspace(0, n, min(n, SLICES) + 1).round().astype(int)
    chosen = []
    for start, stop in itertools.pairwise(bounds):
        part = areas[start:stop]
        chosen.append(int(start + (part.argmax() if part.any() else (stop - start) // 2)))
    return chosen


def _first(scan: UprightScan, places: list[int]) -> int:
    fullest = scan.fullest(AXIAL)
    return min(range(len(places)), key=lambda i: abs(places[i] - fullest))


def _tiled(pictures: list[Picture], columns: int) -> Picture:
    """All pictures (H, W) in rows of ``columns``."""
    height, width = pictures[0].shape
    rows = math.ceil(len(pictures) / columns)
    sheet = np.zeros((rows * height, columns * width), dtype=np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * height, i % columns * width
        sheet[top : top + height, left : left + width] = picture
    return sheet


def _coloured(labels: list[Plane]) -> list[Picture]:
    """Classes as places in the mask's palette, 0 for the background."""
    return [
        np.where(plane > 0, (plane.astype(np.int64) - 1) % len(COLOURS) + 1, 0).astype(np.uint8)
        for plane in labels
    ]


def _jpeg(grey: Picture) -> bytes:
    shown = np.asarray(grey.astype(np.float32) * (255 / (GREYS - 1)) + 0.5, dtype=np.uint8)
    image = Image.fromarray(shown)
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=quality)
        if buffer.tell() <= JPEG_BYTES:
            break
    return buffer.getvalue()


def _mask_png(indices: Picture) -> bytes:
    image = Image.fromarray(indices)
    image.putpalette([0, 0, 0, *(int(c[i : i + 2], 16) for c in COLOURS for i in (1, 3, 5))])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=0, bits=4)
    return buffer.getvalue()


def _legend(labels: list[Plane], classes: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Names and colours of the classes that are seen."""
    seen = sorted({int(label) for plane in labels for label in np.unique(plane)} - {0})
    named = [(classes[i] if i < len(classes) else f"class {i}", colour_of(i)) for i in seen]
    if len(named) <= NAMED:
        return tuple(named)
    return (*named[:NAMED], (f"and {len(named) - NAMED} more classes", "transparent"))
