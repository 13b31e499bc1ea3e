"""Networks that are trained by losses of their own, on an output that only training sees."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class HasTrainingLosses(Protocol):
    """A network for masks whose output in training is no logits; in evaluation it gives logits (B, K, *S)."""

    def training_losses(self, output: Any, target: Tensor) -> dict[str, Tensor]:
        """Named losses (B,), whose sum is minimised, of what ``forward`` gave and classes (B, *S)."""
