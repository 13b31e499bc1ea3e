"""The connected parts of a mask, the box around it, and its holes."""

from __future__ import annotations

from typing import Literal

import cc3d
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer] | npt.NDArray[np.bool_]
Box = tuple[slice, ...]
Connectivity = Literal[6, 18, 26]


def bounding_box(mask: Mask) -> Box:
    """The smallest box that holds every true voxel of (I, J, K); of no extent when there is none."""
    front: Mask = np.any(mask, axis=0)
    lines = (np.any(mask, axis=(1, 2)), np.any(front, axis=1), np.any(front, axis=0))
    return tuple(_extent(line) for line in lines)


def joined(first: Box, second: Box) -> Box:
    """The smallest box around two boxes; a box of no extent adds nothing."""
    boxes = [box for box in (first, second) if all(side.stop > side.start for side in box)]
    if len(boxes) < 2:
        return boxes[0] if boxes else first
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True)
    )


def largest_component(mask: Mask, *, connectivity: Connectivity = 26) -> Mask:
    """The voxels of the largest connected part; the first in scan order of several as large.

    Args:
        mask: (I, J, K).
        connectivity: Neighbours that connect: 26 as in ATM'22's own post-processing, 6 as in the scorer of
            WingsNet and BAS, or 18.
    """
    found = np.zeros(mask.shape, dtype=np.bool_)
    box = bounding_box(mask)
    part = mask[box]
    if not part.size:
        return found
    labels = _parts(part, connectivity)
    found[box] = labels == 1 + np.argmax(np.bincount(labels[part])[1:])
    return found


def touching_components(mask: Mask, other: Mask, *, connectivity: Connectivity = 26) -> npt.NDArray[np.int64]:
    """Sizes (n,) in voxels of the connected parts of a mask that touch another, disjoint mask."""
    if not mask.any():
        return np.empty(0, dtype=np.int64)
    parts = _parts(mask, connectivity)
    last = int(parts.max()) + 1
    named = np.where(other, last, parts).astype(np.uint32)
    edges = cc3d.region_graph(named, connectivity=connectivity)
    touching = sorted(first for first, second in map(sorted, edges) if second == last)
    return np.bincount(parts[mask], minlength=last)[touching].astype(np.int64)


def filled(mask: Mask) -> Mask:
    """The mask and its holes: background that no path of face neighbours joins to the outside."""
    box = bounding_box(mask)
    if not mask[box].size:
        return mask.copy()
    outside = cc3d.connected_components(~np.pad(mask[box], 1), connectivity=6, binary_image=True)
    found = mask.copy()
    found[box] = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return found


def _parts(mask: Mask, connectivity: Connectivity) -> npt.NDArray[np.unsignedinteger]:
    """Number 1 .. n of each voxel's connected part, 0 outside the mask."""
    # cc3d 4.1 fails with 26 neighbours on some masks of one voxel along an axis
    labels = cc3d.connected_components(np.pad(mask, 1), connectivity=connectivity, binary_image=True)
    return labels[1:-1, 1:-1, 1:-1]


def _extent(line: Mask) -> slice:
    places = np.flatnonzero(line)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
