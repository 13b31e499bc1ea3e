"""Bias loss: samples whose last feature map varies little weigh less.

Abrahamyan et al., "Bias Loss for Mobile Neural Networks", arXiv 2107.11170. Here is the factor of each
sample's cross-entropy; the loss is the mean of the products. Maps that end in a layer norm vary almost
equally, and their factors say little.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Scale = Literal["local", "global"]


class BiasWeights(nn.Module):
    """Last feature map (B, *) -> factors (B,) that grow with its variance; no gradient flows through them.

    Args:
        alpha: Growth of the factor with the variance.
        beta: What is taken from every factor.
        scale: What a variance is measured by. "local": the range of the batch, so that factors lie in
            [1 - beta, exp(alpha) - beta]. "global", the default of the authors' code: counted from the least
            variance of all batches so far, in units of the batch's range, so that factors can be larger.
    """

    lowest: Tensor

    def __init__(self, *, alpha: float = 0.3, beta: float = 0.3, scale: Scale = "local") -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.scale = scale
        self.register_buffer("lowest", torch.tensor(math.inf), persistent=scale == "global")

    def forward(self, features: Tensor, counted: Tensor | None = None) -> Tensor:
        """Features (B, *), and which rows (B,) count, all by default -> (B,).

        Rows that do not count, and all rows where variances are equal, get 1 - beta.
        """
        rows = features.detach().flatten(1).float()
        if rows.shape[1] < 2:
            raise ValueError(
                f"bias loss: features {tuple(features.shape)} have no variance; give the last feature map"
            )
        variances = rows.var(dim=1)
        if counted is None:
            counted = torch.ones_like(variances, dtype=torch.bool)
        lowest = torch.where(counted, variances, math.inf).amin()
        span = torch.where(counted, variances, -math.inf).amax() - lowest
        if self.scale == "global":
            lowest = torch.minimum(self.lowest, lowest)
            self.lowest.copy_(lowest)
        scaled = torch.where(counted & (span > 0), (variances - lowest) / span, 0.0)
        return torch.exp(self.alpha * scaled) - self.beta
