"""Soft Dice and Tversky losses of masks, and the weights of deep supervision, as nnU-Net uses them.

Isensee et al., Nature Methods 18 (2021) 203-211, for Dice and deep supervision; Salehi et al., MLMI 2017,
arXiv:1706.05721, for the Tversky index.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTH = 1e-5


def overlap_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    over_batch: bool = False,
    smooth: float = SMOOTH,
) -> Tensor:
    """Logits (B, K, *S) and classes (B, *S) -> minus the soft overlap (B,), mean over classes 1 to K - 1.

    Of each class -(2 I + s) / (2 I + 2 alpha FP + 2 beta FN + s); with both weights at one half this is the
    soft Dice -(2 I + s) / (P + G + s), P and G the sums of probabilities and of the reference.

    Args:
        logits: Raw output.
        target: Class of each element.
        alpha: Weight of what is found and not there.
        beta: Weight of what is there and not found.
        over_batch: Sum over the batch before dividing; every row has the same loss then.
        smooth: s, which makes an empty class in an empty answer count as found.
    """
    probabilities = logits.softmax(dim=1)[:, 1:]
    truth = F.one_hot(target, logits.shape[1]).movedim(-1, 1)[:, 1:].to(probabilities.dtype)
    axes = tuple(range(2, logits.ndim))
    found, positive, both = (
        values.sum(dim=axes) for values in (probabilities, truth, probabilities * truth)
    )  # (B, K - 1)
    if over_batch:
        found, positive, both = (values.sum(dim=0, keepdim=True) for values in (found, positive, both))
    spurious, missed = found - both, positive - both
    score = (2 * both + smooth) / (2 * both + 2 * alpha * spurious + 2 * beta * missed + smooth)
    return -score.mean(dim=1).expand(len(logits))


def deep_supervision_weights(n: int) -> tuple[float, ...]:
    """Weights of n heads, finest first: each half of the one before, the last 0, together 1; one head: 1."""
    if n == 1:
        return (1.0,)
    raw = [0.5**i for i in range(n - 1)] + [0.0]
    return tuple(value / sum(raw) for value in raw)


def reduced_classes(target: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
    """Classes (B, *S) -> (B, *size), each the class at the place of its centre."""
    if tuple(target.shape[1:]) == tuple(size):
        return target
    shrunk = F.interpolate(target[:, None].float(), tuple(size), mode="nearest-exact")
    return shrunk[:, 0].to(target.dtype)
