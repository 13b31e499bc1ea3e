"""Sizes that networks are bound to follow from the planned patch."""

from __future__ import annotations

from typing import Any

import pytest

from tessera.core.config import validate
from tessera.core.pipeline import get
from tessera.medical.config import VolumeConfig
from tessera.medical.configure import example, swin_size


def config(preset: str, **data: Any) -> VolumeConfig:
    values = get("volumes").preset_values(preset)
    values["data"] = {**values.get("data", {}), **data}
    return validate(VolumeConfig, values, source=preset)


@pytest.mark.parametrize(
    ("patch", "window", "expected"),
    [
        ((56, 40), None, (4, (64, 64))),
        ((224, 224), None, (7, (224, 224))),
        ((320, 256), None, (4, (320, 256))),
        ((56, 40), 7, (7, (112, 112))),
    ],
)
def test_swins_windows_enlarge_the_patch_as_little_as_they_can(
    patch: tuple[int, ...], window: int | None, expected: tuple[int, tuple[int, ...]]
) -> None:
    assert swin_size(patch, window=window) == expected


@pytest.mark.parametrize("preset", get("volumes").presets)
def test_every_preset_is_complete_after_an_example(preset: str) -> None:
    complete = example(config(preset))
    spatial = complete.data.spatial_dims
    assert complete.data.patch is not None
    network = complete.model.build(1, 2, spatial)
    assert sum(p.numel() for p in network.parameters()) > 1000


def test_hiformers_patch_is_that_of_the_windows() -> None:
    complete = example(config("hiformer"))
    assert complete.data.patch == (1, *complete.model.patch)  # type: ignore[union-attr, misc]
