"""The trainable part of a Mamba layer, for several sequences of one map that have weights of their own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tessera.core.backbone.scan import selective_scan

SHORTEST_STEP, LONGEST_STEP, STEP_FLOOR = 1e-3, 0.1, 1e-4  # Mamba's released code


class DirectionalScan(nn.Module):
    """K sequences (B, K, D, L) -> the same shape; step, B and C are linear in the input at each position.

    Gu and Dao, "Mamba", arXiv 2312.00752, without its convolution and gate. First values as in Mamba: decay
    rates 1 to N, step sizes between 0.001 and 0.1.

    Args:
        channels: D.
        directions: K.
        order: N, values of state per channel.
        rank: Numbers from which the step sizes of all channels are made.
    """

    def __init__(self, channels: int, *, directions: int, order: int, rank: int) -> None:
        super().__init__()
        if min(channels, directions, order, rank) < 1:
            raise ValueError(f"selective scan: order {order} and rank {rank} must be 1 or more")
        self.sizes = [rank, order, order]
        self.project = nn.Parameter(torch.empty(directions, sum(self.sizes), channels))
        self.step_weight = nn.Parameter(torch.empty(directions, channels, rank))
        self.step_bias = nn.Parameter(torch.empty(directions, channels))
        self.log_rate = nn.Parameter(torch.empty(directions * channels, order))
        self.skip = nn.Parameter(torch.ones(directions * channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        rank, order, _ = self.sizes
        for weight, inputs in ((self.project, self.project.shape[2]), (self.step_weight, rank)):
            nn.init.uniform_(weight, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs))
        with torch.no_grad():
            nn.init.uniform_(self.step_bias, math.log(SHORTEST_STEP), math.log(LONGEST_STEP))
            step = self.step_bias.exp().clamp(min=STEP_FLOOR)
            self.step_bias.copy_(step + torch.log(-torch.expm1(-step)))  # softplus gives the step back
            self.log_rate.copy_(torch.arange(1.0, order + 1).log())
            self.skip.fill_(1)

    def forward(self, sequences: Tensor) -> Tensor:
        """(B, K, D, L) -> (B, K, D, L)."""
        step, read_in, read_out = torch.split(self.project @ sequences, self.sizes, dim=2)
        y = selective_scan(
            sequences.flatten(1, 2),
            (self.step_weight @ step).flatten(1, 2),
            -self.log_rate.exp(),
            read_in,
            read_out,
            D=self.skip,
            delta_bias=self.step_bias.flatten(),
            delta_softplus=True,
        )
        return y.reshape(sequences.shape)
