"""What is kept of a predicted airway: its largest connected part, as the ATM'22 challenge scores it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tessera.medical.mask_components import Labels, bounding_box, largest_component

AIRWAY = "airway"  # the class that is one, where there are several


def airway_class(classes: Sequence[str]) -> int:
    """Place of the airway among the classes: by its name, else the first after the background."""
    return classes.index(AIRWAY) if AIRWAY in classes else 1


def keep_largest_airway(mask: Labels, *, label: int) -> tuple[Labels, float]:
    """Classes (I, J, K) with the airway's largest part alone, and the share of the airway this leaves out.

    Parts are joined by faces, edges and corners (26 neighbours). Other classes stay. Beside the mask this
    needs a copy of it, and some bytes a voxel of the airway's box.

    Args:
        mask: Class of each voxel.
        label: The airway's class.
    """
    box = bounding_box(mask == label)
    inside = mask[box] == label
    stray = inside & ~largest_component(inside)
    left_out = int(np.count_nonzero(stray))
    if not left_out:
        return mask, 0.0
    kept = mask.copy()
    kept[box][stray] = 0
    return kept, left_out / int(np.count_nonzero(inside))
