"""``tessera report``: one page a person can read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.core.cli.console import Quiet


def report(
    folder: Annotated[Path, typer.Argument(help="A run or the output of `tessera predict`.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Where to write; default: report.html in the folder.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write one HTML page that opens offline, and the CSV files behind its figures."""
    from tessera.core.report.report import Report

    del quiet
    typer.echo(str(Report(folder).write(out)))
