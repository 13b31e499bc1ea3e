"""Where the lungs are in a CT, by density and place alone, and how deep inside them a voxel lies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tessera.medical.config import AIR_BELOW_HU

SMALLEST_ML = 50.0  # of a lung; smaller pockets of air are bowel or trachea
SECOND_SHARE = 0.15  # of the larger lung's volume that the other one must have
CLOSING_MM = 6.0  # vessels and airway walls thinner than this belong to the lung
COARSE_MM = 3.0  # voxel steps of this size are enough to find the box around the lungs

Mask = npt.NDArray[np.bool_]


def lung_mask(
    volume: npt.NDArray[np.floating] | npt.NDArray[np.integer],
    spacing: Sequence[float],
    *,
    air_below: float = AIR_BELOW_HU,
    head_axis: int = 2,
) -> Mask:
    """The lungs with their vessels and airways, without the trachea's upper part, (I, J, K).

    Air inside the body: connected below ``air_below`` and without contact to the sides of the volume. A
    scan that cuts the lungs off at its first or last slice is allowed; empty where nothing fits.

    Args:
        volume: Hounsfield units (I, J, K).
        spacing: Of the three axes, mm.
        air_below: What air is darker than, in the volume's own unit.
        head_axis: The axis between feet and head, at whose ends the scan may cut the lungs off.
    """
    air = np.asarray(volume) < air_below
    labels, n = cc3d.connected_components(air, connectivity=6, return_N=True)
    voxel_ml = float(np.prod(spacing)) / 1000
    counts = sum(np.bincount(plane.reshape(-1), minlength=n + 1) for plane in labels)
    sizes = np.asarray(counts, dtype=np.float64) * voxel_ml
    sizes[0] = 0.0
    across = [axis for axis in range(3) if axis != head_axis]
    sides = [labels.take(end, axis=axis) for axis in across for end in (0, -1)]
    sizes[np.unique(np.concatenate([side.reshape(-1) for side in sides]))] = 0.0
    largest = np.argsort(sizes)[::-1][:2]
    kept = [i for i in largest if sizes[i] >= max(SMALLEST_ML, SECOND_SHARE * sizes[largest[0]])]
    if not kept:
        return np.zeros(air.shape, dtype=np.bool_)
    np.equal(labels, kept[0], out=air)
    for second in kept[1:]:
        air |= labels == second
    del labels
    return _closed(air, spacing)


def lung_box(
    volume: npt.NDArray[np.floating] | npt.NDArray[np.integer],
    spacing: Sequence[float],
    *,
    margin_mm: float,
    head_axis: int = 2,
    head_last: bool = True,
) -> tuple[slice, ...] | None:
    """The box around the lungs, from their base to the head's end of the scan; None where none are found.

    The trachea above the lungs lies inside. Every n-th voxel is looked at where voxels are small.

    Args:
        volume: Hounsfield units (I, J, K).
        spacing: Of the three axes, mm.
        margin_mm: Room around the lungs.
        head_axis: The axis between feet and head.
        head_last: Whether that axis ends at the head, and does not begin there.
    """
    steps = [max(1, int(COARSE_MM // mm)) for mm in spacing]
    thin = volume[tuple(slice(None, None, step) for step in steps)]
    coarse = [step * mm for step, mm in zip(steps, spacing, strict=True)]
    lungs = lung_mask(thin, coarse, head_axis=head_axis)
    if not lungs.any():
        return None
    (found,) = ndimage.find_objects(lungs.astype(np.uint8))
    box = []
    for axis, (part, step, mm) in enumerate(zip(found, steps, spacing, strict=True)):
        room = math.ceil(margin_mm / mm) + step - 1
        first, end = part.start * step - room, (part.stop - 1) * step + 1 + room
        if axis == head_axis:
            first, end = (first, volume.shape[axis]) if head_last else (0, end)
        box.append(slice(max(0, first), min(volume.shape[axis], end)))
    return tuple(box)


def _closed(mask: Mask, spacing: Sequence[float]) -> Mask:
    """Fill gaps narrower than ``CLOSING_MM``; by distances, inside the mask's box with room around it."""
    reach = (CLOSING_MM + min(spacing)) / 2  # distances are between centres, gaps between faces
    room = [int(np.ceil(reach / step)) + 1 for step in spacing]
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    padded = np.pad(mask[box], [(n, n) for n in room])
    near = np.stack([plane <= reach for plane in _Distances(~padded, spacing)])
    whole = np.stack([plane > reach for plane in _Distances(near, spacing)])
    inner = tuple(slice(n, -n) for n in room)
    closed = mask.copy()
    closed[box] |= whole[inner]
    return closed


class _Distances:
    """Distances in mm from the voxels (I, J, K) of a mask to the nearest one outside it, plane by plane.

    The numbers of ``scipy.ndimage.distance_transform_edt`` with a quarter of its memory.
    """

    def __init__(self, mask: Mask, spacing: Sequence[float]) -> None:
        self._spacing = spacing
        self._nearest = ndimage.distance_transform_edt(
            mask, sampling=spacing, return_distances=False, return_indices=True
        )

    def __iter__(self) -> Iterator[npt.NDArray[np.float64]]:
        _, planes, *sides = self._nearest.shape
        j, k = np.ogrid[: sides[0], : sides[1]]
        for i in range(planes):
            away = (
                (self._nearest[axis, i] - own) * self._spacing[axis] for axis, own in enumerate((i, j, k))
            )
            yield np.sqrt(sum(step**2 for step in away))


def depth_in_lungs(lungs: Mask, spacing: Sequence[float]) -> npt.NDArray[np.float32]:
    """Distance to the lungs' border over the largest one: 0 outside, 1 in the middle, (I, J, K).

    Qin et al., arXiv 1907.06852; that it is zero outside is unverified.
    """
    depth = np.zeros(lungs.shape, dtype=np.float32)
    if not lungs.any():
        return depth
    box = ndimage.find_objects(lungs.astype(np.uint8))[0]
    inside = np.pad(lungs[box], 1)
    distances = _Distances(inside, spacing)
    largest = max(float(plane.max()) for plane in distances)
    for target, plane in zip(depth[box], islice(distances, 1, None), strict=False):
        target[...] = plane[1:-1, 1:-1] / largest
    return depth
