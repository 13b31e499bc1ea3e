"""``tessera plan``: what a pipeline would choose from the data, and why, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.core.cli.console import Quiet, Set, remark


def plan(
    pipeline: Annotated[str, typer.Argument(help="A pipeline of `tessera list`.")],
    *,
    data: Annotated[str, typer.Option(help="Manifest id or path.")],
    preset: Annotated[
        str | None, typer.Option(help="Network and settings; default: the first preset.")
    ] = None,
    fold: Annotated[str | None, typer.Option(help="Fold that is held out and not looked at.")] = None,
    n_folds: Annotated[int, typer.Option(min=2, help="Folds to make when the data has none.")] = 5,
    measure: Annotated[
        bool, typer.Option("--measure", help="Run one training step; report its time and memory.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the complete config here, as YAML.")] = None,
    set_: Set = None,
    quiet: Quiet = False,
) -> None:
    """Show what follows from the training data (spacing, patch, batch, depth, memory), and why."""
    from tessera.core.cli.train import make_config
    from tessera.core.config import dump_yaml
    from tessera.core.data.atomic import write_atomic
    from tessera.core.data.manifest import Manifest
    from tessera.core.data.splits import make_split
    from tessera.core.errors import ConfigError
    from tessera.core.pipeline import get

    chosen = get(pipeline)
    if not chosen.configure:
        raise ConfigError(
            f"nothing of pipeline {pipeline} is planned from the data",
            hint="tessera train takes the preset as it is",
        )
    config = make_config(chosen, preset, set_ or [], seed=None, quiet=quiet)
    manifest = Manifest.load(data)
    split = make_split(
        manifest.training_cases(config.data.target),
        fold=fold,
        n_folds=n_folds,
        val_fraction=config.data.val_fraction,
        seed=config.seed,
        target=config.data.target,
    )
    if chosen.explain:
        typer.echo(chosen.resolve("explain")(config, manifest, split, measure=measure))
    complete = chosen.resolve("configure")(config, manifest, split)
    text = dump_yaml(complete.model_dump(mode="json"))
    if out is not None:
        write_atomic(out, text)
        remark(f"config: {out}", quiet=quiet)
    elif not chosen.explain:
        typer.echo(text, nl=False)
