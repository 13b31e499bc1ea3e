"""--budget: how many steps fit into a time, measured with the real network, loaders and callbacks."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tessera.core.errors import ConfigError
from tessera.core.run_config import RunConfig
from tessera.core.tasks.base import Task
from tessera.core.training.assembly import Loaders, steps_per_epoch
from tessera.core.training.callback_stack import build_callbacks
from tessera.core.training.engine import build_trainer, run_fit

logger = logging.getLogger(__name__)

WARM_UP = 3  # batches whose time says nothing: first use of memory, kernels, workers, compilation
ENOUGH = 50  # batches after which the mean will not change much
SHARE = 0.05  # of the budget, after which fewer batches are enough
RESERVE = 0.05  # of the budget is kept for what was not measured
_NEVER = 10**9


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Args:
        batch_s: Seconds a training batch, loading included.
        epoch_end_s: Seconds from an epoch's last batch until all is validated, written and saved.
    """

    batch_s: float
    epoch_end_s: float


def steps_for(speed: Speed, seconds: float, *, batches: int, accumulate: int) -> int:
    """Optimiser steps that fit, with epochs of so many batches and one more validation at the end."""
    usable = (1 - RESERVE) * seconds - speed.epoch_end_s
    epoch_s = batches * speed.batch_s + speed.epoch_end_s
    return max(1, int(usable / epoch_s * -(-batches // accumulate)))


def steps_within(seconds: float, config: RunConfig, task: Task, loaders: Loaders) -> int:
    """Measure, then say how many steps to train.

    The loaders go back to their start and serve the run; their workers need not start twice. The task
    is used up.
    """
    started = time.monotonic()
    _measure(config, task, loaders, limit_s=0.0)  # starts workers and compiles
    speed = _measure(config, task, loaders, limit_s=SHARE * seconds)
    loaders.train.set_epoch(0)
    needed = time.monotonic() - started
    if needed >= seconds:
        raise ConfigError(
            "the budget is too short",
            found=f"{seconds:.1f} s after preparing the cases",
            expected=f"more than the {needed:.1f} s it takes to measure the speed",
        )
    batches = len(loaders.train)
    steps = steps_for(speed, seconds - needed, batches=batches, accumulate=config.trainer.accumulate)
    by_epochs = config.trainer.max_epochs * steps_per_epoch(config, batches)
    logger.info(
        "%.3g s a batch and %.3g s at the end of an epoch: %d steps fit into the budget, %d epochs are %d",
        speed.batch_s,
        speed.epoch_end_s,
        steps,
        config.trainer.max_epochs,
        by_epochs,
    )
    return min(steps, by_epochs)


def _measure(config: RunConfig, task: Task, loaders: Loaders, *, limit_s: float) -> Speed:
    """Train a little, with all a run does, into a folder that is thrown away."""
    stopwatch = Stopwatch(limit_s=limit_s)
    settings = config.trainer.model_copy(update={"max_epochs": _NEVER, "patience": None})
    config = config.model_copy(update={"trainer": settings})
    loaders.train.set_epoch(0)
    with tempfile.TemporaryDirectory(prefix="tessera-budget-") as name:
        stack = build_callbacks(config, task, loaders, folder=Path(name), total_steps=_NEVER)
        callbacks = (*stack.ordered, stopwatch)
        trainer = build_trainer(settings, callbacks, folder=Path(name), validate=loaders.val is not None)
        run_fit(trainer, task, loaders)
    return stopwatch.speed()


class Stopwatch(Callback):
    """Times batches and what follows an epoch, and ends the training when it has seen enough.

    Args:
        limit_s: Seconds after which a few batches are enough.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._started = 0.0
        self._lap = 0.0
        self._batches: list[float] = []
        self._epoch_ends: list[float] = []

    def speed(self) -> Speed:
        """Mean time of a batch after warm-up, and of what follows an epoch."""
        warm = self._batches[WARM_UP:]
        return Speed(sum(warm) / len(warm), sum(self._epoch_ends) / len(self._epoch_ends))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start."""
        self._started = self._lap = _now(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the time since the batch or the epoch before, waiting for the loader included."""
        self._batches.append(self._take_lap(pl_module))
        measured = len(self._batches) - WARM_UP
        if measured >= ENOUGH or (measured >= 1 and self._lap - self._started > self.limit_s):
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the time since the last batch."""
        self._epoch_ends.append(self._take_lap(pl_module))

    def _take_lap(self, module: LightningModule) -> float:
        before, self._lap = self._lap, _now(module)
        return self._lap - before


def _now(module: LightningModule) -> float:
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)
    return time.monotonic()
