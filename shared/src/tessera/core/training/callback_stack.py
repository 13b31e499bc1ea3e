"""All callbacks of a run in the order they need: seed, average, watch, record, stop, save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import Callback

from tessera.core.errors import ConfigError
from tessera.core.run_config import RunConfig
from tessera.core.tasks.base import Better, Task
from tessera.core.training.assembly import Loaders
from tessera.core.training.callbacks import Clock, EarlyStopping, LossWatch, Progress, SharedBuffers
from tessera.core.training.checkpoints import Checkpoints
from tessera.core.training.ema import Ema
from tessera.core.training.history import METRICS, History
from tessera.core.training.run_folder import CHECKPOINTS


@dataclass(frozen=True)
class CallbackStack:
    """The callbacks a run asks about at its end, and all of them in order."""

    history: History
    stopping: EarlyStopping | None
    checkpoints: Checkpoints
    ordered: tuple[Callback, ...]


def build_callbacks(
    config: RunConfig,
    task: Task,
    loaders: Loaders,
    *,
    folder: Path,
    total_steps: int,
    progress: Progress | None = None,
    more: Sequence[Callback] = (),
) -> CallbackStack:
    """The callbacks of a training into ``folder``; ``more`` come before the checkpoint is saved."""
    settings = config.trainer
    monitor, better = choose_monitor(config, task.better, validates=loaders.val is not None)
    ema = Ema(settings.ema_decay) if settings.ema_decay > 0 else None
    history = History(folder / METRICS, list(task.better) if loaders.val is not None else [])
    stopping = None
    if settings.patience is not None and monitor is not None:
        stopping = EarlyStopping(monitor, better, settings.patience)
    checkpoints = Checkpoints(
        folder / CHECKPOINTS,
        loader=loaders.train,
        monitor=monitor,
        better=better,
        ema=ema,
        every_s=settings.checkpoint_every_s,
        every_steps=settings.checkpoint_every_steps,
    )
    clock = Clock(loaders.train, seed=config.seed, total_steps=total_steps, progress=progress)
    ordered = [clock, ema, SharedBuffers(), LossWatch(), history, stopping, *more, checkpoints]
    present = tuple(callback for callback in ordered if callback is not None)
    return CallbackStack(history, stopping, checkpoints, present)


def choose_monitor(
    config: RunConfig, values: Mapping[str, Better], *, validates: bool
) -> tuple[str | None, Better]:
    """The monitored one of a task's values and its better direction; ``None`` where nothing is validated."""
    monitor, patience = config.trainer.monitor, config.trainer.patience
    known: dict[str, Better] = {"train_loss": "min", **values}
    if monitor not in known:
        raise ConfigError(
            f"trainer.monitor: this task has no value '{monitor}'", found=monitor, expected=", ".join(known)
        )
    if validates or monitor == "train_loss":
        return monitor, known[monitor]
    if patience is not None:
        raise ConfigError(
            f"trainer.patience needs {monitor}, but no case is used for validation",
            hint="--set data.val_fraction=0.15, or trainer.patience=null",
        )
    return None, known[monitor]
