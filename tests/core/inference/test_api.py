"""The Python door: plain rows, the same numbers as a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError
from tessera.core.inference.api import Predictor
from tessera.core.inference.forward import ForwardPass
from tessera.core.inference.runner import run

from .fakes import CLASSES, OddNetwork, make_files, make_steps

TARGET = TargetSpec(kind="class", classes=CLASSES)


def test_the_door_gives_the_bits_of_a_run_over_many_cases(tmp_path: Path) -> None:
    cases = make_files(tmp_path / "in", n=7)
    run(make_steps(), cases, tmp_path / "out")
    rows = Predictor(make_steps(), TARGET).predict(tmp_path / "in")
    assert [row["case"] for row in rows] == [case.id for case in cases]
    for row in rows:
        written = json.loads((tmp_path / "out" / "cases" / f"{row['case']}.json").read_text())
        assert [p.hex() for p in row["probabilities"].values()] == written["summary"]
        assert [[p.hex() for p in w["probabilities"].values()] for w in row["windows"]] == written["scores"]


def test_a_row_is_plain_and_names_the_best_class(tmp_path: Path) -> None:
    (case,) = make_files(tmp_path / "in", n=1)
    (row,) = Predictor(make_steps(), TARGET).predict(str(case.path("data")))
    assert json.loads(json.dumps(row))["class"] == row["class"]
    assert row["probability"] == max(row["probabilities"].values()) == row["probabilities"][row["class"]]
    assert sum(row["probabilities"].values()) == pytest.approx(1.0)
    assert row["windows"][0]["start"] == (0,)
    assert row["windows"][-1]["stop"] == (case.path("data").stat().st_size // 4,)


def test_a_bad_file_in_a_folder_is_a_row_with_its_error(tmp_path: Path) -> None:
    make_files(tmp_path / "in", n=2, extra=("openfails", "empty"))
    rows = {row["case"]: row for row in Predictor(make_steps(), TARGET).predict(tmp_path / "in")}
    assert rows["openfails"]["error"].startswith("cannot read it")
    assert "nothing to predict" in rows["empty"]["error"]
    assert "class" in rows["case001"]


def test_a_bad_file_alone_raises(tmp_path: Path) -> None:
    make_files(tmp_path / "in", n=0, extra=("openfails",))
    with pytest.raises(DataError, match="cannot read it"):
        Predictor(make_steps(), TARGET).predict(tmp_path / "in" / "openfails.bin")


def test_a_wrong_path_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    predictor = Predictor(make_steps(), TARGET)
    with pytest.raises(DataError, match="no file or folder"):
        predictor.predict(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds nothing this model reads"):
        predictor.predict(tmp_path)


def test_tags_are_those_above_their_thresholds(tmp_path: Path) -> None:
    make_files(tmp_path, n=1)
    steps = make_steps(forward=ForwardPass([OddNetwork()], task="tags", batch_size=4))
    target = TargetSpec(kind="tags", classes=CLASSES)
    (row,) = Predictor(steps, target).predict(tmp_path)
    at_half = [name for name, p in row["probabilities"].items() if p >= 0.5]
    assert row["tags"] == at_half
    (row,) = Predictor(steps, target, thresholds=dict.fromkeys(CLASSES, 0.0)).predict(tmp_path)
    assert row["tags"] == list(CLASSES)


def test_numbers_come_with_their_standard_deviation(tmp_path: Path) -> None:
    make_files(tmp_path, n=1)
    steps = make_steps(forward=ForwardPass([OddNetwork(2)], task="number", batch_size=4))
    predictor = Predictor(steps, TargetSpec(kind="number", unit="s"))
    (row,) = predictor.predict(tmp_path)
    means = np.array([window["mean"] for window in row["windows"]])
    variances = np.array([window["std"] ** 2 for window in row["windows"]])
    assert row["mean"] == pytest.approx(means.mean(), rel=1e-5)
    assert row["std"] ** 2 == pytest.approx(variances.mean() + means.var(), rel=1e-5)
    assert row["unit"] == "s"
