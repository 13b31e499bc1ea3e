"""What happens around each step: seeding, the end of training, the watch over the loss, early stopping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from tessera.core.data.loaders import ResumableLoader
from tessera.core.errors import TesseraError
from tessera.core.tasks.base import Better, Task
from tessera.core.training.checkpoints import is_better
from tessera.core.training.determinism import derive_seed

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what is going on)."""

# On a GPU reading the loss waits for the device, so several steps are looked at together.
_LOSSES_AT_ONCE = 16


class Clock(Callback):
    """Makes chance a function of the batch's number, and ends training at the last step.

    Args:
        loader: The training loader; its position numbers the batches.
        seed: The run's seed.
        total_steps: Optimiser steps in all.
        progress: Told of every step.
    """

    def __init__(
        self, loader: ResumableLoader, *, seed: int, total_steps: int, progress: Progress | None = None
    ) -> None:
        self.loader = loader
        self.seed = seed
        self.total_steps = total_steps
        self.progress = progress

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run that was killed after its last step has nothing left to do."""
        self._stop_at_end(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed dropout and transforms for this batch."""
        number = self.loader.handed_out - 1
        if number != trainer.current_epoch * len(self.loader) + batch_idx:
            raise RuntimeError(
                f"the loader is at batch {number}, Lightning at {batch_idx} of epoch {trainer.current_epoch}"
            )
        cast(Task, pl_module).batch_counter = number
        torch.manual_seed(derive_seed(self.seed, "step", step=number, rank=trainer.global_rank))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after the last step; a validation follows."""
        self._stop_at_end(trainer)
        if self.progress is not None and trainer.is_global_zero:
            self.progress(trainer.global_step, self.total_steps, f"epoch {trainer.current_epoch + 1}")

    def _stop_at_end(self, trainer: Trainer) -> None:
        if trainer.global_step >= self.total_steps:
            trainer.should_stop = True


class SharedBuffers(Callback):
    """Before validation every process takes the first one's buffers, so that all judge the same network."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send the buffers around."""
        if trainer.world_size > 1:
            for buffer in cast(Task, pl_module).network.buffers():
                torch.distributed.broadcast(buffer, src=0)


class LossWatch(Callback):
    """Stops a training whose loss is no longer a number, and says where it happened."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, list[str], Tensor, dict[str, Tensor]]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss, on a GPU at several together."""
        step = cast(Task, pl_module).last
        if step is None:
            return
        self._waiting.append((trainer.global_step, step.case_id, step.loss.detach(), step.losses))
        if not step.loss.is_cuda or len(self._waiting) >= _LOSSES_AT_ONCE:
            self.look()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what is waiting."""
        self.look()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Never save weights that a bad loss has spoilt."""
        self.look()

    def look(self) -> None:
        """Raise for the first loss that is not finite."""
        waiting, self._waiting = self._waiting, []
        if not waiting or bool(torch.stack([loss for _, _, loss, _ in waiting]).isfinite().all()):
            return
        step, cases, loss, parts = next(item for item in waiting if not bool(item[2].isfinite()))
        raise TesseraError(
            f"the loss is {float(loss)} at step {step}",
            found=", ".join(f"{name} {float(value):g}" for name, value in parts.items())
            + f" on the cases {', '.join(dict.fromkeys(cases))}",
            expected="a finite number",
            hint="a lower optim.lr, a longer optim.warmup_fraction or trainer.gradient_clip=1; "
            "look whether the cases hold NaN or extreme values",
        )


class EarlyStopping(Callback):
    """Stops when the monitored value has not improved for ``patience`` epochs.

    Args:
        monitor: Name of the value.
        better: Its better direction.
        patience: Epochs without gain.
    """

    state_key = "EarlyStopping"

    def __init__(self, monitor: str, better: Better, patience: int) -> None:
        self.monitor = monitor
        self.better = better
        self.patience = patience
        self.best: float | None = None
        self.waited = 0

    @property
    def stopped(self) -> bool:
        """Whether patience has run out."""
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """The best value and the epochs since."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        self.best, self.waited = state_dict["best"], state_dict["waited"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run that was killed after it had stopped stays stopped."""
        trainer.should_stop = trainer.should_stop or self.stopped

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count."""
        value = cast(Task, pl_module).values[self.monitor]
        if is_better(value, self.best, self.better):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        trainer.should_stop = trainer.should_stop or self.stopped
