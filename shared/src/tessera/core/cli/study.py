"""``tessera study``: a comparison under one protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.core.cli.console import Quiet, progress, remark


def study(
    file: Annotated[Path, typer.Argument(help="A study, for instance studies/esc10-networks.yaml.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Folder of its runs; default: runs/<id>.")] = None,
    table_only: Annotated[bool, typer.Option("--table", help="Train nothing; only redo the table.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train presets x folds x seeds, go on where it stopped, and print a table with paired differences."""
    from tessera.core.training import study as studies
    from tessera.core.training.study_config import load_study, study_folds

    config = load_study(file)
    folder = out or Path("runs") / config.id
    if table_only:
        folds = study_folds(config)
        rows = studies.table(config, out=folder, folds=folds)
    else:
        with progress(config.id, quiet=quiet) as show:
            rows = studies.run_study(
                config, out=folder, say=lambda text: remark(text, quiet=quiet), progress=show
            )
    typer.echo(studies.markdown(config, rows), nl=False)
