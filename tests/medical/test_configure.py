"""Sizes that networks are bound to follow from the planned patch."""

from __future__ import annotations

from typing import Any

import pytest

from tessera.core.config import merge, validate
from tessera.core.errors import ConfigError
from tessera.core.pipeline import get
from tessera.medical.config import AirwayConfig, VolumeConfig
from tessera.medical.configure import example, pooled_size, swin_size
from tessera.medical.network_config import HiFormerConfig

HIFORMER = HiFormerConfig(patch=(112, 224))


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


def airway(preset: str, **sections: Any) -> AirwayConfig:
    values, _ = merge(get("airway").preset_values(preset), sections)
    return validate(AirwayConfig, values, source=preset)


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ((64, 64, 64), (64, 64, 64)),
        ((40, 56, 96), (48, 64, 96)),
        ((16, 16, 32), (16, 16, 32)),
        ((8, 16, 12), (16, 16, 32)),
    ],
)
def test_four_halvings_enlarge_the_patch_as_little_as_they_can(
    patch: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert pooled_size(patch) == expected


@pytest.mark.parametrize("preset", get("airway").presets)
def test_the_network_of_an_airway_preset_fits_its_patch(preset: str) -> None:
    complete = example(airway(preset))
    patch = complete.data.patch
    assert patch is not None
    assert max(patch) <= 32, "an example is small"
    assert getattr(complete.model, "patch", patch) == patch
    given = airway(preset).model.model_dump(exclude={"patch"})
    assert complete.model.model_dump(exclude={"patch"}) == given, "an example changes the network"


def test_an_example_keeps_the_volumes_own_spacing() -> None:
    assert example(config("unet")).data.spacing_mm == (None, None, None)
    assert example(config("unet", spacing_mm=[3.0, None, 1.0])).data.spacing_mm == (3.0, None, 1.0)


def test_a_patch_that_a_network_cannot_take_is_enlarged() -> None:
    complete = example(airway("tubule", data={"patch": [20, 24, 32]}))
    assert complete.data.patch == complete.model.patch == (32, 32, 32)  # type: ignore[union-attr]


def bound(preset: str, **model: Any) -> VolumeConfig:
    values, _ = merge(get("volumes").preset_values(preset), {"data": {"patch": [16, 16, 16]}, "model": model})
    return validate(VolumeConfig, values, source=preset)


def test_a_network_for_other_patches_than_the_datas_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"(?s)this u-mamba would be bound to other patches.*\(8, 8, 8\)"):
        example(bound("umamba-enc", patch=[8, 8, 8]))
    with pytest.raises(ConfigError, match=r"this tubule would be bound to other patches"):
        example(airway("tubule", model={"patch": [64, 64, 64]}))


def test_a_size_that_a_person_chose_for_hiformer_is_kept() -> None:
    complete = example(config("hiformer").model_copy(update={"model": HIFORMER}))
    assert isinstance(complete.model, HiFormerConfig)
    assert (complete.model.patch, complete.model.window) == ((112, 224), 7)
    assert complete.data.patch == (1, 112, 224)
