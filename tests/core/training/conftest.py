from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tessera.core.data.splits import Split, make_split
from tessera.core.testing.synthetic import SYNTHETIC, SyntheticConfig, synthetic_config, synthetic_manifest
from tessera.core.training.fit import fit
from tessera.core.training.run_folder import Run


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Workbench:
    """Trains the synthetic pipeline; one manifest and split for all runs of a test."""

    folder: Path
    n: int = 16

    def split(self, fold: str = "1") -> Split:
        cases = synthetic_manifest(self.n).cases
        return make_split(cases, fold=fold, val_fraction=0.25, seed=0, target="label")

    def fit(self, name: str, config: SyntheticConfig, **options: Any) -> Run:
        options = {"split": self.split()} | options
        manifest = options.pop("manifest", synthetic_manifest(self.n))
        return fit(config, SYNTHETIC, manifest, out=self.folder / name, **options)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


@pytest.fixture
def configure() -> Callable[..., SyntheticConfig]:
    """Everything that has a state at once: EMA, early stopping, dropout, mixup, masks."""

    def make(*, trainer: Mapping[str, Any] | None = None, **sections: Any) -> SyntheticConfig:
        settings = {"max_epochs": 3, "ema_decay": 0.9, "patience": 10, "checkpoint_every_steps": 1}
        return synthetic_config(
            trainer=settings | dict(trainer or {}),
            augment={"mixup_alpha": 0.4, "mask_count": [1, 1], "mask_width": [0.3, 0.3]},
            **sections,
        )

    return make
