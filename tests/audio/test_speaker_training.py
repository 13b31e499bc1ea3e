"""Speakers learnt with an angular margin, through the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tessera.audio.simulate import simulate_voices
from tessera.core.config import load_yaml, merge, validate
from tessera.core.data.manifest import Manifest
from tessera.core.errors import ConfigError
from tessera.core.pipeline import get
from tessera.core.training.history import read_metrics
from tessera.core.training.study_config import arm_config, load_study
from tessera.core.training.train import Plan, train_one

STUDY = Path(__file__).parents[2] / "studies" / "fsdd-speakers.yaml"
SMALL: dict[str, Any] = {"speakers": 3, "sample_rate_hz": 8000, "vowels": 2}


@pytest.fixture
def voices(tmp_path: Path) -> Manifest:
    return simulate_voices(tmp_path / "voices", n=30, seed=0, values=SMALL)


def plan(data: Manifest, **changes: Any) -> Plan:
    speaker = get("speaker")
    values, _ = merge(speaker.preset_values("smoke"), {"trainer": {"max_epochs": 3}, **changes})
    config = validate(speaker.resolve("config"), values, source="test")
    return Plan(config=config, data=str(data.folder), fold="1")


@pytest.mark.slow
def test_a_run_with_the_margin_learns_and_says_so(voices: Manifest, tmp_path: Path) -> None:
    losses = {}
    for name in ("likelihood", "margin"):
        out = tmp_path / name
        train_one(plan(voices, task={"loss": name}), get("speaker"), out=out)
        assert load_yaml(out / "config.yaml")["task"]["loss"]["kind"] == name
        rows = read_metrics(out / "metrics.csv")
        losses[name] = [float(row["train_loss"] or 0) for row in rows]
        assert losses[name][-1] < losses[name][0]
    assert losses["margin"][0] > losses["likelihood"][0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"cosine_scale": None}}, "tells classes apart by angles"),
        ({"model": {"kind": "crnn", "pools": [[2, 2], [2, 2], [2, 2], [2, 2]]}}, r"found: +CRNN"),
    ],
)
def test_a_network_without_angles_is_refused_before_anything_is_written(
    voices: Manifest, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match=words):
        train_one(plan(voices, task={"loss": "margin"}, **changes), get("speaker"), out=out)
    assert not (out / "config.yaml").exists()


def test_the_papers_preset_has_the_papers_margin_and_scale() -> None:
    speaker = get("speaker")
    config = validate(speaker.resolve("config"), speaker.preset_values("tdnn"), source="test")
    assert (config.task.loss.kind, config.task.loss.margin) == ("margin", 0.2)
    assert config.model.cosine_scale == 30.0


def test_the_study_of_speakers_compares_losses_on_voices_alone() -> None:
    study = load_study(STUDY)
    arms = {arm.label: arm_config(study, arm, seed=0) for arm in study.arms}
    assert {name: arm.task.loss.kind for name, arm in arms.items()} == {
        "cosine": "likelihood",
        "margin": "margin",
        "margin-fine": "margin",
    }
    assert {arm.data.target for arm in arms.values()} == {"speaker"}
