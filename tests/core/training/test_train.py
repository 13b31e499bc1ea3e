"""A whole run: what it leaves behind when it is stopped, and how it goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tessera.core import pipeline as pipelines
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split
from tessera.core.pipeline import Pipeline
from tessera.core.run_config import RunConfig
from tessera.core.testing import contract, synthetic
from tessera.core.training.run_folder import CONFIG
from tessera.core.training.train import PLAN_FILE, SUMMARY_FILE, Plan, read_plan, train_one


class StoppedError(Exception):
    """Stands for a kill."""


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr(pipelines, "discover", lambda: {"synthetic": synthetic.SYNTHETIC})
    manifest = synthetic.synthetic_manifest(12)
    monkeypatch.setattr(Manifest, "load", staticmethod(lambda name: manifest))
    return synthetic.SYNTHETIC


def test_a_run_stopped_while_it_trains_is_resumed_by_its_folder_alone(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    config = contract.load_preset(pipeline, "smoke", trainer={"max_epochs": 2}, data={"cache": False})
    plan = Plan(config=config, data="synthetic", fold="2", n_folds=3)

    def stop(done: int, total: int, what: str) -> None:
        if what.startswith("epoch 2"):
            raise StoppedError

    with pytest.raises(StoppedError):
        train_one(plan, pipeline, out=tmp_path / "run", progress=stop)
    again = read_plan(tmp_path / "run", pipeline)
    assert (again.data, again.fold, again.n_folds) == ("synthetic", "2", 3)
    train_one(again, pipeline, out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / SUMMARY_FILE).is_file()


def test_a_run_whose_settings_follow_from_the_data_goes_on_by_the_config_it_was_asked_for(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a study does: it knows what it asks for, not what was planned then."""

    def planned(config: RunConfig, manifest: Manifest, split: Split) -> RunConfig:
        size = len(split.cases(manifest.cases, "train")) // 2
        trainer = config.trainer.model_copy(update={"batch_size": size})
        return config.model_copy(update={"trainer": trainer})

    monkeypatch.setattr(synthetic, "planned", planned, raising=False)
    planning = replace(pipeline, configure="tessera.core.testing.synthetic:planned")
    config = contract.load_preset(planning, "smoke", trainer={"max_epochs": 2}, data={"cache": False})
    plan = Plan(config=config, data="synthetic", fold="2", n_folds=3)

    def stop(done: int, total: int, what: str) -> None:
        if what.startswith("epoch 2"):
            raise StoppedError

    with pytest.raises(StoppedError):
        train_one(plan, planning, out=tmp_path / "run", progress=stop)
    assert read_plan(tmp_path / "run", planning).config.trainer.batch_size != config.trainer.batch_size
    train_one(plan, planning, out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / SUMMARY_FILE).is_file()


def test_a_folder_of_another_run_gets_no_plan(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text("pipeline: synthetic\n")
    config = contract.load_preset(pipeline, "smoke", trainer={"max_epochs": 1}, data={"cache": False})
    with pytest.raises(Exception, match="already holds a run"):
        train_one(Plan(config=config, data="synthetic", fold="1", n_folds=3), pipeline, out=tmp_path)
    assert not (tmp_path / PLAN_FILE).exists()
