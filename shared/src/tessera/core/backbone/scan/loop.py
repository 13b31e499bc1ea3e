"""The selective scan as a loop over time in pieces, forward and backward, for any device.

On a CPU a loop beats tree scans: they do log(L) times the work. Per step only one operation is left,
``h_t += a_t * h_(t-1)``; all else is done for a piece of about sqrt(L) steps at once, in buffers that the
next piece uses again. Kept for the backward pass is the state at the start of each piece; the states
between are computed again. So no tensor grows with L x N, only with sqrt(L) x N.

Where a step is so small that calling the operation costs more than its arithmetic, the forward pass runs
many half pieces side by side from a zero state, with their products of decays, then adds what each inherits.

Inside, time comes first and channels last: (T, B, G, N, R), G groups of R = D / G channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SHORTEST_PIECE = 16
SIDE_BY_SIDE = 16  # half pieces
FEW_VALUES = 8192  # of a step, up to which half pieces run side by side


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

    def pieces(self, span: int) -> list[_Piece]:
        found = []
        for start in range(0, self.length, span):
            time = slice(start, min(start + span, self.length))
            step, read_in, read_out = self.step[time], self.read_in[time], self.read_out[time]
            moved = step * self.u[time]
            found.append(_Piece(time, step, moved, read_in[..., None], read_out[..., None, :]))
        return found


def piece_length(length: int) -> int:
    """Steps in a piece: about the square root of the length, and even."""
    return max(SHORTEST_PIECE, math.isqrt(length) // 2 * 2)


def piece_count(length: int) -> int:
    """Pieces of a sequence, the last one perhaps shorter."""
    return -(-length // piece_length(length))


def scan_forward(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """The sums <C_t, h_t> (B, D, L) and the state before each piece (P, B, G, N, R).

    u, delta (B, D, L); A (D, N); B, C (B, G, N, L).
    """
    layout = _Layout(u, delta, A, B, C)
    few = layout.buffer(1).numel() <= FEW_VALUES
    span = layout.span // 2 * (SIDE_BY_SIDE if few else 2)
    decay, states = layout.buffer(span), layout.buffer(span + 1)
    states[0] = 0
    before = layout.buffer(piece_count(layout.length))
    y = torch.empty_like(layout.u)
    rows: Sequence[Sequence[Tensor]] = () if few else (decay.unbind(), states.unbind())
    halves = [values.view(-1, layout.span // 2, *values.shape[1:]) for values in (decay, states[1:])]
    columns = [values.unbind(1) for values in halves]
    for piece in layout.pieces(span):
        size, first = len(piece.step), piece.time.start // layout.span
        _fill(piece, layout.rate, decay=decay[:size], states=states[: size + 1])
        if few and size == span:
            _run_side_by_side(halves, columns, states[0])
        else:
            _run(size, rows or (decay.unbind(), states.unbind()))
        starts = states[: size : layout.span]
        before[first : first + len(starts)] = starts
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
    for number, piece in reversed(list(enumerate(layout.pieces(layout.span)))):
        time, size = piece.time, len(piece.step)
        states[0] = before[number]
        a, h, g = decay[:size], states[: size + 1], adjoint[:size]
        _fill(piece, layout.rate, decay=a, states=h)
        _run(size, (decays, rows))
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


def _fill(piece: _Piece, rate: Tensor, *, decay: Tensor, states: Tensor) -> None:
    """Decays (T, ...) of a piece, and what each step adds to the states (T + 1, ...) behind the first."""
    torch.mul(piece.step, rate, out=decay).exp_()
    torch.mul(piece.read_in, piece.moved, out=states[1:])


def _run(steps: int, rows: Sequence[Sequence[Tensor]]) -> None:
    """Add to each row of the states what decays from the row before."""
    decays, states = rows
    for t in range(steps):
        states[t + 1].addcmul_(decays[t], states[t])


def _run_side_by_side(pieces: Sequence[Tensor], columns: Sequence[Sequence[Tensor]], start: Tensor) -> None:
    """The same for decays and states of pieces side by side, (P, T, ...) each.

    Column t holds step t of every piece, (P, ...). Decays become products since their piece began.
    """
    (decay, state), (decays, states) = pieces, columns
    states[0][0].addcmul_(decays[0][0], start)
    for t in range(1, len(states)):
        states[t].addcmul_(decays[t], states[t - 1])
        decays[t].mul_(decays[t - 1])
    for inherited, product, end in zip(states[-1], decays[-1][1:], states[-1][1:], strict=False):
        end.addcmul_(product, inherited)
    state[1:, :-1].addcmul_(decay[1:, :-1], state[:-1, -1:])
