"""Sizes that networks are bound to follow from the planned patch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tessera.core.config import merge, validate
from tessera.core.data.case import Case
from tessera.core.data.splits import make_split
from tessera.core.errors import ConfigError
from tessera.core.pipeline import get
from tessera.medical.config import AirwayConfig, VolumeConfig
from tessera.medical.configure import configure, example, pooled_size, swin_size
from tessera.medical.network_config import HiFormerConfig
from tessera.medical.readers import VolumeReader, VolumeSource
from tessera.medical.simulate import simulate_small_airway

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


def test_what_the_training_scans_look_like_is_kept_and_no_other(tmp_path: Path) -> None:
    """Three folds of NIfTI phantoms of one size; the fold held out is not opened."""
    manifest = simulate_small_airway(
        tmp_path / "sims", n=3, seed=1, values={"shape": [16, 16, 16], "vessels": 0}
    )
    split = make_split(manifest.cases, fold="3", val_fraction=0.0, seed=0, target="label")
    manifest.cases[2].path("image").write_bytes(b"unreadable")
    complete = configure(airway("smoke"), manifest, split)
    assert complete.modalities == ("CT",)  # by the name of the channel: NIfTI does not say
    assert complete.scans is not None
    assert complete.scans.spacing_mm == ((2.5, 2.5),) * 3
    assert complete.scans.extent_mm == ((40.0, 40.0),) * 3
    (values,) = complete.scans.values
    assert values.absolute
    assert -1100 < values.low[0] <= values.median[0] <= values.high[1] < 1500
    assert AirwayConfig.model_validate(complete.model_dump(mode="json")) == complete
    chosen = airway("smoke").model_copy(update={"modalities": ()})
    assert configure(chosen, manifest, split).modalities == ()
    manifest.cases[0].path("image").unlink()
    assert configure(complete, manifest, split) == complete  # nothing is open: nothing is read


def test_planned_volumes_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = simulate_small_airway(
        tmp_path / "sims", n=2, seed=1, values={"shape": [16, 16, 16], "vessels": 0}
    )
    split = make_split(manifest.cases, fold="2", val_fraction=0.0, seed=0, target="label")
    opened: list[str] = []
    plain = VolumeReader.open

    def counting(self: VolumeReader, case: Case) -> VolumeSource:
        opened.append(case.id)
        return plain(self, case)

    monkeypatch.setattr(VolumeReader, "open", counting)
    assert configure(config("unet"), manifest, split).scans is not None
    assert opened == [manifest.cases[0].id]
