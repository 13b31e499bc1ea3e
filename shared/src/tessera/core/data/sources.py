"""How a run opens its cases: through the cache of prepared cases, or prepared each time (no Lightning)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.core.data.cache import ArraySource, PreparedCache
from tessera.core.data.case import Case, MaskReader, Reader
from tessera.core.data.loaders import OpenSource, open_named
from tessera.core.data.locate import cache_folder
from tessera.core.data.mask_cache import MaskCache, MaskedSource, MaskPreparation, UnkeptMasks
from tessera.core.data.targets import TargetSpec
from tessera.core.data.windows import MaskWindows, Windows
from tessera.core.errors import ConfigError
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


def open_source(
    config: RunConfig, pipeline: Pipeline, windows: Windows, *, spec: TargetSpec | None = None
) -> OpenSource:
    """The function that opens a case, with its mask when the target is one; workers may be sent it."""
    reader: Reader = pipeline.resolve("reader")(config)
    masks = None
    if spec is not None and spec.kind == "mask":
        masks = _mask_preparation(config, reader, windows, spec)
    if not config.data.cache:
        unkept = Unkept(reader, windows)
        return unkept if masks is None else UnkeptMasks(unkept, masks)
    digest = preparation_digest(config)
    images = PreparedCache(cache_folder() / "prepared", reader, windows, digest)
    return images.open if masks is None else MaskCache(images, masks, digest).open


def _mask_preparation(
    config: RunConfig, reader: Reader, windows: Windows, spec: TargetSpec
) -> MaskPreparation:
    if not isinstance(reader, MaskReader) or not isinstance(windows, MaskWindows):
        raise ConfigError(
            f"pipeline {config.pipeline} cannot learn masks",
            found=f"target {config.data.target} is a mask",
            hint="choose another target with --set data.target=<name>, or another pipeline",
        )
    return MaskPreparation(reader, windows, config.data.target, len(spec.classes))


def prepare_all(
    opener: OpenSource, cases: Sequence[Case], progress: Callable[[int, int, str], None] | None = None
) -> None:
    """Open every case once, so that the cache is full and a damaged file is met before training."""
    for number, case in enumerate(cases):
        open_named(opener, case).close()
        if progress is not None:
            progress(number + 1, len(cases), "preparing cases")


def count_elements(
    opener: OpenSource, cases: Sequence[Case]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Elements of each class (N, K) of the cases' masks: in the files, and on the prepared grids."""
    read, kept = [], []
    for case in cases:
        source = open_named(opener, case)
        if not isinstance(source, MaskedSource):
            raise TypeError(f"case {case.id} was opened without its mask")
        read.append(source.mask.read)
        kept.append(source.mask.kept)
        source.close()
    return np.stack(read), np.stack(kept)
