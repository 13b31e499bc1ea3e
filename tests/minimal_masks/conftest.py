"""The field beside this file, found as a researcher's own would be: on the path, and named by a variable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tessera.core.pipeline import Pipeline, discover, get

FIELD = str(Path(__file__).parent)
if FIELD not in sys.path:
    sys.path.append(FIELD)  # a part of the namespace package tessera lies here


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """The pipeline, known to this process for the length of a test."""
    monkeypatch.setenv("TESSERA_PIPELINES", "tessera.minimal_masks.pipelines:PIPELINES")
    discover.cache_clear()
    yield get("minimal-masks")
    discover.cache_clear()


@pytest.fixture(autouse=True)
def _own_cache_and_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
