"""The core of the selective scan as one PyTorch operator: autograd, meta tensors, torch.compile."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tessera.core.backbone.scan import loop, triton_scan


@torch.library.custom_op("tessera::selective_scan", mutates_args=())
def scan_sums(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """The sums <C_t, h_t> (B, D, L) and the states (P, B, G, N, R) that the backward pass starts from.

    u, delta (B, D, L); A (D, N); B, C (B, G, N, L). Triton where the tensors are on a GPU that has it,
    the loop over time elsewhere; never autocast.
    """
    with torch.autocast(u.device.type, enabled=False):
        engine = triton_scan if triton_scan.is_usable(u) else loop
        return engine.scan_forward(u, delta, A, B, C)


@torch.library.custom_op("tessera::selective_scan_backward", mutates_args=())
def scan_gradients(grad: Tensor, inputs: list[Tensor], before: Tensor) -> list[Tensor]:
    """Gradients of u, delta, A, B and C."""
    u, delta, A, B, C = inputs
    with torch.autocast(grad.device.type, enabled=False):
        engine = triton_scan if triton_scan.is_usable(u) else loop
        return list(engine.scan_backward(grad, (u, delta, A, B, C), before))


@scan_sums.register_fake
def _(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    engine = triton_scan if triton_scan.is_usable(u) else loop
    batch, channels, length = u.shape
    groups, order = B.shape[1:3]
    shape = engine.piece_count(length), batch, groups, order, channels // groups
    dtype = torch.promote_types(u.dtype, torch.float32)
    return u.new_empty(u.shape), u.new_empty(shape, dtype=dtype)


@scan_gradients.register_fake
def _(grad: Tensor, inputs: list[Tensor], before: Tensor) -> list[Tensor]:
    return [value.new_empty(value.shape) for value in inputs]


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])


def _gradients(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor, ...]:
    *inputs, before = ctx.saved_tensors
    return tuple(scan_gradients(grad, inputs, before))


scan_sums.register_autograd(_gradients, setup_context=_keep)
