"""A bundle of a network that began with weights of a file needs that file no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from tessera.core import pipeline as pipelines
from tessera.core.bundle.bundle import Bundle, combine
from tessera.core.config import load_yaml
from tessera.core.testing.synthetic import SYNTHETIC, SyntheticConfig, synthetic_config, synthetic_manifest
from tessera.core.training.bundling import bundle_of_run
from tessera.core.training.checkpoints import network_weights

from .conftest import Workbench

NAME = "test_resnet"  # timm's smallest


@pytest.fixture(autouse=True)
def synthetic_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "discover", lambda: {"synthetic": SYNTHETIC})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "first.safetensors"
    save_file(timm.create_model(NAME).state_dict(), path)
    return path


def configured(weights: Path) -> SyntheticConfig:
    encoder: dict[str, Any] = {"kind": "timm", "name": NAME, "weights": str(weights), "mean": [0], "std": [1]}
    return synthetic_config(
        model={"kind": "classifier", "encoder": encoder}, optim={"lr": 0.0001}, trainer={"max_epochs": 1}
    )


def test_bundle_holds_all_weights_and_not_the_path_of_their_first_file(
    bench: Workbench, weights: Path
) -> None:
    config = configured(weights)
    run = bench.fit("run", config)
    first = timm.create_model(NAME)
    first.load_state_dict(timm.models.load_state_dict(str(weights)))
    weights.unlink()

    bundle = bundle_of_run(run, config, SYNTHETIC, synthetic_manifest(bench.n), bench.split(), device="cpu")

    stored = load_yaml(bundle.path / "members" / "0" / "config.yaml")["model"]["encoder"]
    assert (stored["weights"], stored["mean"], stored["name"]) == (None, [0.0], NAME)
    files = [file for file in bundle.path.rglob("*") if file.is_file()]
    assert not [file for file in files if weights.name.encode() in file.read_bytes()]
    assert load_yaml(run.folder / "config.yaml")["model"]["encoder"]["weights"] == str(weights)
    assert Bundle.load(bundle.path).verify() == 0.0
    combine(bench.folder / "both", [bundle, bundle]).verify()
    kept, trained = bundle.weights(), network_weights(run.best or run.last)
    assert kept.keys() == trained.keys()
    assert all(torch.equal(kept[name], trained[name]) for name in kept)
    # they began with those of the file: one epoch at this rate moves them little
    last = next(name for name in kept if name.endswith("layer4.0.conv2.weight"))
    began = dict(first.named_parameters())["layer4.0.conv2.weight"]
    torch.testing.assert_close(kept[last], began, rtol=0, atol=3e-3)
