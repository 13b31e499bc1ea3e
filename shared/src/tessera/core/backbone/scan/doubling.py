"""The selective scan in log2(L) steps of plain operations: what an exported program holds."""

from __future__ import annotations

import torch
from torch import Tensor


def scan_doubling(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The sums <C_t, h_t> (B, D, L); u, delta (B, D, L), A (D, N), B, C (B, G, N, L).

    Each round joins the result of a span with that of the equally long span before it. Products of
    decays only, no quotients and no logarithms: nothing overflows. Unlike the loop it holds
    B x D x N x L values and does log2(L) times the work, but it has no loop over time, so that a
    tracer sees a few dozen operations of any sequence length.
    """
    dtype = torch.promote_types(u.dtype, torch.float32)
    batch, groups, order, length = B.shape
    step, wide_u = (v.to(dtype).reshape(batch, groups, -1, 1, length) for v in (delta, u))
    decay = torch.exp(step * A.to(dtype).reshape(groups, -1, order, 1))  # (B, G, R, N, L)
    state = step * wide_u * B.to(dtype)[:, :, None]
    span = 1
    while span < length:
        joined = state[..., span:] + decay[..., span:] * state[..., :-span]
        state = torch.cat([state[..., :span], joined], dim=-1)
        decay = torch.cat([decay[..., :span], decay[..., span:] * decay[..., :-span]], dim=-1)
        span *= 2
    return (state * C.to(dtype)[:, :, None]).sum(3).flatten(1, 2).to(u.dtype)
