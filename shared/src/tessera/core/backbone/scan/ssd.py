"""The scan with one decay per head (Mamba-2, state space duality): matrix products instead of a loop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CPU_CHUNK, GPU_CHUNK = 16, 64  # steps: small chunks spare work, large ones fill matrix units


def ssd_reference(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The recursion step by step; arguments and result as in `ssd_scan`."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    wide, decay = x.to(dtype), log_decay.to(dtype).exp()
    read_in, read_out = (_per_head(m.to(dtype), x.shape[2]) for m in (B, C))
    state = wide.new_zeros(x.shape[0], x.shape[2], x.shape[3], B.shape[-1])
    outputs = []
    for t in range(x.shape[1]):
        state = decay[:, t, :, None, None] * state + wide[:, t, :, :, None] * read_in[:, t, :, None, :]
        outputs.append((state @ read_out[:, t, :, :, None])[..., 0])
    return torch.stack(outputs, dim=1).to(x.dtype)


def ssd_scan(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, *, chunk: int | None = None) -> Tensor:
    """Scan (B, L, H, P) along L, each head with a state of P x N values and one decay per step.

    Dao and Gu, "Transformers are SSMs", arXiv 2405.21060. h_t = exp(log_decay_t) h_(t-1) + x_t B_t^T;
    y_t = h_t C_t. The same result as the recursion, in four steps: within each chunk a masked product like
    attention; the state that each chunk adds; the recursion over chunks, as one product with the matrix
    of decays between chunks (its cost grows with the square of their number: give long sequences longer
    chunks); and what the state before each chunk contributes. Float32 or wider inside. A Mamba-2 block
    passes x = delta * u and log_decay = delta * A.

    Args:
        x: Input (B, L, H, P).
        log_decay: Logarithm of the decay, (B, L, H), not positive.
        B: Input weights (B, L, G, N); G groups of heads, G divides H.
        C: Output weights, shaped like B.
        chunk: Steps in a chunk; None takes 16 on a CPU and 64 on a GPU.
    """
    _check_shapes(x, log_decay, B, C)
    with torch.autocast(x.device.type, enabled=False):
        return _ssd(x, log_decay, B, C, chunk or (GPU_CHUNK if x.is_cuda else CPU_CHUNK))


def _ssd(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, chunk: int) -> Tensor:
    dtype = torch.promote_types(x.dtype, torch.float32)
    length, heads = x.shape[1:3]
    values, decays, read_in, read_out = (
        _chunked(m.to(dtype), chunk)
        for m in (x, log_decay[..., None], _per_head(B, heads), _per_head(C, heads))
    )  # (B, H, chunks, chunk, P | 1 | N | N)
    logs = decays[..., 0]
    within = segment_sums(logs).exp()
    y = (read_out @ read_in.mT * within) @ values
    running = logs.cumsum(-1)
    to_end = within[..., -1, :, None]
    added = (values * to_end).mT @ read_in  # (B, H, chunks, P, N)
    between = segment_sums(F.pad(running[..., -1], (1, 0))).exp()[..., :-1, 1:]
    states = (between @ added.flatten(-2)).reshape(added.shape)
    y = y + (read_out @ states.mT) * running.exp()[..., None]
    return y.flatten(2, 3)[:, :, :length].transpose(1, 2).to(x.dtype)


def segment_sums(values: Tensor) -> Tensor:
    """(..., T) -> (..., T, T): entry (i, j) is the sum of values j + 1 to i, and -inf where j > i.

    Summed after masking; the difference of two running sums would lose the digits of small segments.
    """
    size = values.shape[-1]
    rows = values[..., None].expand(*values.shape, size)
    below = torch.ones(size, size, dtype=torch.bool, device=values.device).tril(-1)
    sums = rows.masked_fill(~below, 0).cumsum(-2)
    return sums.masked_fill(below.mT, -torch.inf)


def _chunked(values: Tensor, chunk: int) -> Tensor:
    """(B, L, H, X) -> (B, H, chunks, chunk, X), zeros after the end (decay 1, nothing added)."""
    padded = F.pad(values, (0, 0, 0, 0, 0, -values.shape[1] % chunk))
    batch, length, heads, width = padded.shape
    return padded.transpose(1, 2).reshape(batch, heads, length // chunk, chunk, width)


def _per_head(matrix: Tensor, heads: int) -> Tensor:
    """(B, L, G, N) -> (B, L, H, N)."""
    return matrix.repeat_interleave(heads // matrix.shape[2], dim=2)


def _check_shapes(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor) -> None:
    if x.ndim != 4 or log_decay.shape != x.shape[:3]:
        raise ValueError(
            f"ssd_scan: x {tuple(x.shape)} and log_decay {tuple(log_decay.shape)}; "
            f"give (B, L, H, P) and (B, L, H)"
        )
    batch, length, heads = x.shape[:3]
    if B.ndim != 4 or B.shape != C.shape or B.shape[:2] != (batch, length) or heads % B.shape[2]:
        raise ValueError(
            f"ssd_scan: B {tuple(B.shape)} and C {tuple(C.shape)}; give both as ({batch}, {length}, G, N) "
            f"with a number of groups G that divides {heads}"
        )
