"""The worked plans of nnU-Net's rules: what the stages of each data set's network are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CAPS = {2: 512, 3: 320}


def stages(strides: Sequence[Sequence[int]], flat_kernels: int = 0) -> dict[str, Any]:
    """Options of a network with these strides behind the first; ``flat_kernels`` are 1 along axis 0."""
    dims = len(strides[0])
    count = len(strides) + 1
    flat, full = (1,) + (3,) * (dims - 1), (3,) * dims
    return {
        "features": [min(32 * 2**i, CAPS[dims]) for i in range(count)],
        "strides": [(1,) * dims, *strides],
        "kernels": [flat] * flat_kernels + [full] * (count - flat_kernels),
    }


def isotropic(dims: int, count: int) -> dict[str, Any]:
    return stages([(2,) * dims] * (count - 1))


TWOS, IN_PLANE = (2, 2, 2), (1, 2, 2)

HIPPOCAMPUS = isotropic(3, 4)
BRATS = LIVER = AIRWAY = isotropic(3, 6)
PROSTATE = stages([IN_PLANE, IN_PLANE, TWOS, TWOS, IN_PLANE, IN_PLANE], flat_kernels=2)
ABDOMEN = stages([IN_PLANE, TWOS, TWOS, TWOS, IN_PLANE], flat_kernels=1)
ABDOMEN_L = stages([IN_PLANE, TWOS, TWOS, TWOS, IN_PLANE, IN_PLANE], flat_kernels=1)
ABDOMEN_XL = stages([IN_PLANE, TWOS, TWOS, TWOS, TWOS, IN_PLANE], flat_kernels=1)
ACDC = stages([IN_PLANE, TWOS, TWOS, IN_PLANE, IN_PLANE], flat_kernels=1)
CBCT = stages([TWOS, TWOS, TWOS, TWOS, IN_PLANE])
MR_2D = isotropic(2, 7)
CELL_2D = isotropic(2, 8)
ENDOVIS_2D = stages([(2, 2)] * 7 + [(1, 2)])

TINY_3D = {  # anisotropic in every way
    "features": [4, 6, 8],
    "strides": [(1, 1, 1), (1, 2, 2), (2, 2, 3)],
    "kernels": [(1, 3, 3), (3, 3, 3), (3, 1, 3)],
}
TINY_2D = {"features": [4, 6, 8], "strides": [(1, 1), (2, 1), (2, 2)], "kernels": [(3, 3), (1, 3), (3, 3)]}
