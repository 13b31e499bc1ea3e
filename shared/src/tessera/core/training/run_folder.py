"""A run's folder: what is written before the first step, and what must be the same to go on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera.core.config import dump_yaml, load_yaml, validate
from tessera.core.data.atomic import write_atomic
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split
from tessera.core.errors import BundleError, ConfigError, DataError
from tessera.core.run_config import RunConfig
from tessera.core.training.environment import ENVIRONMENT, write_environment

CONFIG, SPLITS, FINISHED = "config.yaml", "splits.csv", "training.json"
CHECKPOINTS = "checkpoints"

# Fields that change the speed or the safety of a run but not its result.
_FREE = ("trainer.workers", "trainer.checkpoint_every_s", "trainer.checkpoint_every_steps")


def fold_folder(name: str) -> str:
    """Folder of a fold; characters that a path cannot hold become ``_``."""
    return "fold-" + re.sub(r"[^A-Za-z0-9_.-]", "_", name)


@dataclass(frozen=True)
class Run:
    """A finished training.

    Args:
        folder: The run folder.
        best: Checkpoint with the best monitored value; ``None`` without validation.
        last: Checkpoint after the last step.
        steps: Optimiser steps made.
        epochs: Epochs begun.
        seconds: Training time of all sessions.
        stopped_early: Whether patience ended it.
    """

    folder: Path
    best: Path | None
    last: Path
    steps: int
    epochs: int
    seconds: float
    stopped_early: bool


def open_folder(
    folder: Path,
    config: RunConfig,
    manifest: Manifest,
    split: Split,
    *,
    resume: bool,
    from_bundle: Path | None,
    rank: int = 0,
) -> RunConfig:
    """Begin or go on with a run; gives the config to use, with ``max_steps`` as a budget has set it.

    Only the first process writes or refuses; the others follow the config found there.
    """
    used = (folder / CONFIG).exists()
    if rank > 0:
        return _stored(folder, config) if used else config
    if used and not resume:
        raise ConfigError(
            f"{folder} already holds a run",
            hint=f"go on with it (--resume {folder}), or choose another folder",
        )
    origin = {"id": manifest.info.id, "digest": manifest.digest}
    start = None if from_bundle is None else bundle_sums(from_bundle)
    if used:
        return _check_same(folder, config, origin=origin, split=split, start=start)
    (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    split.write(folder / SPLITS)
    write_environment(folder / ENVIRONMENT, {"data": origin, "from_bundle": start})
    write_config(folder, config)
    return config


def bundle_sums(bundle: Path) -> str:
    """The check sums of a bundle's files, which say what a run started from."""
    try:
        return (bundle / "SHA256SUMS").read_text(encoding="utf-8")
    except OSError as error:
        raise BundleError(
            f"{bundle} is not a bundle", found=error, expected="the folder of a bundle, with SHA256SUMS"
        ) from None


def write_config(folder: Path, config: RunConfig) -> None:
    """Write the complete config."""
    write_atomic(folder / CONFIG, dump_yaml(config.model_dump(mode="json")))


def with_max_steps(config: RunConfig, max_steps: int | None) -> RunConfig:
    """The config with another ``trainer.max_steps``."""
    trainer = config.trainer.model_copy(update={"max_steps": max_steps})
    return config.model_copy(update={"trainer": trainer})


def _stored(folder: Path, config: RunConfig) -> RunConfig:
    return validate(type(config), load_yaml(folder / CONFIG), source=str(folder / CONFIG))


def _check_same(
    folder: Path, config: RunConfig, *, origin: dict[str, str], split: Split, start: str | None
) -> RunConfig:
    stored = _stored(folder, config)
    if config.trainer.max_steps is None:
        config = with_max_steps(config, stored.trainer.max_steps)
    before, now = _flat(stored.model_dump(mode="json")), _flat(config.model_dump(mode="json"))
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    changed = [name for name in changed if name not in _FREE]
    if changed:
        raise ConfigError(
            f"{folder} was started with another config",
            found=", ".join(f"{name}={now.get(name)}" for name in changed),
            expected=", ".join(f"{name}={before.get(name)}" for name in changed),
            hint="go on with the run's own values, or start a new run",
        )
    environment = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    if environment["data"] != origin:
        raise DataError(
            f"{folder} was started with other data",
            found=f"manifest {origin['id']}, digest {origin['digest'][:12]}",
            expected=f"manifest {environment['data']['id']}, digest {environment['data']['digest'][:12]}",
            hint="use the manifest as it was, or start a new run",
        )
    if environment["from_bundle"] != start:
        raise ConfigError(f"{folder} was started from another bundle", hint="--from as at the start")
    old = Split.read(folder / SPLITS)
    moved = sorted(
        name for name in {*old.roles, *split.roles} if old.roles.get(name) != split.roles.get(name)
    )
    if moved or old.fold != split.fold:
        raise DataError(
            f"{folder} was started with another split",
            found=f"fold '{split.fold}', {len(moved)} cases in other roles ({', '.join(moved[:5])})",
            expected=f"fold '{old.fold}' as in splits.csv",
            hint="use the run's own splits.csv, or start a new run",
        )
    return config


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def write_finished(run: Run) -> None:
    """Write training.json, which marks a run as finished."""
    values = {
        "steps": run.steps,
        "epochs": run.epochs,
        "seconds": round(run.seconds, 3),
        "stopped_early": run.stopped_early,
        "best": run.best is not None,
    }
    write_atomic(run.folder / FINISHED, json.dumps(values, indent=2) + "\n")


def read_finished(folder: Path) -> Run | None:
    """The run of a folder whose training is finished, else ``None``."""
    path = folder / FINISHED
    if not path.exists():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    has_best = values.pop("best")
    best = folder / CHECKPOINTS / "best.ckpt" if has_best else None
    return Run(folder=folder, best=best, last=folder / CHECKPOINTS / "last.ckpt", **values)
