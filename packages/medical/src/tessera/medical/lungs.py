"""Where the lungs are in a CT, by density and place alone, and how deep inside them a voxel lies."""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

AIR_BELOW_HU = -320.0  # between lung (-500 and less) and soft tissue (-100 and more)
SMALLEST_ML = 50.0  # of a lung; smaller pockets of air are bowel or trachea
SECOND_SHARE = 0.15  # of the larger lung's volume that the other one must have
CLOSING_MM = 6.0  # vessels and airway walls thinner than this belong to the lung

Mask = npt.NDArray[np.bool_]


def lung_mask(volume: npt.NDArray[np.floating] | npt.NDArray[np.integer], spacing: Sequence[float]) -> Mask:
    """The lungs with their vessels and airways, without the trachea's upper part, (I, J, K).

    Air inside the body: connected below ``AIR_BELOW_HU`` and without contact to the sides of the volume. A
    scan that cuts the lungs off at its first or last slice is allowed; empty where nothing fits.

    Args:
        volume: Hounsfield units (I, J, K), the third axis from feet to head or back.
        spacing: Of the three axes, mm.
    """
    air = np.asarray(volume) < AIR_BELOW_HU
    labels, n = cc3d.connected_components(air, connectivity=6, return_N=True)
    voxel_ml = float(np.prod(spacing)) / 1000
    sizes = np.bincount(labels.reshape(-1), minlength=n + 1).astype(np.float64) * voxel_ml
    sizes[0] = 0.0
    sides = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
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
