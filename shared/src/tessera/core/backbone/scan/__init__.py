"""Selective scans (Mamba): the recursion whose decay and weights depend on the input; imports torch only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tessera.core.backbone.scan.doubling import scan_doubling
from tessera.core.backbone.scan.operator import scan_sums
from tessera.core.backbone.scan.reference import selective_scan_reference
from tessera.core.backbone.scan.ssd import ssd_reference, ssd_scan

__all__ = ["selective_scan", "selective_scan_reference", "ssd_reference", "ssd_scan"]


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
) -> Tensor:
    """Scan (B, D, L) along L with a state of N values per channel.

    Gu and Dao, "Mamba", arXiv 2312.00752, as its released code computes it (Euler step for B):
    h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t;  y_t = <C_t, h_t> + D u_t, times silu(z_t).
    The state is float32 (float64 for float64 inputs) whatever the inputs are. Chosen by device: Triton on a
    GPU that has it, else a loop over time; both compute the states again in the backward pass, so that
    nothing of size B x D x N x L is held. ``torch.export`` gets plain operations, for one length L, which
    do hold that.

    Args:
        u: Input (B, D, L).
        delta: Step sizes (B, D, L).
        A: Decay rates (D, N), negative.
        B: Input weights (B, N, L), or (B, G, N, L) where each of G groups of channels has its own.
        C: Output weights, shaped like B.
        D: Weight (D,) of the input added to the output.
        z: Gate (B, D, L); the output is multiplied by silu(z).
        delta_bias: Added to delta, (D,).
        delta_softplus: Whether softplus makes delta positive, after the bias.
    """
    B, C = (m if m.ndim == 4 else m.unsqueeze(1) for m in (B, C))
    _check_shapes(u, delta, A, B, C)
    dtype = torch.promote_types(u.dtype, torch.float32)
    step = delta if delta_bias is None else delta.to(dtype) + delta_bias.to(dtype)[:, None]
    if delta_softplus:
        step = F.softplus(step.to(dtype))
    if torch.compiler.is_exporting():
        y = scan_doubling(u, step, A, B, C)
    else:
        y, _ = scan_sums(u, step, A, B, C)
    if D is not None:
        y = y + D.to(dtype)[:, None] * u
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(u.dtype)


def _check_shapes(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
    if u.ndim != 3 or min(u.shape) < 1 or delta.shape != u.shape:
        raise ValueError(
            f"selective_scan: u {tuple(u.shape)} and delta {tuple(delta.shape)}; give both as (B, D, L)"
        )
    batch, channels, length = u.shape
    if A.ndim != 2 or A.shape[0] != channels:
        raise ValueError(
            f"selective_scan: A {tuple(A.shape)}; give ({channels}, N), one row per channel of u"
        )
    groups = B.shape[1]
    if B.shape != C.shape or B.shape != (batch, groups, A.shape[1], length) or channels % groups:
        raise ValueError(
            f"selective_scan: B {tuple(B.shape)} and C {tuple(C.shape)}; give both as "
            f"({batch}, {A.shape[1]}, {length}), or as ({batch}, G, {A.shape[1]}, {length}) "
            f"with a number of groups G that divides {channels}"
        )
