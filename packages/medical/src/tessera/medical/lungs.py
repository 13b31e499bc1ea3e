"""Where the lungs are in a CT, by density and place alone, and how deep inside them a voxel lies."""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tessera.medical.config import AIR_BELOW_HU

SMALLEST_ML = 50.0  # of a lung; smaller pockets of air are bowel or trachea
SECOND_SHARE = 0.15  # of the larger lung's volume that the other one must have
CLOSING_MM = 6.0  # vessels and airway walls thinner than this belong to the lung

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
    sizes = np.bincount(labels.reshape(-1), minlength=n + 1).astype(np.float64) * voxel_ml
    sizes[0] = 0.0
    across = [axis for axis in range(3) if axis != head_axis]
    sides = [labels.take(end, axis=axis) for axis in across for end in (0, -1)]
    sizes[np.unique(np.concatenate([side.reshape(-1) for side in sides]))] = 0.0
    largest = np.argsort(sizes)[::-1][:2]
    kept = [i for i in largest if sizes[i] >= max(SMALLEST_ML, SECOND_SHARE * sizes[largest[0]])]
    if not kept:
        return np.zeros(air.shape, dtype=np.bool_)
    return _closed(np.isin(labels, kept), spacing)


def _closed(mask: Mask, spacing: Sequence[float]) -> Mask:
    """Fill gaps narrower than ``CLOSING_MM``; by distances, inside the mask's box with room around it."""
    reach = (CLOSING_MM + min(spacing)) / 2  # distances are between centres, gaps between faces
    room = [int(np.ceil(reach / step)) + 1 for step in spacing]
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    padded = np.pad(mask[box], [(n, n) for n in room])
    near = ndimage.distance_transform_edt(~padded, sampling=spacing) <= reach
    whole = ndimage.distance_transform_edt(near, sampling=spacing) > reach
    inner = tuple(slice(n, -n) for n in room)
    closed = mask.copy()
    closed[box] |= whole[inner]
    return closed


def depth_in_lungs(lungs: Mask, spacing: Sequence[float]) -> npt.NDArray[np.float32]:
    """Distance to the lungs' border over the largest one: 0 outside, 1 in the middle, (I, J, K).

    Qin et al., arXiv 1907.06852; that it is zero outside is unverified.
    """
    if not lungs.any():
        return np.zeros(lungs.shape, dtype=np.float32)
    box = ndimage.find_objects(lungs.astype(np.uint8))[0]
    inside = np.pad(lungs[box], 1)
    distance = ndimage.distance_transform_edt(inside, sampling=spacing)[1:-1, 1:-1, 1:-1]
    depth = np.zeros(lungs.shape, dtype=np.float32)
    depth[box] = distance / distance.max()
    return depth
