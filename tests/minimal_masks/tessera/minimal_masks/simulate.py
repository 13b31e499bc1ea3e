"""Discs and squares on noise, with the mask they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec

CLASSES = ("background", "disc", "square")
NOISE = 0.3  # standard deviation; discs are 1 above the ground, squares 1 below
SIDES = (14, 34)  # least and greatest side of a plane, elements


def draw_plane(rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """A plane (H, W) with a disc and, mostly, a square, and its classes (H, W)."""
    height, width = (int(side) for side in rng.integers(*SIDES, size=2))
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros((height, width), dtype=np.uint8)
    centre, radius = rng.uniform(4, (height - 4, width - 4)), rng.uniform(2.5, 5)
    mask[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2] = 1
    if rng.random() < 0.8:
        row, column, side = int(rng.integers(0, height - 5)), int(rng.integers(0, width - 5)), 5
        mask[row : row + side, column : column + side] = 2
    plane = np.array([0.0, 1.0, -1.0])[mask] + NOISE * rng.standard_normal(mask.shape)
    return plane.astype(np.float32), mask


def simulate_discs(
    out: Path,
    *,
    n: int,
    seed: int,
    values: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write ``n`` planes, their masks and a manifest with the target ``label`` below ``out``."""
    del values
    cases = []
    out.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        name = f"plane{number:03d}"
        plane, mask = draw_plane(np.random.default_rng([seed, number]))
        image, label = out / f"{name}.npy", out / f"{name}-mask.npy"
        np.save(image, plane)
        np.save(label, mask)
        files = {"image": FileRef(path=image)}
        cases.append(Case(id=name, files=files, targets={"label": FileRef(path=label)}, group=name))
        if progress is not None:
            progress(number + 1, n)
    info = DatasetInfo(
        id=out.resolve().name,
        title=f"Simulated discs and squares, seed {seed}",
        licence="CC0-1.0",
        source="tessera simulate discs",
        role="image",
        targets={"label": TargetSpec(kind="mask", classes=CLASSES)},
        simulated=True,
    )
    manifest = Manifest.create(info, cases, folder=out)
    manifest.save(out)
    return manifest
