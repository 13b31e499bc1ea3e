"""What all tests share: one thread, no network, a cache of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One torch thread, an unreachable proxy for subprocesses, and a throw-away cache."""
    import torch

    torch.set_num_threads(1)
    unreachable = "http://127.0.0.1:9"
    changes = {
        "TESSERA_CACHE": str(tmp_path_factory.mktemp("cache")),
        "HTTP_PROXY": unreachable,
        "HTTPS_PROXY": unreachable,
        "NO_PROXY": "127.0.0.1,localhost",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
