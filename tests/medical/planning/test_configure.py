"""Open fields of a run are filled in from the training cases, and the plan can be read."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split
from tessera.core.errors import ConfigError, DataError
from tessera.core.run_config import RunConfig, TrainerConfig
from tessera.medical.config import VolumeConfig
from tessera.medical.model_config import PlainUNetConfig, ResidualUNetConfig
from tessera.medical.network_config import HiFormerConfig
from tessera.medical.pipelines import VOLUMES
from tessera.medical.planning.audit import Loss
from tessera.medical.planning.configure import configure, example, plan_volumes
from tessera.medical.planning.data_config import VolumeDataConfig, ZScoreConfig
from tessera.medical.planning.explain import explain
from tessera.medical.planning.filling import epoch_reason, fill_epoch, open_fields
from tessera.medical.planning.memory import Measured
from tessera.medical.windows import VolumeWindows

from .conftest import Memory

Dataset = tuple[Memory, Manifest, Split]


class VolumesConfig(RunConfig):
    """A run's config as the pipeline for volumes has it."""

    data: VolumeDataConfig = VolumeDataConfig()
    model: PlainUNetConfig | ResidualUNetConfig | HiFormerConfig = PlainUNetConfig()


def config(**data: Any) -> VolumesConfig:
    return VolumesConfig(pipeline="volumes", preset="unet", data=VolumeDataConfig(**data))


def test_every_open_field_is_filled_in(dataset: Dataset) -> None:
    memory, manifest, split = dataset
    filled = configure(config(), manifest, split, reader=memory)
    assert open_fields(filled) == ()
    assert filled.data.axes == (0, 1, 2)
    assert filled.data.spacing_mm == (1.0, 1.0, 1.0)
    assert filled.data.patch == (16, 20, 20)  # 16 x 18 x 20, each divisible by four
    assert filled.data.channels == ("ct",)
    assert filled.model.features == (32, 64, 128)
    assert filled.model.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2))
    assert filled.trainer.batch_size == 2
    assert VolumesConfig.model_validate(filled.model_dump(mode="json")) == filled


def test_the_planned_network_takes_the_planned_windows(dataset: Dataset) -> None:
    memory, manifest, split = dataset
    filled = configure(config(), manifest, split, reader=memory)
    windows = VolumeWindows(filled)
    image, grid = windows.prepare(memory.open(manifest.cases[0]))
    assert image.shape == (1, 16, 18, 20)
    network = filled.model.build(1, 3, 3).eval()
    from tessera.core.data.cache import ArraySource

    sample = windows.read(ArraySource(image, grid), windows.plan(grid)[0])
    assert tuple(network(sample["input"][None]).shape) == (1, 3, 16, 20, 20)


def test_only_training_cases_are_read(dataset: Dataset) -> None:
    memory, manifest, split = dataset
    configure(config(), manifest, split, reader=memory)
    assert sorted(memory.opened) == [f"case_{number}" for number in range(6)]


def test_what_is_set_stays(dataset: Dataset) -> None:
    memory, manifest, split = dataset
    wishes = config(patch=(8, 8, 8), spacing_mm=(2.0, 2.0, 2.0), plan_batch=False)
    filled = configure(wishes, manifest, split, reader=memory)
    assert filled.data.patch == (8, 8, 8)
    assert filled.data.spacing_mm == (2.0, 2.0, 2.0)
    assert filled.trainer.batch_size == wishes.trainer.batch_size
    assert filled.model.strides is not None
    again = configure(filled, manifest, split, reader=Memory())  # nothing is open: nothing is read
    assert again is filled


def test_slices_get_a_network_of_two_axes(dataset: Dataset) -> None:
    memory, manifest, split = dataset
    filled = configure(config(spatial_dims=2), manifest, split, reader=memory)
    assert filled.data.patch == (1, 20, 20)
    assert filled.data.spacing_mm == (None, 1.0, 1.0)
    assert filled.model.strides[1] == (2, 2)
    assert VolumesConfig.model_validate(filled.model_dump(mode="json")) == filled


def test_residual_networks_have_their_own_planner(dataset: Dataset) -> None:
    memory, manifest, split = dataset
    wishes = config().model_copy(update={"model": ResidualUNetConfig()})
    assert plan_volumes(wishes, manifest, split, reader=memory).preset == "resenc-m"
    assert plan_volumes(config(), manifest, split, reader=memory).preset == "default"


def test_a_patch_that_the_network_cannot_take_is_refused_with_one_it_can(dataset: Dataset) -> None:
    memory, manifest, split = dataset
    with pytest.raises(ConfigError, match=r"8 x 9 x 8(?s:.*)data\.patch=\[8, 10, 8\]"):
        configure(config(patch=(8, 9, 8)), manifest, split, reader=memory)


def test_little_free_memory_makes_a_smaller_plan(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    memory, manifest, split = dataset
    monkeypatch.setattr("tessera.medical.planning.configure.free_bytes", lambda device: 2 * 10**9)
    with caplog.at_level(logging.WARNING):
        configure(config(), manifest, split, reader=memory)
    assert "2 GB free instead of 8" in caplog.text
    told = plan_volumes(config(memory_gb=12.0), manifest, split, reader=memory)
    assert not any("free" in text for text in told.warnings)


def test_names_of_classes_need_no_images(dataset: Dataset) -> None:
    _, manifest, split = dataset
    data = {"axes": (2, 0, 1), "spacing_mm": (None,) * 3, "patch": (8, 8, 8), "channels": ("ct",)}
    wishes = config(**data, normalisation=(ZScoreConfig(),))
    model = {"features": (4, 8), "strides": ((1, 1, 1), (2, 2, 2)), "kernels": ((3, 3, 3),) * 2}
    wishes = wishes.model_copy(update={"model": PlainUNetConfig(**model)})
    filled = configure(wishes, manifest, split, reader=Memory())  # which could open nothing
    assert filled.data.mirrors == (0, 1, 2)
    assert filled.data.sides == ()
    assert filled.trainer.batch_size == wishes.trainer.batch_size


@pytest.mark.parametrize("preset", ["unet", "resenc", "hiformer", "umamba-enc", "smoke"])
def test_every_preset_can_be_completed_without_data(preset: str) -> None:
    values = VOLUMES.preset_values(preset)
    filled = example(VolumeConfig.model_validate(values))
    assert open_fields(filled) == ()
    assert VolumeConfig.model_validate(filled.model_dump(mode="json")) == filled
    assert VolumeWindows(filled).input_shape[0] == 1


@pytest.mark.parametrize(
    ("cases", "batch", "accumulate", "regions"),
    [
        (125, 2, 1, 4),  # 500 patches: exactly 250 steps
        (148, 2, 1, 3),  # 222 steps
        (148, 10, 1, 17),  # slices
        (125, 2, 2, 8),  # a step takes two batches
        (4, 2, 1, 125),  # few cases: each gives many patches
        (2000, 2, 1, 1),  # many: each is seen
    ],
)
def test_an_epoch_has_about_250_steps_whatever_the_number_of_cases(
    cases: int, batch: int, accumulate: int, regions: int
) -> None:
    wishes = config().model_copy(update={"trainer": TrainerConfig(batch_size=batch, accumulate=accumulate)})
    assert fill_epoch(wishes, cases=cases).data.regions_per_case == regions
    assert fill_epoch(config(regions_per_case=7), cases=cases).data.regions_per_case == 7


def test_an_epoch_is_told_in_words() -> None:
    """Four patches of each of 125 cases are 500: 250 pairs, 167 triples, which are 84 pairs of triples."""
    for batch, accumulate, steps in ((2, 1, 250), (3, 1, 167), (3, 2, 84)):
        trainer = TrainerConfig(batch_size=batch, accumulate=accumulate)
        told = epoch_reason(config(regions_per_case=4).model_copy(update={"trainer": trainer}), cases=125)
        assert f"4 patches of each of 125 cases: {steps} steps" in told


def test_an_epochs_length_follows_from_the_planned_batch_and_the_training_cases(dataset: Dataset) -> None:
    memory, manifest, split = dataset
    filled = configure(config(), manifest, split, reader=memory)
    assert filled.data.regions_per_case == 83  # 500 patches of 6 cases
    assert example(config()).data.regions_per_case == 1


def test_other_networks_keep_their_batch(dataset: Dataset) -> None:
    """The plan knows the memory of the networks it plans stage by stage only."""
    memory, manifest, split = dataset
    wishes = config(spatial_dims=2).model_copy(update={"model": HiFormerConfig()})
    filled = configure(wishes, manifest, split, reader=memory)
    assert filled.data.patch == (1, 20, 20)
    assert filled.trainer.batch_size == wishes.trainer.batch_size


def test_other_targets_and_empty_splits_are_refused(dataset: Dataset) -> None:
    memory, manifest, split = dataset
    nobody = Split({case.id: "test" for case in manifest.cases}, split.groups)
    with pytest.raises(DataError, match="no training case"):
        configure(config(), manifest, nobody, reader=memory)
    with pytest.raises(TypeError, match="VolumeDataConfig"):
        configure(RunConfig(pipeline="sound", preset="crnn"), manifest, split, reader=memory)


def test_the_page_shows_fingerprint_plan_and_why(dataset: Dataset) -> None:
    memory, manifest, split = dataset
    plan = plan_volumes(config(), manifest, split, reader=memory)
    losses = [Loss("case_1", "lesion", 1, 1), Loss("case_2", "organ", 5, 2)]
    page = explain(plan, losses=losses, measured=Measured(1.5, 2 * 10**9))
    for text in (
        "Fingerprint of 6 training cases",
        "16 x 18 x 20",
        "organ   6      504",
        "patch, voxels              16 x 20 x 20",
        "clipped to",
        "lesion in case_1: all of it",
        "organ in case_2: 2 of 5 parts",
        "1.5 s, 2 GB",
        "order of axes              RAS",
    ):
        assert text in page
    assert "every part of every class survives" in explain(plan, losses=[])
    assert max(len(line) for line in page.splitlines()) < 200
