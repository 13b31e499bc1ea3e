"""How a run opens its cases: through the cache of prepared cases, or prepared each time (no Lightning)."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.core.data.cache import ArraySource, PreparedCache
from tessera.core.data.case import Case, Reader
from tessera.core.data.loaders import OpenSource, open_named
from tessera.core.data.windows import Windows
from tessera.core.pipeline import Pipeline
from tessera.core.run_config import DataConfig, RunConfig

CACHE_VARIABLE = "TESSERA_CACHE"


@dataclass(frozen=True)
class Unkept:
    """Opens a case by preparing it anew each time."""

    reader: Reader
    windows: Windows

    def __call__(self, case: Case) -> ArraySource:
        """The prepared case (C, *S)."""
        source = self.reader.open(case)
        try:
            return ArraySource(*self.windows.prepare(source))
        finally:
            source.close()


def cache_folder() -> Path:
    """Where prepared cases are kept: ``$TESSERA_CACHE``, or the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "tessera" / "prepared"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tessera" / "prepared"


def preparation_digest(config: RunConfig) -> str:
    """SHA-256 of what preparing a case depends on: the pipeline and the field's own data settings."""
    own = config.data.model_dump(mode="json", exclude=set(DataConfig.model_fields))
    text = json.dumps([config.pipeline, own], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def open_source(config: RunConfig, pipeline: Pipeline, windows: Windows) -> OpenSource:
    """The function that opens a case; it can be sent to worker processes."""
    reader: Reader = pipeline.resolve("reader")(config)
    if not config.data.cache:
        return Unkept(reader, windows)
    return PreparedCache(cache_folder(), reader, windows, preparation_digest(config)).open


def prepare_all(
    opener: OpenSource, cases: Sequence[Case], progress: Callable[[int, int, str], None] | None = None
) -> None:
    """Open every case once, so that the cache is full and a damaged file is met before training."""
    for number, case in enumerate(cases):
        open_named(opener, case).close()
        if progress is not None:
            progress(number + 1, len(cases), "preparing cases")
