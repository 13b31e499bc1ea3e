"""Activations that torch computes slowly on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ELU(nn.Module):
    """max(x, 0) + exp(min(x, 0)) - 1, any shape; `torch.nn.ELU` with alpha 1 to an absolute 1e-7.

    torch's CPU kernel computes expm1 one number at a time; exp is vectorised. Elsewhere torch's own is used.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return nn.functional.elu(x)
        if torch.is_grad_enabled() and x.requires_grad:
            return _ELU.apply(x)
        return _elu(x)


def _elu(x: Tensor) -> Tensor:
    return x.clamp_max(0).exp_().sub_(1).add_(x.clamp_min(0))


class _ELU(torch.autograd.Function):
    """Keeps the output alone: the slope is 1 where it is positive and output + 1 elsewhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        output = _elu(x)
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        return output.clamp_max(0).add_(1).mul_(gradients[0])
