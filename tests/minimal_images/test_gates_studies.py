"""The studies of gates leave no plug out and differ from the plain host in that one field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tessera.core import pipeline as pipelines
from tessera.core.backbone_config import PLUG_NAMES
from tessera.core.pipeline import Pipeline
from tessera.core.testing import contract
from tessera.core.training.study_config import StudyConfig, arm_config, load_study

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture(params=["gates-images", "gates-esc10"])
def study(request: pytest.FixtureRequest, images: Pipeline) -> StudyConfig:
    return load_study(STUDIES / f"{request.param}.yaml")


def flat(values: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {path: values}
    below = [flat(value, f"{path}.{key}".lstrip(".")) for key, value in values.items() if key != "kind"]
    own = {f"{path}.kind": values["kind"]} if "kind" in values else {}
    return {name: value for part in (own, *below) for name, value in part.items()}


def test_every_gate_and_every_downsampling_has_an_arm(study: StudyConfig) -> None:
    labels = {arm.label for arm in study.arms}
    wanted = {f"gate-{name}" for name in PLUG_NAMES["gate"]} | {f"down-{name}" for name in PLUG_NAMES["down"]}
    wanted -= {"gate-identity"} | ({"down-log_polar"} if study.pipeline == "sound" else set())
    assert labels == wanted | {"plain"}
    assert study.reference == "plain"


def test_an_arm_differs_from_the_plain_host_by_its_plug_alone(study: StudyConfig) -> None:
    plain = flat(arm_config(study, study.arms[0], seed=1).model_dump(mode="json"))
    for arm in study.arms[1:]:
        config = arm_config(study, arm, seed=1)
        slot, _, plug = arm.label.partition("-")
        field = "input_map" if plug == "log_polar" else slot
        assert getattr(config.model.encoder, field).kind == plug  # type: ignore[attr-defined]
        values = flat(config.model_dump(mode="json"))
        changed = {name for name in {*plain, *values} if plain.get(name) != values.get(name)}
        assert {name for name in changed if not name.startswith(f"model.encoder.{field}")} == set()


def test_no_run_looks_at_its_test_fold(study: StudyConfig) -> None:
    config = arm_config(study, study.arms[0], seed=1)
    assert config.data.val_fraction == 0
    assert config.trainer.keep == "last"
    assert config.trainer.patience is None


def test_a_gradient_reaches_every_parameter_of_every_arm(study: StudyConfig) -> None:
    pipeline = pipelines.get(study.pipeline)
    for arm in study.arms:
        contract.check_gradients(pipeline, arm_config(study, arm, seed=1))
