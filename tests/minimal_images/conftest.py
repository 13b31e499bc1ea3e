"""The field beside this file, found as a researcher's own would be: on the path, and named by a variable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tessera.core.pipeline import Pipeline, discover, get

FIELD = str(Path(__file__).parent)
if FIELD not in sys.path:
    sys.path.append(FIELD)  # a part of the namespace package tessera lies here


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """The pipeline, known to this process for the length of a test."""
    monkeypatch.setenv("TESSERA_PIPELINES", "tessera.minimal_images.pipelines:PIPELINES")
    discover.cache_clear()
    yield get("minimal-images")
    discover.cache_clear()
