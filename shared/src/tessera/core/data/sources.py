"""How a run opens its cases: through the cache of prepared cases, or prepared each time (no Lightning)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tessera.core.data.cache import ArraySource, PreparedCache
from tessera.core.data.case import Case, Reader
from tessera.core.data.loaders import OpenSource, open_named
from tessera.core.data.locate import cache_folder
from tessera.core.data.windows import Windows
from tessera.core.pipeline import Pipeline
from tessera.core.run_config import DataConfig, RunConfig


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
    return PreparedCache(cache_folder() / "prepared", reader, windows, preparation_digest(config)).open


def prepare_all(
    opener: OpenSource, cases: Sequence[Case], progress: Callable[[int, int, str], None] | None = None
) -> None:
    """Open every case once, so that the cache is full and a damaged file is met before training."""
    for number, case in enumerate(cases):
        open_named(opener, case).close()
        if progress is not None:
            progress(number + 1, len(cases), "preparing cases")
