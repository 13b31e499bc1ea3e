from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tessera.core import pipeline as pipelines
from tessera.core.bundle.bundle import Bundle, Member, write_bundle
from tessera.core.bundle.card import Calibration, Card, TrainingRecord
from tessera.core.testing.synthetic import SYNTHETIC, network, synthetic_config, synthetic_targets

TRAINING = TrainingRecord(
    dataset="stripes",
    manifest_digest="ab" * 32,
    simulated=True,
    licence="CC0-1.0",
    fold="1",
    seed=0,
    n_train=9,
    n_val=3,
    steps=10,
    code_version="0.1.0",
)


def make_card(**changes: Any) -> Card:
    values = {
        "pipeline": "synthetic",
        "preset": "smoke",
        "task": "classification",
        "target_name": "label",
        "target": synthetic_targets()["label"],
        "inputs": "arrays without units",
        "input_shape": (1, 8, 8),
        "members": 1,
        "parameters": 100,
        "training": (TRAINING,),
        "licence": "Apache-2.0",
        "citation": "none",
        "intended_use": "tests",
        "limits": "anything else",
        "versions": {"torch": torch.__version__},
    }
    return Card.model_validate({**values, **changes})


def make_member(seed: int = 0, n_outputs: int = 3, **sections: Any) -> Member:
    config = synthetic_config(**sections)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Member(config, network(config, n_outputs).state_dict())


@pytest.fixture(autouse=True)
def synthetic_is_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pipelines, "discover", lambda: {"synthetic": SYNTHETIC})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Bundle]:
    """Write a bundle of one member below ``tmp_path``."""

    def write(name: str = "bundle", *, seed: int = 0, temperature: float = 1.5, **changes: Any) -> Bundle:
        card = make_card(**changes)
        return write_bundle(
            tmp_path / name,
            pipeline=SYNTHETIC,
            card=card,
            members=[make_member(seed)],
            calibration=Calibration(temperature=temperature, n=7, thresholds={"fine": 0.5}),
        )

    return write
