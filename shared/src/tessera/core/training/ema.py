"""A moving average of the weights, used for validation and for the bundle."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from tessera.core.tasks.base import Task

EMA_KEY = "Ema"


class Ema(Callback):
    """Averages parameters and floating-point buffers after each optimiser step; other buffers are copied.

    The decay of update n is min(decay, (1 + n) / (10 + n)), so that the first weights are soon forgotten.

    Args:
        decay: Share of the old average that stays.
    """

    state_key = EMA_KEY

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights: dict[str, Tensor] = {}
        self._trained: dict[str, Tensor] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The average and the number of updates."""
        return {"updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        self.updates = state_dict["updates"]
        self.weights = state_dict["weights"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the weights as they are; a resumed average goes to their device."""
        state = _state(pl_module)
        if not self.weights:
            self.weights = {name: value.clone() for name, value in state.items()}
            self.updates = 0
        self.weights = {name: value.to(state[name].device) for name, value in self.weights.items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average, where the batch ended in an optimiser step."""
        if trainer.global_step == self.updates:
            return
        self.updates += 1
        self.update(_state(pl_module))

    def update(self, state: dict[str, Tensor]) -> None:
        """Move the average towards the weights of update number ``updates``."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in state.items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average in place of the weights."""
        self._trained = {name: value.clone() for name, value in _state(pl_module).items()}
        _copy(self.weights, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the weights back."""
        if self._trained is not None:
            _copy(self._trained, pl_module)
            self._trained = None


def _state(module: LightningModule) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in cast(Task, module).network.state_dict().items()}


@torch.no_grad()
def _copy(weights: dict[str, Tensor], module: LightningModule) -> None:
    for name, value in _state(module).items():
        value.copy_(weights[name])
