"""The Lightning trainer as a run needs it."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from tessera.core.errors import ConfigError
from tessera.core.run_config import TrainerConfig
from tessera.core.tasks.base import Task
from tessera.core.training.assembly import Loaders
from tessera.core.training.checkpoints import AtomicCheckpointIO

# Known messages of third parties that say nothing to our users: (start of the message, category).
_KNOWN_WARNINGS: tuple[tuple[str, type[Warning]], ...] = (
    # torch 2.14 deprecates LeafSpec, which Lightning 2.6.6 uses for every loader (utilities/_pytree.py).
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning),
    # Lightning 2.6 remarks on a task that could validate when a run has no validation cases, which we report.
    (r"You defined a `validation_step` but have no `val_dataloader`", UserWarning),
)


def on_gpu(config: TrainerConfig) -> bool:
    """Whether training will run on a GPU; refuses a GPU that is not there."""
    there = torch.cuda.is_available()
    if config.accelerator == "gpu" and not there:
        raise ConfigError(
            "trainer.accelerator=gpu, but there is no GPU", hint="--set trainer.accelerator=auto"
        )
    gpu = there and config.accelerator != "cpu"
    if config.precision == "bfloat16" and not gpu:
        raise ConfigError("trainer.precision=bfloat16 needs a GPU", hint="--set trainer.precision=auto")
    return gpu


def build_trainer(
    config: TrainerConfig, callbacks: Sequence[Callback], *, folder: Path, validate: bool
) -> Trainer:
    """A trainer without loggers, bars, summaries and checkpoints of its own."""
    gpu = on_gpu(config)
    bf16 = gpu and config.precision != "float32"
    options: dict[str, Any] = {} if validate else {"limit_val_batches": 0}
    with quiet():
        return Trainer(
            accelerator="gpu" if gpu else "cpu",
            devices=config.devices,
            strategy=config.strategy,
            precision="bf16-mixed" if bf16 else "32-true",
            max_epochs=config.max_epochs,
            accumulate_grad_batches=config.accumulate,
            gradient_clip_val=config.gradient_clip or None,
            callbacks=list(callbacks),
            plugins=[AtomicCheckpointIO()],
            default_root_dir=folder,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )


def rank_and_world(config: TrainerConfig, folder: Path) -> tuple[int, int]:
    """This process's number and how many there are, as Lightning sees it."""
    trainer = build_trainer(config, (), folder=folder, validate=False)
    return trainer.global_rank, trainer.world_size


def run_fit(trainer: Trainer, task: Task, loaders: Loaders, *, checkpoint: Path | None = None) -> None:
    """Train; Ctrl-C comes out as ``KeyboardInterrupt``."""
    with quiet(), _own_interrupt():
        try:
            trainer.fit(task, loaders.train, loaders.val, ckpt_path=checkpoint, weights_only=True)
        except SystemExit as error:
            if isinstance(error, SIGTERMException):
                raise
            raise KeyboardInterrupt from None  # Lightning turns Ctrl-C into exit(1)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's remarks and the known warnings to ourselves."""
    names = ("lightning.pytorch", "lightning.fabric")
    levels = [logging.getLogger(name).level for name in names]
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.WARNING)
        with warnings.catch_warnings():
            for message, category in _KNOWN_WARNINGS:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        for name, level in zip(names, levels, strict=True):
            logging.getLogger(name).setLevel(level)


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Give back the handler of Ctrl-C, which Lightning switches off when it is pressed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler: Any = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
