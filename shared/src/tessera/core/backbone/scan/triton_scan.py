"""The selective scan on GPUs by Triton, forward and backward; can be imported without triton or a GPU.

Memory: the state before each tile of time is kept (N / 32 to N / 128 values per value of u), the states
between are computed again in the backward pass. The gradients of B and C are added up by atomic
operations, so their last bits vary from run to run.
"""

from __future__ import annotations

import importlib.util
import math
from functools import cache

import torch
from torch import Tensor

SHORTEST_TILE, LONGEST_TILE = 32, 128
ROWS_OF_A_TILE = 16  # channels x N that one program holds, unless N alone is more
VALUES_PER_WARP = 512


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def is_usable(u: Tensor) -> bool:
    """Whether these kernels take this tensor: on a GPU, at most float32, triton installed."""
    return u.is_cuda and u.dtype != torch.float64 and _has_triton()


def piece_length(length: int) -> int:
    """Steps in a tile: the power of two near the square root of the length, 32 to 128."""
    root = 1 << max(0, math.isqrt(max(length - 1, 0))).bit_length()
    return min(max(root, SHORTEST_TILE), LONGEST_TILE)


def piece_count(length: int) -> int:
    """Tiles of a sequence."""
    return -(-length // piece_length(length))


def scan_forward(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """The sums <C_t, h_t> (B, D, L) and the state before each tile (P, B, G, N, R).

    u, delta (B, D, L); A (D, N); B, C (B, G, N, L).
    """
    from tessera.core.backbone.scan.triton_kernels import forward_kernel

    inputs = [value.contiguous() for value in (u, delta, A, B, C)]
    grid, sizes, tiles = _plan(inputs[0], inputs[3])
    width, order, length = sizes
    y = torch.empty_like(inputs[0])
    shape = piece_count(length), u.shape[0], B.shape[1], order, width
    before = torch.empty(shape, dtype=torch.float32, device=u.device)
    forward_kernel[grid](*inputs, y, before, *sizes, **tiles)
    return y, before


def scan_backward(
    grad: Tensor, inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], before: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, A, B, C from that of the sums (B, D, L) and the states of `scan_forward`."""
    from tessera.core.backbone.scan.triton_kernels import backward_kernel

    u, delta, A, B, C = (value.contiguous() for value in inputs)
    grid, sizes, tiles = _plan(u, B)
    grad_u, grad_delta = torch.empty_like(u), torch.empty_like(delta)
    grad_rates = torch.empty(u.shape[0], *A.shape, dtype=torch.float32, device=u.device)
    grad_in, grad_out = (torch.zeros_like(m, dtype=torch.float32) for m in (B, C))
    backward_kernel[grid](
        u,
        delta,
        A,
        B,
        C,
        grad.contiguous(),
        before,
        grad_u,
        grad_delta,
        grad_rates,
        grad_in,
        grad_out,
        *sizes,
        **tiles,
    )
    return grad_u, grad_delta, grad_rates.sum(0).to(A.dtype), grad_in.to(B.dtype), grad_out.to(C.dtype)


def _plan(u: Tensor, B: Tensor) -> tuple[tuple[int, int, int], tuple[int, int, int], dict[str, int]]:
    """The grid of programs; R, N and L; the sizes of a tile."""
    batch, channels, length = u.shape
    groups, order = B.shape[1:3]
    width = channels // groups
    tile_n = _power_of_two(order)
    tile_d = min(max(1, ROWS_OF_A_TILE // tile_n), _power_of_two(width))
    tile_t = piece_length(length)
    warps = min(max(1, tile_d * tile_n * tile_t // VALUES_PER_WARP), 8)
    tiles = {"TILE_D": tile_d, "TILE_N": tile_n, "TILE_T": tile_t, "num_warps": warps}
    return (-(-width // tile_d), groups, batch), (width, order, length), tiles


def _power_of_two(number: int) -> int:
    """The smallest power of two that is not below the number."""
    return 1 << (number - 1).bit_length()
