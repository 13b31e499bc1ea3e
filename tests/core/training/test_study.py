"""Studies: how arms become configs, and how finished runs become a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tessera.core import pipeline as pipelines
from tessera.core.data.manifest import Manifest
from tessera.core.errors import ConfigError
from tessera.core.evaluation import ClassPredictions, write_predictions
from tessera.core.testing import synthetic
from tessera.core.training.study import markdown, run_study, table
from tessera.core.training.study_config import Arm, StudyConfig, arm_config, load_study
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


def test_further_metrics_are_shown_with_their_differences_to_the_reference_and_to_a_twin(
    study: StudyConfig, tmp_path: Path
) -> None:
    """All cases are of one class: its share that is right is the accuracy and the balanced accuracy."""
    twin = Arm(preset="smoke", name="twin", compare_with=("other",))
    study = study.model_copy(update={"arms": (*study.arms, twin), "columns": ("balanced_accuracy",)})
    finished(tmp_path, "smoke", "1", {"a": True, "b": True, "c": True, "d": True})
    finished(tmp_path, "twin", "1", {"a": True, "b": True, "c": False, "d": False})
    first, last = table(study, out=tmp_path, folds=("1",))
    assert first.to_others == {}
    assert list(last.to_others) == ["smoke"]  # other has no finished run
    finished(tmp_path, "other", "1", {"a": True, "b": False, "c": False, "d": False})
    rows = table(study, out=tmp_path, folds=("1",))
    found = rows[-1].to_others
    assert list(found) == ["smoke", "other"]
    assert list(found["other"]) == ["accuracy", "balanced_accuracy"]
    assert all(text.startswith("-0.500 [") for text in found["smoke"].values())
    assert all(text.startswith("+0.250 [") for text in found["other"].values())
    lines = markdown(study, rows).splitlines()
    assert f"| twin | {rows[-1].metrics['balanced_accuracy']} |" in lines
    assert f"| twin | other | {' | '.join(found['other'].values())} |" in lines
    assert len({line.count("|") for line in lines[-4:]}) == 1, "the heads fit the cells"
    read = list(csv.DictReader(io.StringIO(to_csv(rows))))[-1]
    assert "other, balanced_accuracy: +0.250" in read["to_others"]


def test_a_table_of_one_metric_has_no_empty_tables(study: StudyConfig, tmp_path: Path) -> None:
    finished(tmp_path, "smoke", "1", {"a": True, "b": False})
    finished(tmp_path, "other", "1", {"a": True, "b": False})
    text = markdown(study, table(study, out=tmp_path, folds=("1",)))
    assert text.count("| arm |") == 1


def test_an_unknown_metric_names_the_known_ones(study: StudyConfig, tmp_path: Path) -> None:
    finished(tmp_path, "smoke", "1", {"a": True, "b": False})
    with pytest.raises(ConfigError, match="balanced_accuracy"):
        table(study.model_copy(update={"metric": "speed"}), out=tmp_path, folds=("1",))
    with pytest.raises(ConfigError, match=r"'speed'(?s:.*)balanced_accuracy"):
        table(study.model_copy(update={"columns": ("speed",)}), out=tmp_path, folds=("1",))


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ("arms: [{preset: a}, {preset: a}]", "the same name"),
        ("arms: [{preset: a}]\nreference: b", "no arm"),
        ("arms: []", "arms"),
        ("arms: [{preset: a, folds: [1], colour: red}]", "colour"),
        ("arms: [{preset: a, compare_with: [b]}]", "no other arm"),
        ("arms: [{preset: a, compare_with: [a]}, {preset: b}]", "no other arm"),
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
    assert list(ensemble.to_others) == ["smoke", "other"]
    assert all(found["accuracy"].startswith("+0.333 [") for found in ensemble.to_others.values())
    assert all(found["accuracy"].endswith("n = 3") for found in ensemble.to_others.values())
    assert (ensemble.seconds, ensemble.parameters) == (30.0, 14)
    text = markdown(with_ensemble(study), rows)
    assert f"| ensemble | other | {ensemble.to_others['other']['accuracy']} |" in text
    read = list(csv.DictReader(io.StringIO(to_csv(rows))))[-1]
    assert read["to_others"].startswith("smoke, accuracy: +0.333")


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
        ("arms: [{preset: a}, {preset: b, ensemble: [a]}]", "a preset, a rival, or the names of arms"),
        ("arms: [{name: a}]", "a preset, a rival, or the names of arms"),
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


def write_rival(
    name: str, manifest: Manifest, reader: object, *, out: Path, fold: str, **options: Any
) -> None:
    """A rival that is always right; it leaves a note of what it was called with."""
    del reader
    cases = [case.id for case in manifest.cases if case.split == fold]
    finished(out.parents[1], out.parent.name, fold, dict.fromkeys(cases, True))
    note = {key: str(value) for key, value in {"name": name, **options}.items()}
    (out / "note.json").write_text(json.dumps(note))


def test_a_rival_without_a_network_is_an_arm_like_any_other(
    study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = replace(synthetic.SYNTHETIC, rivals="tests.core.training.test_study:write_rival")
    monkeypatch.setattr(pipelines, "discover", lambda: {"synthetic": rivals})
    arms = (Arm(preset="smoke"), Arm(rival="forest"))
    finished(tmp_path, "smoke", "1", {"case000": True})
    finished(tmp_path, "smoke", "2", {"case001": False})
    rows = run_study(study.model_copy(update={"arms": arms}), out=tmp_path)
    assert [(row.arm, row.folds, row.parameters) for row in rows][1] == ("forest", ("1", "2"), 7)
    assert rows[1].metrics["accuracy"].startswith("1.000")
    note = json.loads((tmp_path / "forest/fold-1-seed-0/note.json").read_text())
    assert note == {
        "name": "forest",
        "target": "label",
        "n_folds": "5",
        "seed": "0",
        "cache": str(tmp_path / "features"),
    }


@pytest.mark.parametrize(
    "fields", [{}, {"preset": "smoke", "rival": "forest"}, {"rival": "forest", "set": {"optim.lr": 0.1}}]
)
def test_an_arm_is_one_thing_only(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rival"):
        Arm(**fields)
