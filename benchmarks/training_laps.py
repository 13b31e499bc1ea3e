"""Epochs of a real training, timed: the same task, trainer and loop as ``fit``, without its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from bundles import preset_config
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from tessera.core.data.loaders import ResumableLoader
from tessera.core.data.manifest import Manifest
from tessera.core.data.sample import Batch
from tessera.core.data.sources import open_source, prepare_all
from tessera.core.data.targets import encode_target
from tessera.core.pipeline import get, resolve
from tessera.core.tasks.base import Task
from tessera.core.training.assembly import Loaders, TrainingData, build_loaders, build_task
from tessera.core.training.callbacks import Clock
from tessera.core.training.determinism import isolated
from tessera.core.training.engine import build_trainer, on_gpu, run_fit


@dataclass(frozen=True)
class Laps:
    """What a training did.

    Args:
        losses: One a batch.
        epoch_s: Seconds of each epoch after the first, from the end of the one before.
        processor_s: The same in processor time of this process, which other programs hardly change.
    """

    losses: tuple[float, ...]
    epoch_s: tuple[float, ...]
    processor_s: tuple[float, ...]


def simulated_sounds(folder: Path, n: int) -> Manifest:
    """Five-second scenes of one labelled event each."""
    simulate = resolve(get("sound").simulators["sound-scenes"])
    manifest: Manifest = simulate(folder, n=n, seed=0, values={"duration_s": 5.0, "events_per_scene": [1, 1]})
    return manifest


def laps(
    preset: str, manifest: Manifest, *, loader_kind: type[MemoryLoader], folder: Path, **trainer: Any
) -> Laps:
    """Train a preset on batches from memory, or from memory and files in turns."""
    pipeline = get("sound")
    config = preset_config(pipeline, preset, trainer=trainer)
    spec = manifest.target("label")
    targets = {c.id: encode_target(spec, c.targets["label"], case_id=c.id) for c in manifest.cases}
    data = TrainingData(spec, manifest.cases, (), targets)
    windows = pipeline.resolve("windows")(config)
    opener = open_source(config, pipeline, windows)
    prepare_all(opener, data.train, None)
    gpu = on_gpu(config.trainer)
    loader = loader_kind(build_loaders(config, data, open_source=opener, windows=windows, pin=gpu).train)
    with isolated():
        steps = config.trainer.max_epochs * len(loader)
        task = build_task(config, pipeline, data, steps=steps)
        clock, watch = Clock(loader, seed=config.seed, total_steps=steps), Stopwatch(len(loader))
        trainer_ = build_trainer(config.trainer, [clock, watch], folder=folder, validate=False)
        run_fit(trainer_, task, Loaders(loader, None))
    wall, processor = (_steps([end[i] for end in watch.ends]) for i in (0, 1))
    return Laps(tuple(torch.stack(watch.losses).float().cpu().tolist()), wall, processor)


def _steps(ends: list[float]) -> tuple[float, ...]:
    return tuple(end - start for start, end in pairwise(ends))


class MemoryLoader(ResumableLoader):
    """The batches of another loader's first epoch, again and again.

    Args:
        other: Reads them once.
    """

    def __init__(self, other: ResumableLoader) -> None:
        self.other = other
        self.kept = list(other)
        self.epoch = self.batch = 0

    def __len__(self) -> int:
        return len(self.kept)

    def __iter__(self) -> Iterator[Batch]:
        if self.batch >= len(self):
            self.set_epoch(self.epoch + 1)
        for batch in self.source():
            self.batch += 1
            yield batch

    def source(self) -> Iterator[Batch]:
        """The batches of the present epoch."""
        return (batch.copy() for batch in self.kept)

    def close(self) -> None:
        """Stop the other loader's workers."""
        self.other.close()


class AlternatingLoader(MemoryLoader):
    """Every second epoch is read anew, so that memory and files take turns within one training."""

    def source(self) -> Iterator[Batch]:
        """From memory in even epochs, read in odd ones."""
        if self.epoch % 2 == 0:
            return super().source()
        self.other.set_epoch(self.epoch)
        return self.read()

    def read(self) -> Iterator[Batch]:
        """An epoch of the other loader, which must look like the one in memory."""
        for batch, kept in zip(self.other, self.kept, strict=True):
            if batch["input"].shape != kept["input"].shape:
                raise ValueError(f"{batch['input'].shape} was read, {kept['input'].shape} is in memory")
            yield batch


class Stopwatch(Callback):
    """Keeps every batch's loss, and wall clock and processor time at every epoch's end.

    Args:
        batches: Batches an epoch.
    """

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.losses: list[Tensor] = []
        self.ends: list[tuple[float, float]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take loss and time."""
        step = cast(Task, pl_module).last
        if step is not None:
            self.losses.append(step.loss.detach())
        if batch_idx == self.batches - 1:
            if pl_module.device.type == "cuda":
                torch.cuda.synchronize(pl_module.device)
            self.ends.append((time.perf_counter(), time.process_time()))
