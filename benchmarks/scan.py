"""Selective scan: the fast forms beside a plain loop and mambapy, outputs compared first.

On a CPU (one thread) the loop in pieces beside the loop step by step and, where it is installed, mambapy's
parallel scan; and the chunked scan with one decay per head beside its recursion. On a GPU the Triton kernels
beside the loop, and beside the time that moving their inputs and outputs takes. Says so where there is none.
Run: python benchmarks/scan.py [--length 1024] [--repeats 10] [--json]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # before torch loads

import torch
from machine import Record, show
from timing import median_seconds
from torch import Tensor

from tessera.core.backbone.scan import (
    loop,
    selective_scan,
    selective_scan_reference,
    ssd_reference,
    ssd_scan,
)

BATCH, CHANNELS, ORDER = 1, 64, 16
HEADS, WIDTH = 4, 16
LARGEST_DIFFERENCE = 1e-4  # relative to the largest value
GPU_BATCH, GPU_CHANNELS, GPU_LENGTH = 8, 768, 4096
NO_GPU = "no GPU here"

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def example(batch: int, channels: int, length: int, *, device: str = "cpu") -> Inputs:
    """u, delta, A, B and C with step sizes as a trained layer has them."""
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(batch, channels, length, generator=generator)
    delta = 0.1 * torch.rand(batch, channels, length, generator=generator)
    rates = -torch.arange(1.0, ORDER + 1).repeat(channels, 1)
    B, C = torch.randn(2, batch, ORDER, length, generator=generator)
    u, delta, rates, B, C = (value.to(device) for value in (draw, delta, rates, B, C))
    return u, delta, rates, B, C


def mambapy_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The same sums by mambapy's parallel scan, (B, D, L); u and delta lie in memory as in its layer."""
    from mambapy.pscan import pscan

    u, delta = u.transpose(1, 2), delta.transpose(1, 2)
    B, C = (values.transpose(1, 2).contiguous() for values in (B, C))
    step = delta[..., None]
    states = pscan(torch.exp(step * A), step * B[:, :, None] * u[..., None])
    return (states @ C[..., None])[..., 0].transpose(1, 2)


def mambapy_scan_rearranged(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The same ("mambapy 2") with time first and channels last in memory."""
    u, delta = (values.transpose(1, 2).contiguous().transpose(1, 2) for values in (u, delta))
    return mambapy_scan(u, delta, A, B, C)


def with_gradients(scan: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Output and gradients of all inputs."""
    leaves = [value.detach().requires_grad_() for value in inputs]
    y = scan(*leaves)
    return [y.detach(), *torch.autograd.grad(y.sum(), leaves)]


def check(name: str, found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest difference relative to the largest value; ends the benchmark where it is too large."""
    pairs = zip(found, wanted, strict=True)
    difference = max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)) for a, b in pairs)
    if not difference <= LARGEST_DIFFERENCE:
        sys.exit(f"{name}: the results differ by {difference:.1e} of the largest value")
    return difference


def selective_on_cpu(length: int, repeats: int) -> Record:
    """B1 D64 N16: forward, and forward with backward; each peer takes turns with the fast form alone."""
    inputs = example(BATCH, CHANNELS, length)
    expected = with_gradients(selective_scan_reference, inputs)
    difference = check("selective_scan", with_gradients(selective_scan, inputs), expected)
    record: Record = {"scan": f"selective, B{BATCH} D{CHANNELS} N{ORDER} L{length}, CPU"}
    record |= times_beside("loop", selective_scan_reference, inputs, repeats)
    if importlib.util.find_spec("mambapy") is None:
        record["speed over mambapy"] = "mambapy not installed"
        return record | {"largest_difference": difference}
    for name, scan in (("mambapy", mambapy_scan), ("mambapy 2", mambapy_scan_rearranged)):
        check(name, with_gradients(scan, inputs), expected)
        record |= times_beside(name, scan, inputs, 3 * repeats)  # it is quick: more turns
    return record | {"largest_difference": difference}


def times_beside(peer: str, scan: Callable[..., Tensor], inputs: Inputs, repeats: int) -> Record:
    """The fast form's time and how many times faster it is than the peer, without and with gradients."""
    with torch.inference_mode():
        forward = median_seconds(
            {"fast": lambda: selective_scan(*inputs), "peer": lambda: scan(*inputs)}, repeats=repeats
        )
    both = median_seconds(
        {
            "fast": lambda: with_gradients(selective_scan, inputs),
            "peer": lambda: with_gradients(scan, inputs),
        },
        repeats=max(1, repeats // 3),
    )
    record: Record = {}
    for what, times in (("", forward), ("with gradients, ", both)):
        record[f"{what}ms beside {peer}"] = 1e3 * times["fast"]
        record[f"{what}speed over {peer}"] = times["peer"] / times["fast"]
    return record


def ssd_on_cpu(length: int, repeats: int) -> Record:
    """H4 P16 N16."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, length, HEADS, WIDTH, generator=generator)
    log_decay = -torch.rand(BATCH, length, HEADS, generator=generator)
    B, C = torch.randn(2, BATCH, length, 1, ORDER, generator=generator)
    inputs = x, log_decay, B, C
    difference = check("ssd_scan", with_gradients(ssd_scan, inputs), with_gradients(ssd_reference, inputs))
    with torch.inference_mode():
        times = median_seconds(
            {"chunked": lambda: ssd_scan(*inputs), "recursion": lambda: ssd_reference(*inputs)},
            repeats=repeats,
        )
    return {
        "scan": f"one decay per head, B{BATCH} H{HEADS} P{WIDTH} N{ORDER} L{length}, CPU",
        "chunked_ms": 1e3 * times["chunked"],
        "recursion_ms": 1e3 * times["recursion"],
        "times_faster": times["recursion"] / times["chunked"],
        "largest_difference": difference,
    }


def selective_on_gpu(repeats: int) -> Record:
    """Forward with backward at length 4096: Triton, the loop in pieces, and the memory traffic alone."""
    inputs = example(GPU_BATCH, GPU_CHANNELS, GPU_LENGTH, device="cuda")

    def looped() -> list[Tensor]:
        u, delta, A, B, C = inputs
        grouped = u, delta, A, B[:, None], C[:, None]
        y, before = loop.scan_forward(*grouped)
        u_, delta_, A_, B_, C_ = loop.scan_backward(torch.ones_like(y), grouped, before)
        return [y, u_, delta_, A_, B_[:, 0], C_[:, 0]]

    def finished(job: Callable[[], object]) -> Callable[[], object]:
        return lambda: (job(), torch.cuda.synchronize())

    difference = check("selective_scan", with_gradients(selective_scan, inputs), looped())
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    times = median_seconds(
        {
            "triton": finished(lambda: with_gradients(selective_scan, inputs)),
            "loop": finished(looped),
            "copy": finished(lambda: target.copy_(source)),
        },
        repeats=repeats,
    )
    u, _, _, B, _ = inputs
    moved = 4 * (8 * u.numel() + 6 * B.numel())  # 3 + 5 of u's size, 2 + 4 of B's, each once, float32
    floor_s = moved * times["copy"] / (2 * 4 * source.numel())
    return {
        "scan": f"selective, B{GPU_BATCH} D{GPU_CHANNELS} N{ORDER} L{GPU_LENGTH}, GPU, forward and backward",
        "triton_ms": 1e3 * times["triton"],
        "loop_ms": 1e3 * times["loop"],
        "times_faster": times["loop"] / times["triton"],
        "memory_floor_ms": 1e3 * floor_s,
        "times the memory floor": times["triton"] / floor_s,
        "largest_difference": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    records = [selective_on_cpu(options.length, options.repeats), ssd_on_cpu(options.length, options.repeats)]
    gpu = torch.cuda.is_available()
    records.append(selective_on_gpu(options.repeats) if gpu else {"GPU": f"{NO_GPU}: not measured"})
    show(records, as_json=options.json)


if __name__ == "__main__":
    main()
