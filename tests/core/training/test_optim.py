from __future__ import annotations

import math
from typing import Any

import pytest
from torch import nn

from tessera.core.errors import ConfigError
from tessera.core.run_config import OptimConfig
from tessera.core.training.optim import build_optimizer, build_schedule, learning_rate, lr_factor


def factors(total: int, **options: Any) -> list[float]:
    factor = lr_factor(OptimConfig(**options), total)
    return [factor(step) for step in range(total + 1)]


def test_warm_up_rises_linearly_to_the_peak() -> None:
    assert factors(100, warmup_fraction=0.04, schedule="constant")[:6] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_starts_at_the_peak_passes_the_middle_and_ends_at_its_final_value() -> None:
    values = factors(110, warmup_fraction=1 / 11, schedule="cosine", final_lr_fraction=0.2)
    assert values[10] == 1.0
    assert values[60] == pytest.approx(0.6)
    assert values[35] == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)
    assert values[110] == pytest.approx(0.2)


def test_polynomial_falls_with_its_power() -> None:
    values = factors(100, warmup_fraction=0.0, schedule="polynomial", power=2.0)
    assert values[0] == 1.0
    assert values[50] == pytest.approx(0.25)
    assert values[100] == 0.0


def test_polynomial_is_that_of_nnunet() -> None:
    values = factors(1000, warmup_fraction=0.0, schedule="polynomial", power=0.9, lr=0.01)
    rates = {epoch: 0.01 * values[epoch] for epoch in (1, 100, 500, 900, 999)}
    published = {1: 0.009991, 100: 0.0090953, 500: 0.00535887, 900: 0.00125893, 999: 1.99526e-5}
    assert rates == pytest.approx(published, rel=1e-5)


def test_step_drops_at_its_fractions() -> None:
    options: dict[str, Any] = {"step_fractions": (0.5, 0.8), "step_factor": 0.1}
    values = factors(100, warmup_fraction=0.0, schedule="step", **options)
    assert [values[i] for i in (49, 50, 79, 80, 99)] == pytest.approx([1.0, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "polynomial", "step"])
@pytest.mark.parametrize("total", [1, 2, 3, 1000])
def test_every_step_learns(schedule: str, total: int) -> None:
    values = factors(total, schedule=schedule, warmup_fraction=0.1)[:total]
    assert all(0 < value <= 1 for value in values)


def test_biases_and_norms_do_not_decay() -> None:
    network = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Linear(4, 5))
    decayed, free = build_optimizer(network, OptimConfig(weight_decay=0.1)).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert {tuple(p.shape) for p in decayed["params"]} == {(3, 2, 3), (5, 4)}
    assert [tuple(p.shape) for p in free["params"]] == [(3,), (3,), (3,), (5,)]


def test_frozen_parameters_are_left_out_and_nothing_to_train_is_an_error() -> None:
    network = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ConfigError, match="no parameter to train"):
        build_optimizer(network, OptimConfig())


def test_sgd_makes_the_step_of_its_formula() -> None:
    network = nn.Linear(1, 1, bias=False)
    start = network.weight.item()
    optimizer = build_optimizer(network, OptimConfig(kind="sgd", lr=0.1, momentum=0.0, weight_decay=0.5))
    (3 * network.weight).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert network.weight.item() == pytest.approx(start - 0.1 * (3 + 0.5 * start))


@pytest.mark.parametrize(("nesterov", "second"), [(False, 1.9), (True, 2.71)])
def test_nesterov_looks_ahead_along_the_momentum(nesterov: bool, second: float) -> None:
    network = nn.Linear(1, 1, bias=False)
    config = OptimConfig(kind="sgd", lr=1.0, momentum=0.9, weight_decay=0.0, nesterov=nesterov)
    optimizer = build_optimizer(network, config)
    for _ in range(2):
        before = network.weight.item()
        optimizer.zero_grad()
        network.weight.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert before - network.weight.item() == pytest.approx(second)


def test_the_scheduler_sets_the_rate_of_each_step() -> None:
    config = OptimConfig(lr=0.5, warmup_fraction=0.4, schedule="polynomial", power=1.0)
    optimizer = build_optimizer(nn.Linear(1, 1), config)
    scheduler = build_schedule(optimizer, config, 5)
    rates = []
    for _ in range(5):
        rates.append(learning_rate(optimizer))
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.25, 0.5, 0.5, 1 / 3, 1 / 6])
