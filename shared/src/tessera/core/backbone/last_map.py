"""Networks that also give the maps their answer comes from, for losses and pictures that need both."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class GivesMaps(Protocol):
    """A network (B, c, *S) -> logits (B, K) that can say what it saw."""

    def maps_and_logits(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """(B, c, *S) -> maps (B, C_i, *S_i), the one the head takes last, and the logits of `forward`."""


class LastMapNetwork(nn.Module):
    """A network in two parts, the second of which sees the last map alone."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, *S) -> logits (B, K)."""
        return self.classify(self.last_map(x))

    def maps_and_logits(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """(B, c, *S) -> the last map (B, C, *S') alone, and logits (B, K)."""
        last = self.last_map(x)
        return [last], self.classify(last)

    @abstractmethod
    def last_map(self, x: Tensor) -> Tensor:
        """(B, c, *S) -> (B, C, *S')."""

    @abstractmethod
    def classify(self, last: Tensor) -> Tensor:
        """Last map (B, C, *S') -> logits (B, K)."""
