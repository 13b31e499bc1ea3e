"""Memory that is free now, and what one real training step takes."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
WATCH_EVERY_S = 0.002


@dataclass(frozen=True)
class Measured:
    """One training step.

    Args:
        seconds: Of the step, after one that is not counted.
        peak_bytes: Most memory taken beside what was taken before; on a CPU, of the process, whose memory
            that was let go before hides some.
    """

    seconds: float
    peak_bytes: int


def free_bytes(device: torch.device | str = "cpu") -> int | None:
    """Memory that can still be taken on a device; None where the system does not say."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if MEMINFO.exists():
        for line in MEMINFO.read_text().splitlines():
            name, _, amount = line.partition(":")
            if name == "MemAvailable":
                return int(amount.split()[0]) * 1024
    return None


def measure_step(
    network: nn.Module, patch: Sequence[int], batch: int, *, channels: int = 1, seed: int = 0
) -> Measured:
    """Run training steps on random patches, as training does: forward, backward, update.

    On a GPU with bfloat16 autocast. The network's weights and mode are put back.

    Args:
        network: On the device to measure; gives logits, or a list of them.
        patch: Size of its input.
        batch: Patches a step.
        channels: Of its input.
        seed: Of the random patches.
    """
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    input = torch.randn(batch, channels, *patch, generator=generator).to(device)
    state = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    training = network.training
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9)
    try:
        with _peak(device) as peak:
            _step(network, optimiser, input)
            start = time.perf_counter()
            _step(network, optimiser, input)
            seconds = time.perf_counter() - start
    finally:
        optimiser.zero_grad(set_to_none=True)
        network.load_state_dict(state)
        network.train(training)
    return Measured(seconds, peak[0])


def _step(network: nn.Module, optimiser: torch.optim.Optimizer, input: Tensor) -> None:
    """One update towards zero logits; what is learnt does not matter, what is computed does."""
    with torch.autocast(input.device.type, torch.bfloat16, enabled=input.is_cuda):
        answer = network(input)
    zero = torch.zeros((), device=input.device)
    loss = sum((part.float().log_softmax(1).square().mean() for part in _tensors(answer)), zero)
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimiser.step()
    if input.is_cuda:
        torch.cuda.synchronize(input.device)


def _tensors(answer: Any) -> Iterator[Tensor]:
    """The tensors that are learnt from: those in lists and dictionaries too."""
    if isinstance(answer, Tensor):
        if answer.requires_grad:
            yield answer
    elif isinstance(answer, list | tuple | dict):
        for part in answer.values() if isinstance(answer, dict) else answer:
            yield from _tensors(part)


@contextlib.contextmanager
def _peak(device: torch.device) -> Iterator[list[int]]:
    """A list whose only element is, afterwards, the most memory that was taken more than before, bytes."""
    found = [0]
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found[0] = torch.cuda.max_memory_allocated(device) - before
        return
    before = resident = _resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal resident
        while not done.wait(WATCH_EVERY_S):
            resident = max(resident, _resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()
    found[0] = max(resident, _resident()) - before


def _resident() -> int:
    """Bytes of this process in memory; 0 where the system does not say."""
    if not STATM.exists():
        return 0
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
