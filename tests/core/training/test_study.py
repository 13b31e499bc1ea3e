"""Studies: how arms become configs, and how finished runs become a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tessera.core import pipeline as pipelines
from tessera.core.data.manifest import Manifest
from tessera.core.errors import ConfigError
from tessera.core.evaluation import ClassPredictions, write_predictions
from tessera.core.testing import synthetic
from tessera.core.training.study import (
    Arm,
    StudyConfig,
    arm_config,
    load_study,
    markdown,
    run_study,
    table,
)
from tessera.core.training.study_table import to_csv

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
    assert f"| smoke | {rows[0].metrics['accuracy']} | reference | 1 | 2 |" in markdown(study, rows)
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


# ---------------------------------------------------------------- ensembles


def with_ensemble(study: StudyConfig, **options: Any) -> StudyConfig:
    arm = Arm(ensemble=("smoke", "other"), **options)
    return study.model_copy(update={"arms": (*study.arms, arm)})


def said(out: Path, arm: str, fold: str, probabilities: Mapping[str, list[float]]) -> None:
    """A finished run that says these probabilities of cases whose class is the first."""
    finished(out, arm, fold, dict.fromkeys(probabilities, True))
    predictions = ClassPredictions(
        list(probabilities),
        list(probabilities),
        np.zeros(len(probabilities), dtype=np.int64),
        np.array(list(probabilities.values())),
        CLASSES,
        fold=[fold] * len(probabilities),
    )
    write_predictions(predictions, out / arm / f"fold-{fold}-seed-0" / "predictions.csv")


def test_an_ensemble_pools_its_arms_and_is_compared_with_each(study: StudyConfig, tmp_path: Path) -> None:
    """Of x and y each arm knows one, of z none; together they know x and y. Fold 2 has one arm only."""
    sure, wrong, unsure = [0.8, 0.2, 0.0], [0.1, 0.5, 0.4], [0.3, 0.7, 0.0]
    said(tmp_path, "smoke", "1", {"x": sure, "y": unsure, "z": wrong})
    said(tmp_path, "other", "1", {"x": unsure, "y": sure, "z": wrong})
    said(tmp_path, "smoke", "2", {"w": sure})
    rows = table(with_ensemble(study), out=tmp_path, folds=("1", "2"))
    ensemble = rows[-1]
    assert (ensemble.arm, ensemble.n, ensemble.folds) == ("ensemble", 3, ("1",))
    assert ensemble.metrics["accuracy"].startswith("0.667 [")
    assert ensemble.difference.startswith("+0.333 [")
    assert list(ensemble.to_members) == ["smoke", "other"]
    assert all(text.startswith("+0.333 [") for text in ensemble.to_members.values())
    assert all(text.endswith("n = 3") for text in ensemble.to_members.values())
    assert (ensemble.seconds, ensemble.parameters) == (30.0, 14)
    text = markdown(with_ensemble(study), rows)
    assert f"| ensemble | other | {ensemble.to_members['other']} |" in text
    read = list(csv.DictReader(io.StringIO(to_csv(rows))))[-1]
    assert read["to_members"].startswith("smoke: +0.333")


def test_weights_of_an_ensemble_decide(study: StudyConfig, tmp_path: Path) -> None:
    said(tmp_path, "smoke", "1", {"x": [0.8, 0.2, 0.0], "y": [0.8, 0.2, 0.0]})
    said(tmp_path, "other", "1", {"x": [0.1, 0.9, 0.0], "y": [0.1, 0.9, 0.0]})
    for weights, accuracy in (((3, 1), "1.000"), ((1, 3), "0.000")):
        row = table(with_ensemble(study, weights=weights), out=tmp_path, folds=("1",))[-1]
        assert row.metrics["accuracy"].startswith(accuracy)


def test_an_ensemble_waits_for_all_its_arms(study: StudyConfig, tmp_path: Path) -> None:
    finished(tmp_path, "smoke", "1", {"a": True, "b": False})
    (row,) = table(with_ensemble(study), out=tmp_path, folds=("1",))
    assert row.arm == "smoke"


def test_an_ensemble_that_cannot_be_fused_yet_is_left_out_with_the_cause(
    study: StudyConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for arm in ("smoke", "other"):
        finished(tmp_path, arm, "1", {"a": True, "b": False})
    rows = table(with_ensemble(study, fusion="learned"), out=tmp_path, folds=("1",))
    assert [row.arm for row in rows] == ["smoke", "other"]
    assert "two folds or more" in caplog.text


def test_an_ensemble_trains_nothing(
    study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Path] = []

    def train(plan: object, pipeline: object, *, out: Path, **options: object) -> None:
        trained.append(out)
        finished(
            tmp_path, out.parent.name, out.name.split("-")[1], {f"{out.name}-a": True, f"{out.name}-b": False}
        )

    monkeypatch.setattr("tessera.core.training.study.train_one", train)
    rows = run_study(with_ensemble(study), out=tmp_path)
    assert [folder.parent.name for folder in trained] == ["smoke", "smoke", "other"]
    assert [row.arm for row in rows] == ["smoke", "other", "ensemble"]
    assert "| ensemble |" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ("arms: [{preset: a}, {ensemble: [a, b]}]", "names what is no arm with a preset"),
        ("arms: [{preset: a}, {ensemble: [a], name: e}, {ensemble: [e]}]", "names what is no arm"),
        ("arms: [{preset: a}, {preset: b, ensemble: [a]}]", "a preset, or the names of arms"),
        ("arms: [{name: a}]", "a preset, or the names of arms"),
        ("arms: [{preset: a}, {ensemble: [a], set: {seed: 1}}]", "no fields and folds of its own"),
        ("arms: [{preset: a}, {ensemble: [a], weights: [1, 2]}]", "2 weights for an ensemble of 1"),
        ("arms: [{preset: a}, {ensemble: [a], weights: [1], fusion: max}]", "shares of fusion: mean"),
    ],
)
def test_an_ensemble_that_makes_no_sense_is_refused(tmp_path: Path, lines: str, wanted: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f"id: x\ntitle: y\npipeline: sound\ndata: d\n{lines}\n")
    with pytest.raises(ConfigError, match=wanted):
        load_study(file)
