"""A network as every pipeline has it: a front end on the model's device and a body."""

from __future__ import annotations

from torch import Tensor, nn


class Network(nn.Module):
    """Front end (normalisation, spectrogram) followed by the trained body.

    Augmentation of features happens between the two, so they stay separate.

    Args:
        front_end: (B, C, *S) raw input -> features; float32, usually without parameters.
        body: Features -> raw output (B, K).
    """

    def __init__(self, front_end: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.front_end = front_end
        self.body = body

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, *S) -> raw output (B, K)."""
        return self.body(self.front_end(input))
