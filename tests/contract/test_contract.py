from __future__ import annotations

from pathlib import Path

import pytest

from tessera.core.pipeline import Pipeline, discover
from tessera.core.run_config import RunConfig
from tessera.core.testing import contract
from tessera.core.testing.synthetic import SYNTHETIC, synthetic_cases

LARGE = 250_000  # numbers in one input; more take seconds a row on one core

PIPELINES = (*discover().values(), SYNTHETIC)
PRESETS = [(p, preset) for p in PIPELINES for preset in p.presets]
DOMAINS = sorted({p.domain for p in PIPELINES})

every_pipeline = pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda p: p.name)
every_preset = pytest.mark.parametrize(
    ("pipeline", "preset"), PRESETS, ids=[f"{p.name}.{preset}" for p, preset in PRESETS]
)
# a simulator <name>-small writes the same files as <name> in seconds, and stands for it here
SIMULATORS = [(p, name) for p in PIPELINES for name in p.simulators if f"{name}-small" not in p.simulators]
every_simulator = pytest.mark.parametrize(
    ("pipeline", "simulator"), SIMULATORS, ids=[f"{p.name}.{name}" for p, name in SIMULATORS]
)


def small_and_large() -> list[object]:
    found: list[object] = []
    for pipeline, preset in PRESETS:
        config = contract.load_preset(pipeline, preset)
        numbers = 1
        for size in pipeline.resolve("windows")(config).input_shape:
            numbers *= size
        marks = [pytest.mark.slow] if numbers > LARGE else []
        found.append(pytest.param(pipeline, config, id=f"{pipeline.name}.{preset}", marks=marks))
    return found


every_network = pytest.mark.parametrize(("pipeline", "config"), small_and_large())


def test_a_pipeline_is_installed() -> None:
    assert [p.name for p in PIPELINES if p is not SYNTHETIC]


@every_pipeline
def test_a_pipeline_says_what_it_is_and_its_references_resolve(pipeline: Pipeline) -> None:
    contract.check_pipeline(pipeline)


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_preset_and_no_model_escapes(domain: str) -> None:
    contract.check_nothing_escapes([p for p in PIPELINES if p.domain == domain])


@pytest.mark.parametrize("name", [name for p in PIPELINES for name in p.manifests])
def test_a_shipped_manifest_loads(name: str) -> None:
    contract.check_manifest(name)


@every_preset
def test_a_preset_builds_every_part(pipeline: Pipeline, preset: str) -> None:
    contract.check_preset(pipeline, preset)


@every_network
def test_a_network_answers_row_by_row_and_again(pipeline: Pipeline, config: RunConfig) -> None:
    contract.check_network(pipeline, config)


@every_network
def test_a_gradient_reaches_every_parameter(pipeline: Pipeline, config: RunConfig) -> None:
    contract.check_gradients(pipeline, config)


@every_network
def test_weights_survive_a_round_trip(pipeline: Pipeline, config: RunConfig) -> None:
    contract.check_state_dict(pipeline, config)


@pytest.mark.slow
@every_network
def test_a_network_can_be_exported(pipeline: Pipeline, config: RunConfig) -> None:
    contract.check_export(pipeline, config)


@every_network
def test_random_changes_depend_on_their_generator_alone(pipeline: Pipeline, config: RunConfig) -> None:
    contract.check_transforms(pipeline, config)


@every_simulator
def test_a_simulator_repeats_and_its_cases_can_be_read_and_written(
    pipeline: Pipeline, simulator: str, tmp_path: Path
) -> None:
    manifest = contract.check_simulator(pipeline, simulator, tmp_path / "sets")
    for preset in ("smoke", pipeline.presets[0]):
        config = contract.load_preset(pipeline, preset)
        contract.check_reading(pipeline, config, manifest.cases)
        contract.check_writing(pipeline, config, manifest.cases, tmp_path / preset)
        found = list(pipeline.resolve("reader")(config).find(manifest.folder))
        assert [case.id for case in found] == sorted(case.id for case in found)
        assert len(found) >= len(manifest.cases)


@every_simulator
def test_a_simulated_case_can_be_drawn(pipeline: Pipeline, simulator: str, tmp_path: Path) -> None:
    manifest = contract.check_simulator(pipeline, simulator, tmp_path, n=2)
    config = contract.load_preset(pipeline, "smoke")
    media = pipeline.resolve("figures")(config).draw(manifest.cases[0])
    assert media.images
    assert all(title and png.startswith(b"\x89PNG") for title, png in media.images)


def test_the_synthetic_pipeline_reads_and_writes(tmp_path: Path) -> None:
    config = contract.load_preset(SYNTHETIC, "smoke")
    contract.check_reading(SYNTHETIC, config, synthetic_cases(3))
    contract.check_writing(SYNTHETIC, config, synthetic_cases(3), tmp_path)


@pytest.mark.slow
@every_simulator
def test_the_smoke_preset_trains_on_simulated_cases(
    pipeline: Pipeline, simulator: str, tmp_path: Path
) -> None:
    contract.check_training(pipeline, simulator, tmp_path)
