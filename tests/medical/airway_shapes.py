"""Airways made of capsules: those whose numbers can be counted by hand, and random crowded ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tessera.medical.geometry import VolumeGeometry

Mask = npt.NDArray[np.bool_]
Capsule = tuple[Sequence[float], Sequence[float], float]

TRUNK: Capsule = ((58, 32, 32), (34, 32, 32), 4)
LEFT: Capsule = ((34, 32, 32), (10, 32, 14), 3)
RIGHT: Capsule = ((34, 32, 32), (10, 32, 50), 3)
LEAVES: tuple[Capsule, ...] = tuple(
    ((46, 48, x), (24, y, x + (8 if y > 48 else -8)), 3) for x in (28, 68) for y in (32, 64)
)
STEMS: tuple[Capsule, ...] = (
    ((90, 48, 48), (66, 48, 48), 5),
    ((66, 48, 48), (46, 48, 28), 4),
    ((66, 48, 48), (46, 48, 68), 4),
)


def capsules(shape: tuple[int, int, int], *parts: Capsule) -> Mask:
    """Voxels no farther from one of the segments than its radius."""
    mask = np.zeros(shape, dtype=np.bool_)
    places = np.moveaxis(np.indices(shape), 0, -1).astype(float)
    for start, end, radius in parts:
        a, along = np.array(start, dtype=float), np.subtract(end, start, dtype=float)
        share = np.clip((places - a) @ along / max(along @ along, 1e-9), 0, 1)
        mask |= np.square((places - a) - share[..., None] * along).sum(axis=-1) <= radius**2
    return mask


def ball(shape: tuple[int, int, int], centre: Sequence[float], radius: float) -> Mask:
    return capsules(shape, (centre, centre, radius))


def y3() -> Mask:
    return capsules((64, 64, 64), TRUNK, LEFT, RIGHT)


def y3_with_bump(end: int) -> Mask:
    return capsules((64, 64, 64), TRUNK, LEFT, RIGHT, ((46, 32, 32), (46, end, 32), 2))


def hand_y() -> Mask:
    """One voxel thick: a trunk of 21 voxels and two arms of 15."""
    mask = np.zeros((48, 48, 48), dtype=np.bool_)
    mask[20:41, 20, 20] = True
    for k in range(1, 16):
        mask[20 - k, 20, [20 - k, 20 + k]] = True
    return mask


def crowded(seed: int) -> Mask:
    """Random capsules that cross and touch."""
    rng = np.random.default_rng(seed)
    parts: list[Capsule] = []
    ends = [np.array([22.0, 20.0, 44.0])]
    for _ in range(int(rng.integers(8, 20))):
        start = ends[int(rng.integers(len(ends)))]
        end = np.clip(start + rng.normal(size=3) * [9, 9, 10] - [0, 0, 4], 3, [41, 37, 44])
        parts.append((start.tolist(), end.tolist(), float(rng.uniform(1.2, 2.6))))
        ends.append(end)
    return capsules((45, 41, 48), *parts)


def unit_grid(mask: Mask) -> VolumeGeometry:
    return VolumeGeometry.of(mask.shape, np.eye(4))
