"""Stochastic depth: whole branches are left out of some samples in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Zero each sample with a probability and scale the others up, in training only.

    Huang et al., "Deep Networks with Stochastic Depth", arXiv 1603.09382, one draw a sample.

    Args:
        probability: Of a zero, below 1.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError(f"drop_path {probability} is no probability below 1; give 0 to switch it off")
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        if not self.training:
            return x
        kept = 1 - self.probability
        mask = torch.empty(x.shape[0], *[1] * (x.ndim - 1), dtype=x.dtype, device=x.device).bernoulli_(kept)
        return x * mask / kept


def rising_rates(last: float, blocks: int) -> list[float]:
    """One probability a block, from 0 to ``last`` in even steps."""
    return [last * i / max(1, blocks - 1) for i in range(blocks)]
