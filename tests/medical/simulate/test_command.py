"""``tessera simulate airway`` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tessera.core.cli.app import app
from tessera.medical.readers import VolumeReader

SMALL = ("simulate", "airway-small", "--n", "1", "--set", "shape=[16,16,16]", "--set", "vessels=0", "-q")


def simulate(out: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*SMALL, "--out", str(out), *words])
    return done.exit_code, done.output


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_flag_is_a_field_set_to_true(tmp_path: Path) -> None:
    assert simulate(tmp_path / "flag" / "sims", "--dicom", "--extras")[0] == 0
    written = simulate(tmp_path / "set" / "sims", "--set", "dicom=true", "--set", "extras=true")
    assert written[0] == 0
    assert contents(tmp_path / "flag") == contents(tmp_path / "set")
    (case,) = VolumeReader().find(tmp_path / "flag" / "sims" / "dicom")
    assert VolumeReader().open(case).grid.shape == (16, 16, 16)
    assert simulate(tmp_path / "none")[0] == 0
    assert not (tmp_path / "none" / "dicom").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--dicmo",), "dicmo"),
        (("--sede", "3"), "--sede"),
        (("--n=0",), "--n"),
        (("--noise-hu",), "noise_hu"),
    ],
)
def test_what_is_no_flag_is_refused_by_its_name(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    code, output = simulate(tmp_path / "out", *words)
    assert (code, told in output) == (2, True), output


def test_help_names_the_flag() -> None:
    done = CliRunner().invoke(app, ["simulate", "--help"])
    assert done.exit_code == 0
    assert "--dicom" in done.output
