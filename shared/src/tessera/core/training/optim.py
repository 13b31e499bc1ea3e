"""The optimiser and its learning rate, a function of the step alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tessera.core.errors import ConfigError
from tessera.core.run_config import OptimConfig


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Trained parameters in two groups: matrices and kernels decay, vectors (biases, norms) do not."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trained:
        raise ConfigError("the network has no parameter to train")
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(network: nn.Module, config: OptimConfig) -> Optimizer:
    """AdamW or SGD; fused where the parameters lie on a GPU."""
    groups = parameter_groups(network, config.weight_decay)
    fused = all(p.is_cuda for p in network.parameters()) or None
    if config.kind == "sgd":
        return SGD(
            groups,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov and config.momentum > 0,
            fused=fused,
        )
    return AdamW(groups, lr=config.lr, fused=fused)


def lr_factor(config: OptimConfig, total_steps: int) -> Callable[[int], float]:
    """Learning rate of step 0, 1, ... as a share of ``config.lr``.

    The warm-up rises linearly and reaches 1 at its last step. The schedule falls from 1 at the next step
    to its final value at step ``total_steps``, which is never made: the last step still teaches.
    """
    warmup = round(config.warmup_fraction * total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        if config.schedule == "cosine":
            low = config.final_lr_fraction
            return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done))
        if config.schedule == "polynomial":
            return (1 - done) ** config.power
        if config.schedule == "step":
            passed = sum(step >= fraction * total_steps for fraction in config.step_fractions)
            return config.step_factor**passed
        return 1.0

    return factor


def build_schedule(optimizer: Optimizer, config: OptimConfig, total_steps: int) -> LambdaLR:
    """The learning rate as a scheduler to be stepped once an optimiser step."""
    return LambdaLR(optimizer, lr_factor(config, total_steps))


def learning_rate(optimizer: Optimizer) -> float:
    """The learning rate of the next step."""
    rate = optimizer.param_groups[0]["lr"]
    return float(rate.item() if isinstance(rate, torch.Tensor) else rate)
