"""The kernels of `triton_scan`; importing this module needs triton.

One program takes a few channels of one group and one row of the batch, and walks over time in tiles of
(channels, N, time). Within a tile the states come from an associative scan along time; from tile to tile
one state (channels, N) is carried in registers. Everything is float32 inside.
"""

from __future__ import annotations

# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"
# (triton publishes no types, and is missing on machines without a GPU)
import triton
import triton.language as tl


@triton.jit
def _join(early_decay: tl.tensor, early: tl.tensor, late_decay: tl.tensor, late: tl.tensor) -> tl.tensor:
    """Two spans side by side, the first ending where the second starts."""
    return early_decay * late_decay, late_decay * early + late


@triton.jit
def _load_series(values: tl.tensor, rows: tl.tensor, time: tl.tensor, inside: tl.tensor) -> tl.tensor:
    """(channels, time) in float32; zero outside."""
    return tl.load(values + rows[:, None] + time[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _states(
    step: tl.tensor, moved: tl.tensor, rate: tl.tensor, read_in: tl.tensor, state: tl.tensor
) -> tl.tensor:
    """States after each step of a tile and what each step added, both (channels, N, time)."""
    decay = tl.exp(step[:, None, :] * rate[:, :, None])
    added = moved[:, None, :] * read_in[None, :, :]
    total_decay, states = tl.associative_scan((decay, added), 2, _join)
    return states + total_decay * state[:, :, None], added


@triton.jit
def forward_kernel(  # noqa: PLR0917
    u: tl.tensor,
    delta: tl.tensor,
    rates: tl.tensor,
    reads_in: tl.tensor,
    reads_out: tl.tensor,
    y: tl.tensor,
    before: tl.tensor,
    width: tl.tensor,
    order: tl.tensor,
    length: tl.tensor,
    TILE_D: tl.constexpr,
    TILE_N: tl.constexpr,
    TILE_T: tl.constexpr,
) -> None:
    """Write y (B, D, L) and the state before each tile (P, B, G, N, R); R is `width`, N is `order`."""
    group, row = tl.program_id(1), tl.program_id(2).to(tl.int64)
    groups, rows = tl.num_programs(1), tl.num_programs(2)
    r = tl.program_id(0) * TILE_D + tl.arange(0, TILE_D)
    n = tl.arange(0, TILE_N)
    here = (r < width)[:, None] & (n < order)[None, :]
    channel = group * width + r
    series = (row * groups * width + channel) * length
    matrix = ((row * groups + group) * order + n) * length
    rate = tl.load(rates + channel[:, None] * order + n[None, :], mask=here, other=0.0).to(tl.float32)
    state = tl.zeros((TILE_D, TILE_N), dtype=tl.float32)
    for tile in range(tl.cdiv(length, TILE_T)):
        time = tile * TILE_T + tl.arange(0, TILE_T)
        inside_d = (r < width)[:, None] & (time < length)[None, :]
        inside_n = (n < order)[:, None] & (time < length)[None, :]
        place = ((tile * rows + row) * groups + group) * order * width
        tl.store(before + place + n[None, :] * width + r[:, None], state, mask=here)
        step = _load_series(delta, series, time, inside_d)
        moved = step * _load_series(u, series, time, inside_d)
        read_in = _load_series(reads_in, matrix, time, inside_n)
        read_out = _load_series(reads_out, matrix, time, inside_n)
        states, _ = _states(step, moved, rate, read_in, state)
        sums = tl.sum(states * read_out[None, :, :], axis=1)
        tl.store(y + series[:, None] + time[None, :], sums, mask=inside_d)
        last = tl.arange(0, TILE_T) == TILE_T - 1
        state = tl.sum(tl.where(last[None, None, :], states, 0.0), axis=2)


@triton.jit
def backward_kernel(  # noqa: PLR0917
    u: tl.tensor,
    delta: tl.tensor,
    rates: tl.tensor,
    reads_in: tl.tensor,
    reads_out: tl.tensor,
    grad_y: tl.tensor,
    before: tl.tensor,
    grad_u: tl.tensor,
    grad_delta: tl.tensor,
    grad_rates: tl.tensor,
    grad_in: tl.tensor,
    grad_out: tl.tensor,
    width: tl.tensor,
    order: tl.tensor,
    length: tl.tensor,
    TILE_D: tl.constexpr,
    TILE_N: tl.constexpr,
    TILE_T: tl.constexpr,
) -> None:
    """Write the gradients, last tile first.

    Those of B and C are added up by atomics, that of A is left apart for each row, (B, D, N).
    """
    group, row = tl.program_id(1), tl.program_id(2).to(tl.int64)
    groups, rows = tl.num_programs(1), tl.num_programs(2)
    r = tl.program_id(0) * TILE_D + tl.arange(0, TILE_D)
    n = tl.arange(0, TILE_N)
    here = (r < width)[:, None] & (n < order)[None, :]
    channel = group * width + r
    series = (row * groups * width + channel) * length
    matrix = ((row * groups + group) * order + n) * length
    rate = tl.load(rates + channel[:, None] * order + n[None, :], mask=here, other=0.0).to(tl.float32)
    grad_rate = tl.zeros((TILE_D, TILE_N), dtype=tl.float32)
    carry = tl.zeros((TILE_D, TILE_N), dtype=tl.float32)  # the adjoint at the start of the tile that follows
    tiles = tl.cdiv(length, TILE_T)
    for back in range(tiles):
        tile = tiles - 1 - back
        time = tile * TILE_T + tl.arange(0, TILE_T)
        inside_d = (r < width)[:, None] & (time < length)[None, :]
        inside_n = (n < order)[:, None] & (time < length)[None, :]
        place = ((tile * rows + row) * groups + group) * order * width
        state = tl.load(before + place + n[None, :] * width + r[:, None], mask=here, other=0.0)
        step = _load_series(delta, series, time, inside_d)
        value = _load_series(u, series, time, inside_d)
        read_in = _load_series(reads_in, matrix, time, inside_n)
        read_out = _load_series(reads_out, matrix, time, inside_n)
        grad = _load_series(grad_y, series, time, inside_d)
        states, added = _states(step, step * value, rate, read_in, state)
        next_inside = (r < width)[:, None] & (time + 1 < length)[None, :]
        next_step = _load_series(delta, series, time + 1, next_inside)
        next_decay = tl.exp(next_step[:, None, :] * rate[:, :, None])
        wanted = grad[:, None, :] * read_out[None, :, :]
        total_decay, adjoint = tl.associative_scan((next_decay, wanted), 2, _join, reverse=True)
        adjoint += total_decay * carry[:, :, None]
        first = tl.arange(0, TILE_T) == 0
        carry = tl.sum(tl.where(first[None, None, :], adjoint, 0.0), axis=2)
        matrices = matrix[:, None] + time[None, :]
        tl.atomic_add(grad_out + matrices, tl.sum(states * grad[:, None, :], axis=0), mask=inside_n)
        moved = (step * value)[:, None, :]
        tl.atomic_add(grad_in + matrices, tl.sum(adjoint * moved, axis=0), mask=inside_n)
        grad_moved = tl.sum(adjoint * read_in[None, :, :], axis=1)
        exponent = adjoint * (states - added)  # the gradient of step * rate: what decayed of the state before
        grad_rate += tl.sum(exponent * step[:, None, :], axis=2)
        grad_step = value * grad_moved + tl.sum(exponent * rate[:, :, None], axis=1)
        tl.store(grad_u + series[:, None] + time[None, :], step * grad_moved, mask=inside_d)
        tl.store(grad_delta + series[:, None] + time[None, :], grad_step, mask=inside_d)
    rates_here = (row * groups * width + channel[:, None]) * order + n[None, :]
    tl.store(grad_rates + rates_here, grad_rate, mask=here)
