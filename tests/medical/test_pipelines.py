"""The pipelines as data: one protocol for all networks, and what a clinic's files look like."""

from __future__ import annotations

from typing import Any

import pytest

from tessera.core.config import validate
from tessera.core.pipeline import Pipeline, get, resolve
from tessera.medical.pipelines import AIRWAY, PIPELINES, VOLUMES
from tessera.medical.volume_files import SUFFIXES

STAGED = ("unet", "resenc", "umamba-bot", "umamba-enc", "no-mamba")


def sections(pipeline: Pipeline, preset: str, *, without: tuple[str, ...]) -> dict[str, Any]:
    values = pipeline.preset_values(preset)
    return {name: value for name, value in values.items() if name not in ("preset", *without)}


def test_both_are_found_by_their_names() -> None:
    assert [get(pipeline.name) for pipeline in PIPELINES] == [VOLUMES, AIRWAY]
    assert {pipeline.domain for pipeline in PIPELINES} == {"medical"}


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda p: p.name)
def test_every_file_the_reader_opens_is_promised(pipeline: Pipeline) -> None:
    assert set(pipeline.inputs.suffixes) == {*SUFFIXES, ".dcm"}
    assert "No medical device" in pipeline.limits


def test_networks_of_stages_are_compared_under_one_protocol() -> None:
    """Data, optimiser and length are the same, so that a difference is the network's."""
    first, *others = (sections(VOLUMES, preset, without=("model",)) for preset in STAGED)
    assert all(other == first for other in others)


def test_the_twin_without_mamba_is_one_line_away() -> None:
    bottleneck, none = (sections(VOLUMES, preset, without=()) for preset in ("umamba-bot", "no-mamba"))
    assert bottleneck["model"] == {"kind": "u-mamba", "mamba": "bottleneck"}
    assert none == bottleneck | {"model": bottleneck["model"] | {"mamba": "none"}}


def test_networks_for_airways_are_compared_under_one_protocol() -> None:
    """What Qin's networks are told beside the scan belongs to them."""
    found = []
    for preset in ("airwaynet", "tubule", "unet"):
        values = sections(AIRWAY, preset, without=("model",))
        told = ("depth", "coordinates")
        values["data"] = {name: value for name, value in values["data"].items() if name not in told}
        found.append(values)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("preset", "told"),
    [("airwaynet", (True, True)), ("tubule", (False, True)), ("unet", (False, False))],
)
def test_each_network_for_airways_is_told_what_its_paper_says(preset: str, told: tuple[bool, bool]) -> None:
    config = validate(AIRWAY.resolve("config"), AIRWAY.preset_values(preset), source=preset)
    assert (config.data.depth, config.data.coordinates) == told


def test_what_is_null_is_left_to_the_data() -> None:
    for preset in STAGED:
        config = validate(VOLUMES.resolve("config"), VOLUMES.preset_values(preset), source=preset)
        assert (config.data.spacing_mm, config.data.patch, config.data.normalisation) == (None, None, None)
        assert (config.model.features, config.model.strides, config.model.kernels) == (None, None, None)


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda p: p.name)
def test_everything_it_names_is_there(pipeline: Pipeline) -> None:
    for attribute in ("pairs", "configure", "example", "explain", "scores"):
        assert callable(pipeline.resolve(attribute))
    assert {name: resolve(reference).__name__ for name, reference in pipeline.simulators.items()} == {
        "airway": "simulate_airway",
        "airway-small": "simulate_small_airway",
    }
