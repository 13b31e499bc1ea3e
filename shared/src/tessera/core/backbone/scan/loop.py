"""The selective scan as a loop over time in pieces, forward and backward, for any device.

On a CPU a loop beats tree scans: they do log(L) times the work. Per step only one operation is left,
``h_t += a_t * h_(t-1)``; all else is done for a piece of about sqrt(L) steps at once, in buffers that the
next piece uses again. Kept for the backward pass is the state at the start of each piece; the states
between are computed again. So no tensor grows with L x N, only with sqrt(L) x N.

Inside, time comes first and channels last: (T, B, G, N, R), G groups of R = D / G channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SHORTEST_PIECE = 16


@dataclass(frozen=True)
class _Piece:
    """Views of a span of time; S stands for (B, G)."""

    time: slice
    step: Tensor  # (T, *S, 1, R)
    moved: Tensor  # step * u, (T, *S, 1, R)
    read_in: Tensor  # (T, *S, N, 1)
    read_out: Tensor  # (T, *S, 1, N)


class _Layout:
    """The inputs with time first, and their pieces."""

    def __init__(self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
        self.dtype = torch.promote_types(u.dtype, torch.float32)
        self.length = u.shape[-1]
        self.groups, self.order = B.shape[1:3]
        self.u, self.step = self.time_first(u), self.time_first(delta)
        self.rate = self._grouped_rate(A)
        self.read_in, self.read_out = (m.permute(3, 0, 1, 2).to(self.dtype).contiguous() for m in (B, C))
        self.span = piece_length(self.length)

    def time_first(self, values: Tensor) -> Tensor:
        """(B, D, L) -> (L, B, G, 1, R)."""
        grouped = values.to(self.dtype).reshape(len(values), self.groups, 1, -1, self.length)
        return grouped.permute(4, 0, 1, 2, 3).contiguous()

    def channels_first(self, values: Tensor) -> Tensor:
        """(L, B, G, 1, R) -> (B, D, L)."""
        return values.permute(1, 2, 3, 4, 0).flatten(1, 3).contiguous()

    def _grouped_rate(self, A: Tensor) -> Tensor:
        """(D, N) -> (G, N, R)."""
        return A.to(self.dtype).reshape(self.groups, -1, self.order).transpose(1, 2).contiguous()

    def buffer(self, length: int) -> Tensor:
        """Room for (length, B, G, N, R)."""
        _, batch, groups, _, width = self.u.shape
        return self.u.new_empty(length, batch, groups, self.order, width)

    def pieces(self) -> list[_Piece]:
        found = []
        for start in range(0, self.length, self.span):
            time = slice(start, min(start + self.span, self.length))
            step, read_in, read_out = self.step[time], self.read_in[time], self.read_out[time]
            moved = step * self.u[time]
            found.append(_Piece(time, step, moved, read_in[..., None], read_out[..., None, :]))
        return found


def piece_length(length: int) -> int:
    """Steps in a piece: about the square root of the length."""
    return max(SHORTEST_PIECE, math.isqrt(length))


def piece_count(length: int) -> int:
    """Pieces of a sequence, the last one perhaps shorter."""
    return -(-length // piece_length(length))


def scan_forward(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """The sums <C_t, h_t> (B, D, L) and the state before each piece (P, B, G, N, R).

    u, delta (B, D, L); A (D, N); B, C (B, G, N, L).
    """
    layout = _Layout(u, delta, A, B, C)
    decay, states = layout.buffer(layout.span), layout.buffer(layout.span + 1)
    states[0] = 0
    before = layout.buffer(piece_count(layout.length))
    y = torch.empty_like(layout.u)
    decays, rows = decay.unbind(), states.unbind()
    for number, piece in enumerate(layout.pieces()):
        size = len(piece.step)
        before[number] = states[0]
        _run(piece, layout.rate, decay=decay[:size], states=states[: size + 1], rows=(decays, rows))
        torch.matmul(piece.read_out, states[1 : size + 1], out=y[piece.time])
        states[0] = states[size]
    return layout.channels_first(y).to(u.dtype), before


def scan_backward(
    grad: Tensor, inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], before: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, A, B, C from that of the sums (B, D, L) and the states of `scan_forward`."""
    u, delta, A, B, C = inputs
    layout = _Layout(u, delta, A, B, C)
    grad_y = layout.time_first(grad)
    decay, states = layout.buffer(layout.span), layout.buffer(layout.span + 1)
    adjoint = layout.buffer(layout.span)
    decays, rows, adjoints = decay.unbind(), states.unbind(), adjoint.unbind()
    carry = torch.zeros_like(rows[0])
    grad_u, grad_step = torch.empty_like(layout.u), torch.empty_like(layout.step)
    grad_in, grad_out = torch.empty_like(layout.read_in), torch.empty_like(layout.read_out)
    grad_rate = torch.zeros_like(layout.rate)
    for number, piece in reversed(list(enumerate(layout.pieces()))):
        time, size = piece.time, len(piece.step)
        states[0] = before[number]
        a, h, g = decay[:size], states[: size + 1], adjoint[:size]
        _run(piece, layout.rate, decay=a, states=h, rows=(decays, rows))
        torch.mul(piece.read_out.transpose(-1, -2), grad_y[time], out=g)
        g[-1] += carry
        for t in range(size - 2, -1, -1):
            adjoints[t].addcmul_(decays[t + 1], adjoints[t + 1])
        torch.mul(a[0], g[0], out=carry)
        grad_out[time] = torch.matmul(h[1:], grad_y[time].transpose(-1, -2))[..., 0]
        grad_in[time] = torch.matmul(g, piece.moved.transpose(-1, -2))[..., 0]
        grad_moved = torch.matmul(piece.read_in.transpose(-1, -2), g)
        g.mul_(a).mul_(h[:-1])  # the gradient of step * rate
        torch.mul(layout.step[time], grad_moved, out=grad_u[time])
        torch.mul(layout.u[time], grad_moved, out=grad_step[time])
        grad_rate += torch.mul(g, piece.step, out=a).sum((0, 1))
        grad_step[time] += g.mul_(layout.rate).sum(-2, keepdim=True)
    return (
        layout.channels_first(grad_u).to(u.dtype),
        layout.channels_first(grad_step).to(delta.dtype),
        grad_rate.transpose(1, 2).flatten(0, 1).to(A.dtype),
        grad_in.permute(1, 2, 3, 0).to(B.dtype),
        grad_out.permute(1, 2, 3, 0).to(C.dtype),
    )


def _run(
    piece: _Piece,
    rate: Tensor,
    *,
    decay: Tensor,
    states: Tensor,
    rows: tuple[tuple[Tensor, ...], tuple[Tensor, ...]],
) -> None:
    """Fill `decay` (T, ...) and `states` (T + 1, ...), whose first row is given; `rows` are their rows."""
    torch.mul(piece.step, rate, out=decay).exp_()
    torch.mul(piece.read_in, piece.moved, out=states[1:])
    decays, state_rows = rows
    for t in range(len(piece.step)):
        state_rows[t + 1].addcmul_(decays[t], state_rows[t])
