"""A measured number, with or without its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from torch import Tensor

from tessera.core.tasks.base import Better, Task
from tessera.core.tasks.gather import CaseRows
from tessera.core.tasks.step import Stage


class Regression(Task):
    """Gaussian likelihood of outputs (B, 2): mean and log variance; squared error of outputs (B, 1)."""

    better: ClassVar[Mapping[str, Better]] = {"val_loss": "min", "val_mae": "min", "val_r2": "max"}

    def losses(self, output: Tensor, target: Tensor, stage: Stage) -> dict[str, Tensor]:
        """Negative log-likelihood in nats, or squared error, (B,)."""
        squared = (output[:, 0] - target) ** 2
        if output.shape[1] == 1:
            return {"squared_error": squared}
        log_variance = output[:, 1]  # the network keeps it within bounds
        nll = 0.5 * (log_variance + squared * (-log_variance).exp() + math.log(2 * math.pi))
        return {"gaussian_nll": nll}

    def metrics(self, rows: CaseRows) -> dict[str, float]:
        """Mean absolute error and R squared of cases whose windows' means are averaged."""
        predicted = rows.mean_by_case(rows.output[:, :1])[:, 0]
        target = rows.case_target.astype(np.float64)
        spread = float(((target - target.mean()) ** 2).sum())
        residual = float(((target - predicted) ** 2).sum())
        r2 = 1 - residual / spread if spread > 0 else float("nan")
        return {"val_mae": float(np.abs(predicted - target).mean()), "val_r2": r2}
