"""Studies: how arms become configs, and how finished runs become a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tessera.core import pipeline as pipelines
from tessera.core.data.manifest import Manifest
from tessera.core.errors import ConfigError
from tessera.core.evaluation import ClassPredictions, write_predictions
from tessera.core.testing import synthetic
from tessera.core.training.study import Arm, StudyConfig, arm_config, load_study, table, to_csv, to_markdown

CLASSES = synthetic.CLASSES


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> StudyConfig:
    monkeypatch.setattr(pipelines, "discover", lambda: {"synthetic": synthetic.SYNTHETIC})
    manifest = synthetic.synthetic_manifest(12)
    monkeypatch.setattr(Manifest, "load", staticmethod(lambda name: manifest))
    return StudyConfig(
        id="s",
        title="Two arms",
        pipeline="synthetic",
        data="synthetic",
        folds=("1", "2"),
        set={"optim.lr": 0.5, "trainer": {"max_epochs": 3}},
        arms=(Arm(preset="smoke"), Arm(preset="smoke", name="other", set={"optim.lr": 0.25}, folds=("1",))),
    )


def finished(out: Path, arm: str, fold: str, right: Mapping[str, bool]) -> None:
    """A finished run whose predictions are right where asked."""
    folder = out / arm / f"fold-{fold}-seed-0"
    folder.mkdir(parents=True)
    target = np.zeros(len(right), dtype=np.int64)
    answer = np.where(list(right.values()), 0, 1)
    predictions = ClassPredictions(
        list(right), list(right), target, 0.7 * np.eye(3)[answer] + 0.1, CLASSES, fold=[fold] * len(right)
    )
    write_predictions(predictions, folder / "predictions.csv")
    (folder / "summary.json").write_text(json.dumps({"seconds": 10.0, "parameters": 7}))


def test_an_arms_changes_win_over_the_studys_which_win_over_the_presets(study: StudyConfig) -> None:
    first, second = (arm_config(study, arm, seed=4) for arm in study.arms)
    assert (first.optim.lr, second.optim.lr) == (0.5, 0.25)
    assert first.trainer.max_epochs == second.trainer.max_epochs == 3
    assert first.seed == 4


def test_a_change_that_names_no_field_is_refused_with_the_arms_name(study: StudyConfig) -> None:
    with pytest.raises(ConfigError, match="arm other"):
        arm_config(study, Arm(preset="smoke", name="other", set={"optim.speed": 1}), seed=0)


def test_the_table_pools_folds_and_pairs_the_cases_both_arms_have(study: StudyConfig, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    finished(out, "smoke", "1", {"a": True, "b": True, "c": True, "d": False})
    finished(out, "smoke", "2", {"e": True, "f": False, "g": False, "h": False})
    finished(out, "other", "1", {"a": True, "b": False, "c": False, "d": False})
    first, second = table(study, out=out, folds=("1", "2"))
    assert (first.n, second.n) == (8, 4)
    assert first.metrics["accuracy"].startswith("0.500 [")  # 4 of 8
    assert second.metrics["accuracy"].startswith("0.250 [")
    assert first.difference == "reference"
    assert second.difference.startswith("-0.500 [")  # 1 - 3 right of the four common cases
    assert second.difference.endswith("n = 4")
    assert (first.seconds, second.seconds) == (20.0, 10.0)


def test_arms_without_a_finished_run_are_left_out(study: StudyConfig, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    finished(out, "other", "1", {"a": True, "b": False})
    (row,) = table(study, out=out, folds=("1", "2"))
    assert row.arm == "other"
    assert row.difference == "no reference yet"


def test_markdown_and_csv_carry_the_same_rows(study: StudyConfig, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    finished(out, "smoke", "1", {"a": True, "b": False})
    rows = table(study, out=out, folds=("1", "2"))
    assert f"| smoke | {rows[0].metrics['accuracy']} | reference | 1 | 2 |" in to_markdown(study, rows)
    (read,) = csv.DictReader(io.StringIO(to_csv(rows)))
    assert read["arm"] == "smoke"
    assert read["accuracy"] == rows[0].metrics["accuracy"]


def test_an_unknown_metric_names_the_known_ones(study: StudyConfig, tmp_path: Path) -> None:
    finished(tmp_path, "smoke", "1", {"a": True, "b": False})
    with pytest.raises(ConfigError, match="balanced_accuracy"):
        table(study.model_copy(update={"metric": "speed"}), out=tmp_path, folds=("1",))


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ("arms: [{preset: a}, {preset: a}]", "the same name"),
        ("arms: [{preset: a}]\nreference: b", "no arm"),
        ("arms: []", "arms"),
        ("arms: [{preset: a, folds: [1], colour: red}]", "colour"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(tmp_path: Path, lines: str, wanted: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f"id: x\ntitle: y\npipeline: sound\ndata: d\n{lines}\n")
    with pytest.raises(ConfigError, match=wanted):
        load_study(file)
