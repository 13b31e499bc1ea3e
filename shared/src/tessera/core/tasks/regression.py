"""Measured numbers, with or without their uncertainties."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from tessera.core.backbone.losses.moment_network import moment_network_loss
from tessera.core.network import GaussianScale
from tessera.core.tasks.base import Better, Task
from tessera.core.tasks.gather import CaseRows
from tessera.core.tasks.step import Stage


class Regression(Task):
    """Gaussian likelihood of outputs (B, 2 P), means and log variances; squared error of outputs (B, P).

    Targets are (B,) of one number, (B, P) of several; the loss is the mean over the P.
    """

    better: ClassVar[Mapping[str, Better]] = {"val_loss": "min", "val_mae": "min", "val_r2": "max"}

    def losses(self, output: Tensor, target: Tensor, stage: Stage) -> dict[str, Tensor]:
        """Negative log-likelihood in nats, or squared error, (B,)."""
        numbers = target.reshape(len(target), -1)
        squared = (output[:, : numbers.shape[1]] - numbers) ** 2
        if output.shape == numbers.shape:
            return {"squared_error": squared.mean(dim=1)}
        log_variance = output[:, numbers.shape[1] :]  # the network keeps it within bounds
        nll = 0.5 * (log_variance + squared * (-log_variance).exp() + math.log(2 * math.pi))
        return {"gaussian_nll": nll.mean(dim=1)}

    def metrics(self, rows: CaseRows) -> dict[str, float]:
        """Mean absolute error and R squared of cases whose windows' means are averaged; means over the P."""
        target = rows.case_target.astype(np.float64).reshape(len(rows.cases), -1)
        predicted = rows.mean_by_case(rows.output[:, : target.shape[1]])
        spread = ((target - target.mean(axis=0)) ** 2).sum(axis=0)
        residual = ((target - predicted) ** 2).sum(axis=0)
        r2 = np.where(spread > 0, 1 - residual / np.where(spread > 0, spread, 1.0), np.nan)
        return {"val_mae": float(np.abs(predicted - target).mean()), "val_r2": float(r2.mean())}


class MomentRegression(Regression):
    """The loss of moment networks, on targets in units of their spread over the training cases.

    Args:
        eps: See ``moment_network_loss``.
    """

    def __init__(self, *arguments: Any, eps: float = 1e-8, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.eps = eps

    def losses(self, output: Tensor, target: Tensor, stage: Stage) -> dict[str, Tensor]:
        """The batch's loss, the same for each row (B,)."""
        return self.weighed_losses(output, target, stage, output.new_ones(len(output)))

    def weighed_losses(
        self, output: Tensor, target: Tensor, stage: Stage, weight: Tensor
    ) -> dict[str, Tensor]:
        """The loss of the rows that count, the same for each row (B,)."""
        numbers = target.reshape(len(target), -1)
        scale = self.network.output.scale if isinstance(self.network.output, GaussianScale) else 1.0
        mean, log_variance = output.chunk(2, dim=1)
        spread = (0.5 * log_variance).exp()
        loss = moment_network_loss(
            mean / scale, spread / scale, numbers / scale, eps=self.eps, weight=weight.to(output.device)
        )
        return {"moments": loss.expand(len(output))}
