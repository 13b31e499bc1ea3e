from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import a benchmark by name, as it sees itself: its own folder on the path, one thread."""
    before = dict(os.environ)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in os.environ.keys() - before.keys():  # scripts set the number of threads
        del os.environ[name]
