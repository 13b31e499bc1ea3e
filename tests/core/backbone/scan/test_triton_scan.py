"""The Triton kernels: interpreted on the CPU, compiled without a GPU, and run on one where there is one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from tessera.core.backbone.scan import selective_scan, selective_scan_reference, triton_scan

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

INTERPRETED = """
import torch
from tessera.core.backbone.scan import loop, triton_scan

torch.manual_seed(0)
for batch, channels, order, length, groups in [
    (2, 6, 3, 37, 1), (2, 6, 3, 37, 3), (1, 5, 16, 70, 1), (1, 4, 1, 1, 2), (2, 40, 1, 33, 2)
]:
    matrix = batch, groups, order, length
    u, grad, B, C = (torch.randn(s) for s in [(batch, channels, length)] * 2 + [matrix] * 2)
    room = torch.full((u.numel() + 9,), torch.nan)  # a value read after the end would show
    delta = room[:-9].copy_(0.5 * torch.rand(u.numel())).reshape(u.shape)
    inputs = u, delta, -2 * torch.rand(channels, order), B, C
    (y, before), (wanted, wanted_before) = (m.scan_forward(*inputs) for m in (triton_scan, loop))
    torch.testing.assert_close(y, wanted, rtol=1e-4, atol=1e-4)
    gradients = triton_scan.scan_backward(grad, inputs, before)
    expected = loop.scan_backward(grad, inputs, wanted_before)
    for found, right in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)
print("all agree")
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from tessera.core.backbone.scan.triton_kernels import backward_kernel, forward_kernel

for tiles in ({"TILE_D": 1, "TILE_N": 16, "TILE_T": 64}, {"TILE_D": 16, "TILE_N": 1, "TILE_T": 32}):
    for kernel in (forward_kernel, backward_kernel):
        kinds = {name: "*fp32" for name in kernel.arg_names}
        kinds |= dict.fromkeys(("width", "order", "length"), "i32") | dict.fromkeys(tiles, "constexpr")
        source = ASTSource(fn=kernel, signature=kinds, constexprs=tiles)
        ready = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 2})
        assert ready.asm["cubin"]
print("all compiled")
"""


def fresh_process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@needs_triton
def test_interpreted_kernels_agree_with_the_loop() -> None:
    assert "all agree" in fresh_process(INTERPRETED, TRITON_INTERPRET="1")


@pytest.mark.slow
@needs_triton
def test_kernels_compile_for_a_gpu_that_is_not_there(tmp_path: os.PathLike[str]) -> None:
    assert "all compiled" in fresh_process(COMPILED, TRITON_CACHE_DIR=str(tmp_path))


def test_tensors_on_a_cpu_and_in_double_precision_are_left_to_the_loop() -> None:
    assert not triton_scan.is_usable(torch.ones(1))
    assert not triton_scan.is_usable(torch.ones(1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("length", "tile"), [(1, 32), (1024, 32), (1025, 64), (4096, 64), (16384, 128), (10**6, 128)]
)
def test_tile_grows_with_the_root_of_the_length_within_bounds(length: int, tile: int) -> None:
    assert triton_scan.piece_length(length) == tile
    assert triton_scan.piece_count(length) == -(-length // tile)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    ("order", "groups", "length"), [(16, 1, 1000), (1, 4, 333), (3, 2, 65), (64, 1, 300)]
)
def test_results_and_gradients_on_a_gpu_agree_with_the_reference(
    order: int, groups: int, length: int
) -> None:
    matrix = 2, groups, order, length
    inputs = (
        torch.randn(2, 24, length),
        0.2 * torch.rand(2, 24, length),
        -torch.rand(24, order),
        torch.randn(matrix),
        torch.randn(matrix),
    )
    weights, pairs = torch.randn(2, 24, length), []
    for scan, device in ((selective_scan, "cuda"), (selective_scan_reference, "cpu")):
        moved = [value.to(device).requires_grad_() for value in inputs]
        y = scan(*moved)
        pairs.append([y, *torch.autograd.grad((y * weights.to(device)).sum(), moved)])
    for found, wanted in zip(*pairs, strict=True):
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())
