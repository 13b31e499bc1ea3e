"""Checkpoints: the last one to go on from, the best one for the bundle; whole or not there at all."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from tessera.core.data.atomic import replacing
from tessera.core.data.loaders import ResumableLoader
from tessera.core.errors import TesseraError
from tessera.core.tasks.base import Better, Task
from tessera.core.training.ema import EMA_KEY, Ema

logger = logging.getLogger(__name__)

LAST, BEST = "last.ckpt", "best.ckpt"
_NETWORK = "network."

# Processes ask the first one whether its clock says "save" only this often: asking costs a message.
_STEPS_BETWEEN_QUESTIONS = 20


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes under a temporary name beside the file, then renames."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Save a checkpoint."""
        write_checkpoint(checkpoint, Path(path))


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Save values and tensors under a temporary name, then rename."""
    try:
        with replacing(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise TesseraError(
            f"cannot save the checkpoint {path}",
            found=error,
            hint="free some disk space, then resume the run",
        ) from error


def remove_leftovers(folder: Path) -> None:
    """Remove what kills during a save have left behind."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def network_weights(path: Path) -> dict[str, Tensor]:
    """The network's weights for use: from ``best.ckpt``, or from ``last.ckpt``, averaged ones where kept."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise TesseraError(
            f"cannot read the checkpoint {path}", found=error, hint="resume or repeat the training"
        ) from None
    if "network" in content:
        return cast(dict[str, Tensor], content["network"])
    averaged = content["callbacks"].get(EMA_KEY)
    if averaged is not None:
        return cast(dict[str, Tensor], averaged["weights"])
    state = content["state_dict"]
    return {name.removeprefix(_NETWORK): value for name, value in state.items() if name.startswith(_NETWORK)}


def is_better(value: float, best: float | None, better: Better) -> bool:
    """Whether a value is an improvement; NaN never is."""
    if math.isnan(value) or best is None:
        return not math.isnan(value)
    return value < best if better == "min" else value > best


class Checkpoints(Callback):
    """Saves at two kinds of moment only, after a batch inside an epoch and after an epoch's validation.

    Between the last batch and the end of validation nothing is saved: a kill there goes back to the
    checkpoint before and repeats the same steps.

    Args:
        folder: Where ``last.ckpt`` and ``best.ckpt`` go.
        loader: The training loader, whose position is saved.
        monitor: The value that picks the best; ``None`` without validation.
        better: Its better direction.
        ema: The averaged weights, when there are any.
        every_s: Seconds between checkpoints in an epoch.
        every_steps: Optimiser steps between them, instead of seconds.
    """

    state_key = "Checkpoints"

    def __init__(
        self,
        folder: Path,
        *,
        loader: ResumableLoader,
        monitor: str | None,
        better: Better,
        ema: Ema | None,
        every_s: float,
        every_steps: int | None,
    ) -> None:
        self.folder = folder
        self.loader = loader
        self.monitor = monitor
        self.better = better
        self.ema = ema
        self.every_s = every_s
        self.every_steps = every_steps
        self.best: float | None = None
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The best value so far and the loader's position."""
        return {"best": self.best, "loader": self.loader.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back; Lightning restores the loader itself only inside an epoch."""
        self.best = state_dict["best"]
        self.loader.load_state_dict(state_dict["loader"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time and gradients are not half accumulated."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        last = trainer.should_stop or batch_idx + 1 >= len(self.loader)
        if stepped and not last and self._is_due(trainer):
            self._save_last(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the best and the last."""
        values = cast(Task, pl_module).values
        if self.monitor is not None and is_better(values[self.monitor], self.best, self.better):
            self.best = values[self.monitor]
            self._save_best(trainer, cast(Task, pl_module), values)
        self._save_last(trainer)

    def _is_due(self, trainer: Trainer) -> bool:
        if self.every_steps is not None:
            return trainer.global_step % self.every_steps == 0
        due = time.monotonic() - self._saved_at >= self.every_s
        if trainer.world_size == 1:
            return due
        return trainer.global_step % _STEPS_BETWEEN_QUESTIONS == 0 and trainer.strategy.broadcast(due)

    def _save_last(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.folder / LAST, weights_only=False)
        self._saved_at = time.monotonic()

    def _save_best(self, trainer: Trainer, task: Task, values: Mapping[str, float]) -> None:
        if not trainer.is_global_zero:
            return
        weights = self.ema.weights if self.ema is not None else task.network.state_dict()
        content = {
            "network": {name: value.detach().cpu() for name, value in weights.items()},
            "step": trainer.global_step,
            "epoch": trainer.current_epoch + 1,
            "values": dict(values),
        }
        write_checkpoint(content, self.folder / BEST)
