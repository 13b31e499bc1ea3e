"""A simulator's fields as options of the command."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tessera.core.cli.simulate import CommandWithFields


def parsed(*words: str) -> tuple[str, int, list[str]]:
    """What a command with NAME, --n and --set gets."""
    app = typer.Typer()
    got: dict[str, Any] = {}

    @app.command(cls=CommandWithFields)
    def command(
        name: str, *, n: int = typer.Option(1, "--n", "-n"), set_: list[str] = typer.Option([], "--set")
    ) -> None:
        got.update(name=name, n=n, set=set_)

    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return got["name"], got["n"], got["set"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("tidal", "--depth", "deep", "--n", "3"), ("tidal", 3, ["depth=deep"])),
        (("tidal", "--depth=deep", "--hard"), ("tidal", 1, ["depth=deep", "hard=true"])),
        (("tidal", "--hard", "--n", "2", "--size-px", "64"), ("tidal", 2, ["hard=true", "size_px=64"])),
        (("--dicom", "airway", "--n", "2"), ("airway", 2, ["dicom=true"])),
        (("tidal", "--set", "a=1", "--mu-range", "[24,25]"), ("tidal", 1, ["a=1", "mu_range=[24,25]"])),
        (("tidal", "--hard", "-n", "2"), ("tidal", 2, ["hard=true"])),
        (("tidal", "--prevalence", "-1"), ("tidal", 1, ["prevalence=-1"])),
    ],
)
def test_fields_become_assignments(words: tuple[str, ...], expected: tuple[str, int, list[str]]) -> None:
    assert parsed(*words) == expected


def test_an_own_option_misspelt_is_refused() -> None:
    app = typer.Typer()

    @app.command(cls=CommandWithFields)
    def command(name: str, *, seed: int = 1) -> None: ...

    assert CliRunner().invoke(app, ["tidal", "--sed", "3"]).exit_code == 2
