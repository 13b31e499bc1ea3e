"""Bias loss: samples whose last feature map varies little weigh less.

Abrahamyan et al., "Bias Loss for Mobile Neural Networks", arXiv 2107.11170. The variance is scaled by the
minimum and maximum of the batch (mode "local" of the authors' code; their mode "global" mixes a running
minimum with the range of the batch, and is not here).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def bias_weights(features: Tensor, *, alpha: float = 0.3, beta: float = 0.3) -> Tensor:
    """Features (B, *) -> weights (B,) in [1 - beta, exp(alpha) - beta], growing with the features' variance.

    No gradient flows through the weights. Equal variances, as in a batch of one, give 1 - beta.
    """
    rows = features.detach().flatten(1).float()
    if rows.shape[1] < 2:
        raise ValueError(
            f"bias loss: features {tuple(features.shape)} have no variance; give the last feature map"
        )
    variances = rows.var(dim=1)
    low, high = torch.aminmax(variances)
    span = high - low
    scaled = torch.where(span > 0, (variances - low) / span, 0.0)
    return torch.exp(alpha * scaled) - beta


class BiasLoss(nn.Module):
    """Cross-entropy in nats with each sample weighted by the variance of its features.

    Args:
        alpha: Growth of the weight with the variance.
        beta: What is taken from every weight.
    """

    def __init__(self, *, alpha: float = 0.3, beta: float = 0.3) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta

    def forward(self, logits: Tensor, target: Tensor, features: Tensor) -> Tensor:
        """Logits (B, K), classes (B,) or probabilities (B, K), last feature map (B, *) -> the mean loss."""
        weights = bias_weights(features, alpha=self.alpha, beta=self.beta)
        return (weights * F.cross_entropy(logits, target, reduction="none")).mean()
