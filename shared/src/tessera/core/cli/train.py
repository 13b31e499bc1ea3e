"""``tessera train``: from a manifest to a bundle and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tessera.core.cli.console import Quiet, Set, progress, remark

if TYPE_CHECKING:
    from tessera.core.pipeline import Pipeline
    from tessera.core.run_config import RunConfig


def train(
    pipeline: Annotated[str, typer.Argument(help="A pipeline of `tessera list`.")],
    *,
    data: Annotated[str | None, typer.Option(help="Manifest id or path.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Network and settings; default: the first preset.")
    ] = None,
    fold: Annotated[str | None, typer.Option(help="Fold that is held out for testing.")] = None,
    folds: Annotated[
        str | None, typer.Option(help="`all` or 1,2,3: one run a fold, and an ensemble.")
    ] = None,
    n_folds: Annotated[int, typer.Option(min=2, help="Folds to make when the data has none.")] = 5,
    budget: Annotated[str | None, typer.Option(help="Time for training, e.g. 20m or 2h.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")] = None,
    from_bundle: Annotated[
        Path | None, typer.Option("--from", help="Start from this bundle's weights.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default: runs/<names>.")] = None,
    set_: Set = None,
    quiet: Quiet = False,
) -> None:
    """Train a preset, evaluate it on the held-out fold, and write bundle and report."""
    from tessera.core.cli.durations import seconds
    from tessera.core.data.manifest import Manifest
    from tessera.core.errors import ConfigError
    from tessera.core.pipeline import get
    from tessera.core.training.train import Plan, read_plan, train_folds, train_one

    chosen = get(pipeline)
    if resume is not None:
        plan = read_plan(resume, chosen)
        with progress("training", quiet=quiet) as show:
            finished = train_one(plan, chosen, out=resume, resume=True, progress=show)
        _say(finished.folder, quiet=quiet)
        return
    if data is None:
        raise ConfigError("tessera train needs data", hint="give --data with a manifest's id or path")
    manifest = Manifest.load(data)
    config = make_config(chosen, preset, set_ or [], seed=seed, quiet=quiet)
    plan = Plan(
        config=config,
        data=str(data),
        fold=fold,
        n_folds=n_folds,
        budget_s=None if budget is None else seconds(budget),
        from_bundle=from_bundle,
    )
    folder = out or _run_folder(config, manifest.info.id, fold or ("folds" if folds else None))
    with progress("training", quiet=quiet) as show:
        if folds is not None:
            finished = train_folds(plan, chosen, folds=folds, out=folder, progress=show)
        else:
            finished = train_one(plan, chosen, out=folder, progress=show)
    _say(finished.folder, quiet=quiet)


def make_config(
    pipeline: Pipeline, preset: str | None, assignments: list[str], *, seed: int | None, quiet: bool = False
) -> RunConfig:
    """A preset with ``--set`` values laid over it; dropped fields are remarked."""
    from tessera.core.config import merge, parse_set, validate

    values = pipeline.preset_values(preset or pipeline.presets[0])
    changes = parse_set(assignments)
    if seed is not None:
        changes["seed"] = seed
    merged, notices = merge(values, changes)
    for notice in notices:
        remark(f"Note: {notice}", quiet=quiet)
    kind: type[RunConfig] = pipeline.resolve("config")
    return validate(kind, merged, source=f"preset {values['preset']}" + (" with --set" if changes else ""))


def _run_folder(config: RunConfig, dataset: str, fold: str | None) -> Path:
    parts = [
        config.pipeline,
        config.preset,
        dataset,
        *([f"fold-{fold}"] if fold else []),
        f"seed-{config.seed}",
    ]
    base = Path("runs") / "-".join(parts)
    folder, number = base, 2
    while folder.exists():
        folder, number = base.with_name(f"{base.name}-{number}"), number + 1
    return folder


def _say(folder: Path, *, quiet: bool) -> None:
    remark(f"report: {folder / 'report.html'}\nbundle: {folder / 'bundle'}", quiet=quiet)
    typer.echo(str(folder))
