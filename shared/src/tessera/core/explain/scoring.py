"""The one number an explanation is about, and the state of a network while it is explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]
"""Raw output (B, K) -> what is explained (B, K), for instance probabilities."""


def scores_of(raw: Tensor, target_index: int | Tensor, activation: Activation | None) -> Tensor:
    """Raw output (B, K) -> the explained output of each row (B,).

    Args:
        raw: What the network gives.
        target_index: The output, or one for each row (B,).
        activation: Applied to the raw outputs first.
    """
    if raw.ndim != 2:
        raise ValueError(
            f"explanations are of networks with outputs (B, K); this one gives {tuple(raw.shape)}"
        )
    chosen = torch.as_tensor(target_index, device=raw.device).expand(len(raw))
    if bool(((chosen < 0) | (chosen >= raw.shape[1])).any()):
        raise ValueError(f"there is no output {target_index}; the network gives 0 to {raw.shape[1] - 1}")
    given = raw if activation is None else activation(raw)
    return given.gather(1, chosen[:, None])[:, 0]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards each module is in the mode it was in."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def log_odds(raw: Tensor) -> Tensor:
    """Logits of exclusive classes (B, K) -> ln(p / (1 - p)) of each class (B, K); K is at least 2."""
    others = raw[:, None, :].expand(-1, raw.shape[1], -1).clone()
    others.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    return raw - others.logsumexp(dim=2)
