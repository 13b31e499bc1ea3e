"""Remarks on a scan and on the mask that was found in it: what a person should look at before using it.

None of them says that a mask is wrong, and a mask without remarks can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cc3d
import numpy as np

from tessera.medical.geometry import VolumeGeometry
from tessera.medical.mask_components import bounding_box
from tessera.medical.stored_volume import NO_HU, Stored

if TYPE_CHECKING:
    from tessera.medical.readers import VolumeSource

NOTHING_FOUND = "nothing found"
NO_TRACHEA = "no airway at the top of the scan"
NAMED = 3  # classes that a remark names at most

# Limits of our own choice: coarse bounds that scans of adults keep, to be tightened with data.
AIR_HU = -900.0  # a CT of the body holds darker voxels: air around it or in it is near -1000
WATER_HU = 0.0  # and brighter ones than this
THICKEST_MM = 2.5  # distance of slices; segmental bronchi are as narrow as 3 mm
AIRWAY_ML = (20.0, 200.0)  # lumen of trachea and bronchi
FEWEST_BRANCHES = 20  # trachea, main, lobar and segmental bronchi are more
STRAY_SHARE = 0.01  # of the airway's voxels outside its largest part
TOP_MM = 10.0  # from the upper face: the trachea enters there


def scan_remarks(source: VolumeSource, *, ct: bool) -> tuple[str, ...]:
    """Remarks on a scan's values.

    Args:
        source: The open scan.
        ct: Whether its first channel should be in Hounsfield units.
    """
    if not ct or NO_HU in source.remarks:
        return ()
    low, high = source.extremes()
    if low <= AIR_HU and high >= WATER_HU:
        return ()
    return (f"not in Hounsfield units: values from {low:g} to {high:g}",)


def mask_remarks(
    mask: Stored, classes: Sequence[str], *, grid: VolumeGeometry, open_top: bool = False
) -> tuple[str, ...]:
    """Remarks on a mask: that it is empty, or cut by a face of the scan.

    Args:
        mask: Class of each voxel (I, J, K).
        classes: Names, the background first.
        grid: The mask's grid.
        open_top: The structure goes on above the scan, so that the upper face says nothing.
    """
    if not mask.any():
        return (NOTHING_FOUND,)
    found: set[int] = set()
    for axis, end in ((axis, end) for axis in range(3) for end in (0, -1)):
        if mask.shape[axis] > 1 and not (open_top and (axis, end) == _top(grid)):
            found.update(np.unique(np.moveaxis(mask, axis, 0)[end]).tolist())
    names = [classes[number] for number in sorted(found - {0})]
    if not names:
        return ()
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (f"touches the border of the scan: {', '.join(names[:NAMED])}{more}",)


def airway_remarks(airway: Stored, grid: VolumeGeometry, *, n_branches: int | None) -> tuple[str, ...]:
    """Remarks on an airway mask (I, J, K) that is not empty.

    Args:
        airway: The lumen.
        grid: Its grid.
        n_branches: Of its tree; None when it was not counted.
    """
    found = []
    thickest = max(grid.spacing)
    if thickest > THICKEST_MM:
        found.append(f"slices {thickest:g} mm apart, more than {THICKEST_MM:g}")
    millilitres = np.count_nonzero(airway) * grid.voxel_mm3 / 1000
    if not AIRWAY_ML[0] <= millilitres <= AIRWAY_ML[1]:
        found.append(f"airway of {millilitres:.1f} ml, not {AIRWAY_ML[0]:g} to {AIRWAY_ML[1]:g}")
    if n_branches is not None and n_branches < FEWEST_BRANCHES:
        found.append(f"airway of {n_branches} branches, fewer than {FEWEST_BRANCHES}")
    sizes = _parts(airway)
    if 1 - sizes.max() / sizes.sum() > STRAY_SHARE:
        found.append(f"airway in {len(sizes)} parts")
    axis, end = _top(grid)
    n = min(airway.shape[axis], max(1, round(TOP_MM / grid.spacing[axis])))
    along = np.moveaxis(airway, axis, 0)
    if not (along[:n] if end == 0 else along[-n:]).any():
        found.append(NO_TRACHEA)
    return tuple(found)


def _top(grid: VolumeGeometry) -> tuple[int, int]:
    """The array axis between feet and head, and at which end of it the head is: 0 or -1."""
    axes, flips = grid.towards_ras()
    return axes[2], 0 if flips[2] else -1


def _parts(mask: Stored) -> Stored:
    """Voxels of each connected part, neighbours by face, edge or corner."""
    some = mask > 0
    part = some[bounding_box(some)]
    # cc3d 4.1 fails with 26 neighbours on some masks of one voxel along an axis
    labels = cc3d.connected_components(np.pad(part, 1), connectivity=26, binary_image=True)
    return np.bincount(labels[labels > 0])[1:]
