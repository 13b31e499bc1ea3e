"""A small data set in memory: two channels' worth of boxes with known counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError
from tessera.medical.geometry import VolumeGeometry

CLASSES = ("background", "organ", "lesion")


@dataclass
class Memory:
    """Images and masks by case id, read as a ``VolumeReader`` would."""

    images: dict[str, NDArray[Any]] = field(default_factory=dict)
    masks: dict[str, NDArray[Any]] = field(default_factory=dict)
    affines: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)

    def add(self, name: str, image: NDArray[Any], mask: NDArray[Any], *, affine: Any = None) -> Case:
        self.images[name] = image if image.ndim == 4 else image[None]
        self.masks[name] = mask
        self.affines[name] = np.eye(4) if affine is None else affine
        return Case(id=name, files={"image": FileRef()}, targets={"label": FileRef()}, group=name)

    def open(self, case: Case) -> ArraySource:
        if case.id not in self.images:
            raise OSError("file is cut short")
        self.opened.append(case.id)
        image = self.images[case.id].astype(np.float32)
        return ArraySource(image, VolumeGeometry.of(image.shape[1:], self.affines[case.id]))

    def open_mask(self, case: Case, target: str) -> ArraySource:
        if target != "label":
            raise DataError(f"case {case.id} has no {target}")
        mask = self.masks[case.id]
        return ArraySource(mask[None], VolumeGeometry.of(mask.shape, self.affines[case.id]))


def scan(seed: int, *, shape: tuple[int, ...] = (16, 18, 20)) -> tuple[NDArray[Any], NDArray[Any]]:
    """A CT-like image and its mask: an organ of 8 x 8 x 8 voxels at 100 HU with a lesion of 8 at 50."""
    image = np.random.default_rng(seed).normal(-1000, 5, shape).round()
    mask = np.zeros(shape, dtype=np.uint8)
    mask[4:12, 4:12, 4:12] = 1
    mask[6:8, 6:8, 6:8] = 2
    image[mask == 1] = 100
    image[mask == 2] = 50
    return image, mask


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def dataset(memory: Memory) -> tuple[Memory, Manifest, Split]:
    """Six training cases, one for validation, and a test case that cannot be read."""
    cases = [memory.add(f"case_{number}", *scan(number)) for number in range(7)]
    cases.append(Case(id="hidden", files={"image": FileRef()}, targets={"label": FileRef()}, group="hidden"))
    info = DatasetInfo(id="boxes", targets={"label": TargetSpec(kind="mask", classes=CLASSES)})
    roles = {f"case_{number}": "train" for number in range(6)} | {"case_6": "val", "hidden": "test"}
    split = Split(roles, {case.id: case.group for case in cases})  # type: ignore[arg-type]
    return memory, Manifest(info, tuple(cases), folder=None), split  # type: ignore[arg-type]
