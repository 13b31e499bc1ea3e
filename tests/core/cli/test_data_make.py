"""``tessera data make`` for measured numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from tessera.core.cli.app import app
from tessera.core.data.manifest import Manifest

TABLE = "file;t30;room\nb1.wav;0,62;bath\nb2.wav;0,7;bath\nhall.wav;2,15;hall\n"


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number, name in enumerate(("b1", "b2", "hall", "unmeasured")):
        soundfile.write(folder / f"{name}.wav", np.random.default_rng(number).uniform(-0.5, 0.5, 800), 8000)
    return folder


def make(recordings: Path, table: str, *options: str) -> Result:
    pytest.importorskip("tessera.audio")
    file = recordings.parent / "labels.csv"
    file.write_text(table, encoding="utf-8")
    out = str(recordings.parent / "mine")
    wanted = ["data", "make", "--audio", str(recordings), "--out", out, "--labels", str(file), *options]
    return CliRunner().invoke(app, wanted)


def test_a_column_of_numbers_becomes_a_target_with_its_unit(recordings: Path, tmp_path: Path) -> None:
    done = make(recordings, TABLE, "--number", "t30", "--unit", "s", "--group-regex", r"^([a-z]+)\d*\.wav$")
    assert done.exit_code == 0, done.output
    assert "3 cases, 2 groups, t30 from 0.62 to 2.15 s" in done.output
    assert "unmeasured.wav" in done.output
    made = Manifest.load(str(tmp_path / "mine"))
    spec = made.target("t30")
    assert (spec.kind, spec.unit, spec.classes) == ("number", "s", ())
    assert {case.id: case.targets["t30"] for case in made.cases} == {
        "b1.wav": 0.62,
        "b2.wav": 0.7,
        "hall.wav": 2.15,
    }


def test_the_target_can_have_another_name_than_its_column(recordings: Path, tmp_path: Path) -> None:
    assert make(recordings, TABLE, "--number", "t30", "--target", "t30_s").exit_code == 0
    assert Manifest.load(str(tmp_path / "mine")).target("t30_s").kind == "number"


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        (TABLE, ("--number", "t60"), "no column names the label"),
        (TABLE, ("--number", "room"), "line 2: this is no number"),
        (TABLE, ("--unit", "s"), "--unit is that of a number"),
    ],
)
def test_what_is_no_number_is_refused(
    recordings: Path, table: str, options: tuple[str, ...], words: str
) -> None:
    done = make(recordings, table, *options)
    assert done.exit_code == 2
    assert words in done.output


def test_a_number_needs_a_table(recordings: Path) -> None:
    wanted = ["data", "make", "--audio", str(recordings), "--out", str(recordings.parent / "mine")]
    done = CliRunner().invoke(app, [*wanted, "--number", "t30"])
    assert done.exit_code == 2
    assert "--labels" in done.output
