"""The command line as a person uses it, in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from tessera.core.cli.app import app


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Tessera = Callable[..., Outcome]


@pytest.fixture(scope="module")
def tessera() -> Tessera:
    def run(*arguments: object) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run
