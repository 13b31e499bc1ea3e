from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tessera.core.network import Network
from tessera.core.run_config import OptimConfig
from tessera.core.tasks.classification import SingleLabel
from tessera.core.training.ema import Ema


class Clocked:
    """As much of a trainer as the callback asks for."""

    global_step = 0


def task_of(network: nn.Module) -> SingleLabel:
    return SingleLabel(Network(nn.Identity(), network), n_classes=2, optim=OptimConfig(), total_steps=1)


def run(ema: Ema, task: SingleLabel, weights: list[float]) -> None:
    trainer: Any = Clocked()
    parameter = next(task.network.parameters())
    ema.on_train_start(trainer, task)
    for value in weights:
        nn.init.constant_(parameter, value)
        trainer.global_step += 1
        ema.on_train_batch_end(trainer, task, None, None, 0)


def test_the_average_is_that_of_its_recursion() -> None:
    task = task_of(nn.Linear(1, 1, bias=False))
    nn.init.constant_(next(task.network.parameters()), 1.0)
    ema = Ema(0.2)
    run(ema, task, [2.0, 3.0])
    # decays min(0.2, 2/11) and min(0.2, 3/12)
    first = 2 / 11 * 1.0 + 9 / 11 * 2.0
    assert ema.weights["body.weight"].item() == pytest.approx(0.2 * first + 0.8 * 3.0)


def test_a_batch_without_an_optimiser_step_is_not_averaged() -> None:
    task = task_of(nn.Linear(1, 1, bias=False))
    ema = Ema(0.5)
    run(ema, task, [4.0])
    before = ema.weights["body.weight"].clone()
    trainer: Any = Clocked()
    trainer.global_step = 1
    nn.init.constant_(next(task.network.parameters()), 100.0)
    ema.on_train_batch_end(trainer, task, None, None, 0)
    assert torch.equal(ema.weights["body.weight"], before)


def test_running_statistics_are_averaged_and_counters_copied() -> None:
    norm = nn.BatchNorm1d(1, affine=False)
    task = task_of(norm)
    ema = Ema(0.9)
    trainer: Any = Clocked()
    ema.on_train_start(trainer, task)
    norm.running_mean.fill_(11.0)  # type: ignore[union-attr]
    norm.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    trainer.global_step = 1
    ema.on_train_batch_end(trainer, task, None, None, 0)
    assert ema.weights["body.running_mean"].item() == pytest.approx(9.0)  # decay 2/11 of 0, the rest of 11
    assert ema.weights["body.num_batches_tracked"].item() == 7


def test_constant_buffers_keep_their_bits() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.register_buffer("bank", torch.rand(1000, generator=torch.Generator().manual_seed(0)))
    task = task_of(network)
    ema = Ema(0.999)
    run(ema, task, [1.0, 2.0, 3.0, 4.0])
    assert torch.equal(ema.weights["body.bank"], network.bank)  # type: ignore[arg-type]


def test_validation_sees_the_average_and_training_goes_on_with_its_own_weights() -> None:
    task = task_of(nn.Linear(1, 1, bias=False))
    parameter = next(task.network.parameters())
    ema = Ema(0.9)
    run(ema, task, [5.0])
    trainer: Any = Clocked()
    ema.on_validation_start(trainer, task)
    assert torch.equal(parameter.detach(), ema.weights["body.weight"])
    ema.on_validation_end(trainer, task)
    assert parameter.item() == 5.0
