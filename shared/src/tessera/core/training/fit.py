"""fit(): from a config, a pipeline and a manifest to a trained run; killed at any moment, it goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from tessera.core.data.loaders import OpenSource
from tessera.core.data.manifest import Manifest
from tessera.core.data.mask_cache import lost_classes
from tessera.core.data.sources import count_elements, open_source, prepare_all
from tessera.core.data.splits import Split
from tessera.core.errors import ConfigError
from tessera.core.pipeline import Pipeline
from tessera.core.run_config import RunConfig
from tessera.core.tasks.base import Task
from tessera.core.training.assembly import (
    Loaders,
    TrainingData,
    build_loaders,
    build_task,
    check_loss,
    total_steps,
    values_of,
)
from tessera.core.training.budget import steps_within
from tessera.core.training.callback_stack import build_callbacks, choose_monitor
from tessera.core.training.callbacks import Progress
from tessera.core.training.checkpoints import BEST, LAST, remove_leftovers
from tessera.core.training.determinism import isolated
from tessera.core.training.engine import build_trainer, on_gpu, rank_and_world, run_fit
from tessera.core.training.run_folder import (
    CHECKPOINTS,
    Run,
    open_folder,
    read_finished,
    with_max_steps,
    write_config,
    write_finished,
)

logger = logging.getLogger(__name__)


def fit(
    config: RunConfig,
    pipeline: Pipeline,
    manifest: Manifest,
    *,
    out: Path,
    split: Split,
    from_bundle: Path | None = None,
    resume: bool = False,
    budget_s: float | None = None,
    progress: Progress | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train a pipeline's network into the run folder ``out``.

    Args:
        config: The complete config.
        pipeline: What is trained.
        manifest: The data.
        out: The run folder; refused when it holds a run, unless ``resume``.
        split: Which cases train and validate.
        from_bundle: Start from a bundle's weights.
        resume: Go on with the run in ``out``; ends in the same weights as a run that was never killed.
        budget_s: Seconds for the whole training; speed is measured first and sets ``trainer.max_steps``.
        progress: Told of the steps.
        callbacks: More Lightning callbacks, called before the checkpoint is saved.
    """
    started = time.monotonic()
    gpu = on_gpu(config.trainer)
    rank, world_size = rank_and_world(config.trainer, out)
    if budget_s is not None and world_size > 1:
        raise ConfigError("a budget cannot be measured with several processes", hint="set trainer.max_steps")
    data = TrainingData.of(manifest, split, config.data.target)
    monitor, _ = choose_monitor(config, values_of(data.spec), validates=bool(data.val))
    if monitor is None:
        logger.warning("no case is used for validation: the last weights count as the best")
    check_loss(config, pipeline, data)
    config = open_folder(out, config, manifest, split, resume=resume, from_bundle=from_bundle, rank=rank)
    finished = read_finished(out)
    if finished is not None and rank == 0:
        return finished
    windows = pipeline.resolve("windows")(config)
    opener = open_source(config, pipeline, windows, spec=data.spec)
    if config.data.cache and rank == 0:
        prepare_all(opener, (*data.train, *data.val), progress)
    data = _with_elements(config, data, opener)

    def make_loaders() -> Loaders:
        share: dict[str, Any] = {"rank": rank, "world_size": world_size, "pin": gpu}
        return build_loaders(config, data, open_source=opener, windows=windows, **share)

    def make_task(steps: int) -> Task:
        return build_task(config, pipeline, data, steps=steps, from_bundle=from_bundle)

    with isolated(), closing(make_loaders()) as loaders:
        if budget_s is not None and config.trainer.max_steps is None:
            left = budget_s - (time.monotonic() - started)
            config = with_max_steps(config, steps_within(left, config, make_task(1), loaders))
            write_config(out, config)
        task = make_task(total_steps(config, len(loaders.train)))
        return _train(config, out, task, loaders, progress=progress, more=callbacks)


def _with_elements(config: RunConfig, data: TrainingData, opener: OpenSource) -> TrainingData:
    """Count a mask's elements, where that is cheap or needed, and warn of classes that cannot be learnt."""
    balanced = config.task.class_weights == "balanced"
    if data.spec.kind != "mask" or not (config.data.cache or balanced):
        return data
    read, kept = count_elements(opener, data.train)
    for remark in lost_classes(read, kept, data.spec.classes):
        logger.warning(remark)
    return replace(data, elements=kept.sum(axis=0))


def _train(
    config: RunConfig,
    out: Path,
    task: Task,
    loaders: Loaders,
    *,
    progress: Progress | None,
    more: Sequence[Callback],
) -> Run:
    stack = build_callbacks(
        config, task, loaders, folder=out, total_steps=task.total_steps, progress=progress, more=more
    )
    validates = loaders.val is not None
    trainer = build_trainer(config.trainer, stack.ordered, folder=out, validate=validates)
    last = out / CHECKPOINTS / LAST
    if trainer.is_global_zero:
        remove_leftovers(last.parent)
    run_fit(trainer, task, loaders, checkpoint=last if last.exists() else None)
    best = out / CHECKPOINTS / BEST
    run = Run(
        folder=out,
        best=best if stack.checkpoints.best is not None else None,
        last=last,
        steps=trainer.global_step,
        epochs=-(-loaders.train.handed_out // len(loaders.train)),
        seconds=stack.history.seconds,
        stopped_early=stack.stopping is not None and stack.stopping.stopped,
    )
    if trainer.is_global_zero:
        write_finished(run)
    return run
