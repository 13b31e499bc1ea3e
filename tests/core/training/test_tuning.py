"""A choice among candidates sees nothing of the fold it is made for."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tessera.core import pipeline as pipelines
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split
from tessera.core.errors import ConfigError
from tessera.core.testing import synthetic
from tessera.core.training.study import markdown, run_study
from tessera.core.training.study_config import Arm, StudyConfig, arm_configs
from tessera.core.training.tuning import Choice, best, choose


@pytest.fixture
def manifest(monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.setattr(pipelines, "discover", lambda: {"synthetic": synthetic.SYNTHETIC})
    manifest = synthetic.synthetic_manifest(30)
    monkeypatch.setattr(Manifest, "load", staticmethod(lambda name: manifest))
    return manifest


def study(**changes: object) -> StudyConfig:
    arm = Arm(
        preset="smoke",
        name="tuned",
        folds=("1",),
        tune=({"optim.lr": 1e-9}, {"optim.lr": 3e-2}),
    )
    values = {
        "id": "s",
        "title": "A choice",
        "pipeline": "synthetic",
        "data": "synthetic",
        "n_folds": 3,
        "set": {"trainer.max_epochs": 4, "data.val_fraction": 0.0, "data.cache": False},
        "arms": (arm,),
    }
    return StudyConfig(**{**values, **changes})


def test_the_better_candidate_is_trained_and_the_outer_fold_is_never_seen(
    manifest: Manifest, tmp_path: Path
) -> None:
    rows = run_study(study(), out=tmp_path)
    outer = Split.read(tmp_path / "tuned" / "fold-1-seed-0" / "splits.csv")
    held_out = {case.id for case in outer.cases(manifest.cases, "test")}
    inner = sorted((tmp_path / "tuned" / "fold-1-seed-0-tuning").glob("*/fold-*/splits.csv"))
    assert len(inner) == 2 * 3
    tested: set[str] = set()
    for file in inner:
        roles = Split.read(file).roles
        assert not held_out & {case for case, role in roles.items() if role != "unused"}
        tested |= {case for case, role in roles.items() if role == "test"}
    assert tested == {case.id for case in manifest.cases} - held_out
    choice = Choice.read(tmp_path / "tuned" / "fold-1-seed-0-tuning")
    assert choice.chosen == 1
    assert choice.values[1] > choice.values[0]
    config = (tmp_path / "tuned" / "fold-1-seed-0" / "config.yaml").read_text()
    assert "lr: 0.03" in config
    assert "candidate 1 (optim.lr=0.03)" in markdown(study(), rows)


def test_a_finished_choice_is_not_made_again(manifest: Manifest, tmp_path: Path) -> None:
    run_study(study(inner_folds=1), out=tmp_path)
    said: list[str] = []
    run_study(study(inner_folds=1), out=tmp_path, say=said.append)
    assert not said


def test_an_unknown_metric_names_the_known_ones(manifest: Manifest, tmp_path: Path) -> None:
    configs = arm_configs(study(), study().arms[0], seed=0)
    with pytest.raises(ConfigError, match="no metric 'dice'"):
        choose(
            configs,
            pipelines.get("synthetic"),
            data="synthetic",
            fold="1",
            metric="dice",
            out=tmp_path,
            n_folds=3,
            most_folds=1,
        )


@pytest.mark.parametrize(
    ("values", "metric", "place"),
    [((0.2, 0.8, 0.8), "accuracy", 1), ((0.2, 0.8), "mae", 0), ((math.nan, 0.1), "accuracy", 1)],
)
def test_the_best_is_the_first_of_the_best_in_the_metrics_direction(
    values: tuple[float, ...], metric: str, place: int
) -> None:
    assert best(values, metric) == place


def test_one_candidate_is_no_choice() -> None:
    with pytest.raises(ValueError, match="two candidates"):
        Arm(preset="smoke", tune=({},))
