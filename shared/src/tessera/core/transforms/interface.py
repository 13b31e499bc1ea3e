"""What the training step calls on a batch, before and after the front end."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class BatchTransforms(Protocol):
    """Random changes of a training batch; every draw comes from the generator given.

    ``target`` is soft where classes are learnt: (B, K) probabilities, so that mixup can blend it; a mask
    stays int64 (B, *S), and whatever moves the input moves it too.
    """

    def on_input(self, input: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change raw input (B, C, *S)."""
        ...

    def on_features(
        self, features: Tensor, target: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Change features (B, C, *F)."""
        ...
