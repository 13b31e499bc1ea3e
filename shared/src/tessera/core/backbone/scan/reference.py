"""The selective scan written as it is defined: the oracle of the fast forms."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def selective_scan_reference(
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
    """One step of time after the other, every state kept for autograd; float32 or wider inside.

    h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t;  y_t = <C_t, h_t> + D u_t, times silu(z_t).
    Arguments and result as in `selective_scan`.
    """
    dtype = torch.promote_types(u.dtype, torch.float32)
    wide_u, step, rate = u.to(dtype), delta.to(dtype), A.to(dtype)
    if delta_bias is not None:
        step = step + delta_bias.to(dtype)[:, None]
    if delta_softplus:
        step = F.softplus(step)
    read_in, read_out = (_per_channel(m.to(dtype), u.shape[1]) for m in (B, C))
    state = wide_u.new_zeros(*u.shape[:2], A.shape[1])
    outputs = []
    for t in range(u.shape[-1]):
        moved = step[:, :, t, None]
        state = torch.exp(moved * rate) * state + moved * read_in[..., t] * wide_u[:, :, t, None]
        outputs.append((read_out[..., t] * state).sum(-1))
    y = torch.stack(outputs, dim=-1)
    if D is not None:
        y = y + D.to(dtype)[:, None] * wide_u
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(u.dtype)


def _per_channel(matrix: Tensor, channels: int) -> Tensor:
    """(B, N, L) or (B, G, N, L) -> (B, D, N, L): channels of a group share their matrix."""
    grouped = matrix if matrix.ndim == 4 else matrix[:, None]
    return grouped.repeat_interleave(channels // grouped.shape[1], dim=1)
