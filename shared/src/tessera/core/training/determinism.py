"""Random state as a function of (seed, purpose, step, rank), and none of it left behind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

Purpose = Literal["weights", "step", "transforms"]
_PURPOSES: dict[Purpose, int] = {"weights": 0, "step": 1, "transforms": 2}


def derive_seed(seed: int, purpose: Purpose, *, step: int = 0, rank: int = 0) -> int:
    """A 63-bit seed; different arguments give independent streams."""
    state = np.random.SeedSequence([seed, _PURPOSES[purpose], step, rank]).generate_state(1, np.uint64)
    return int(state[0]) >> 1


@contextmanager
def isolated() -> Iterator[None]:
    """Give back ambient state as it was: generators, gradient mode, thread count, cuDNN's choice."""
    python, numpy_state, gradients = random.getstate(), np.random.get_state(), torch.is_grad_enabled()
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    devices = list(range(torch.cuda.device_count()))
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
        torch.set_grad_enabled(gradients)
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark
