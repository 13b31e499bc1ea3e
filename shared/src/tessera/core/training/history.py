"""metrics.csv: every row ever written, cut back to the checkpoint when a run goes on."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tessera.core.data.atomic import write_atomic
from tessera.core.tasks.base import Task
from tessera.core.training.optim import learning_rate

METRICS = "metrics.csv"
FIXED = ("step", "epoch", "seconds", "lr", "train_loss")


def cut_back(path: Path, columns: Sequence[str], step: int) -> None:
    """Leave the header and the whole rows up to ``step``; what a kill left half written goes too."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines[1:] if line.endswith("\n") and int(line.split(",", 1)[0]) <= step]
    write_atomic(path, ",".join(columns) + "\n" + "".join(kept))


def read_metrics(path: Path) -> list[dict[str, float | None]]:
    """Rows of metrics.csv; an empty cell is ``None``."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {name: float(cell) if cell else None for name, cell in row.items()}
            for row in csv.DictReader(file)
        ]


class History(Callback):
    """Appends a row every ``every_steps`` steps and after each epoch; validation values only then.

    ``train_loss`` is the mean over the batches since the row before; ``seconds`` counts all sessions
    of a run; ``epoch`` counts from 1; ``lr`` is that of the step.

    Args:
        path: The file.
        value_names: Names of the validation values.
        every_steps: Optimiser steps between rows inside an epoch.
    """

    state_key = "History"

    def __init__(self, path: Path, value_names: Sequence[str], *, every_steps: int = 50) -> None:
        self.path = path
        self.columns = (*FIXED, *value_names)
        self.every_steps = every_steps
        self._sums: list[tuple[float, int]] = []
        self._loss_sum = torch.zeros((), dtype=torch.float64)
        self._batches = 0
        self._row_step = 0
        self._lr = 0.0
        self._seconds_before = 0.0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Training time of all sessions."""
        return self._seconds_before + time.monotonic() - self._started

    def state_dict(self) -> dict[str, Any]:
        """What has been summed since the last row, of each process, and the clock."""
        return {"sums": self._of_all_ranks(), "seconds": self.seconds, "row_step": self._row_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self._sums = [(float(total), int(count)) for total, count in state_dict["sums"]]
        self._seconds_before = state_dict["seconds"]
        self._row_step = state_dict["row_step"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock and cut the file back."""
        self._started = time.monotonic()
        total, self._batches = self._sums[trainer.global_rank] if self._sums else (0.0, 0)
        self._loss_sum = torch.tensor(total, dtype=torch.float64, device=pl_module.device)
        if trainer.is_global_zero:
            cut_back(self.path, self.columns, trainer.global_step)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Note the step's learning rate."""
        self._lr = learning_rate(optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the batch's loss and write a row when it is time."""
        step = cast(Task, pl_module).last
        if step is not None:
            self._loss_sum += step.loss.detach().double()
            self._batches += 1
        last = trainer.should_stop or batch_idx + 1 >= trainer.num_training_batches  # the epoch's row follows
        if trainer.global_step - self._row_step >= self.every_steps and not last:
            self._append(trainer, self._train_loss(), {})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's row; other callbacks find ``train_loss`` among the task's values."""
        task = cast(Task, pl_module)
        # last, because the loss of the epoch before may be among them
        task.values = {**task.values, "train_loss": self._train_loss()}
        self._append(trainer, task.values["train_loss"], task.values)

    def _of_all_ranks(self) -> list[tuple[float, int]]:
        own = (float(self._loss_sum), self._batches)
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return [own]
        received: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(received, own)
        return received

    def _train_loss(self) -> float:
        totals, counts = zip(*self._of_all_ranks(), strict=True)
        return sum(totals) / max(1, sum(counts))

    def _append(self, trainer: Trainer, train_loss: float, values: dict[str, float]) -> None:
        self._loss_sum.zero_()
        self._batches = 0
        self._row_step = trainer.global_step
        row: dict[str, Any] = {
            "step": trainer.global_step,
            "epoch": trainer.current_epoch + 1,
            "seconds": round(self.seconds, 3),
            "lr": self._lr,
            "train_loss": train_loss,
            **values,
        }
        if trainer.is_global_zero:
            cells = ("" if row.get(name) is None else str(row[name]) for name in self.columns)
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(",".join(cells) + "\n")
