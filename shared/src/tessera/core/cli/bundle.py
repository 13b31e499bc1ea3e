"""``tessera bundle verify | show``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.core.cli.console import Json, print_json

app = typer.Typer(help="Check and show a model bundle.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="A bundle, for instance runs/<run>/bundle.")]


@app.command("verify")
def verify(folder: Folder, as_json: Json = False) -> None:
    """Check every file's SHA-256 and replay the golden pair."""
    from tessera.core.bundle.bundle import Bundle

    bundle = Bundle.load(folder)
    difference = bundle.verify()
    if as_json:
        print_json({"bundle": str(folder), "digest": bundle.digest, "difference": difference})
        return
    typer.echo(
        f"{folder}: all files as written, golden output within {difference:.2g}, digest {bundle.digest[:12]}"
    )


@app.command("show")
def show(folder: Folder, as_json: Json = False) -> None:
    """Show the bundle's card."""
    from tessera.core.bundle.bundle import Bundle

    card = Bundle.load(folder).card
    if as_json:
        print_json(card.model_dump(mode="json"))
        return
    typer.echo(card.to_markdown())
