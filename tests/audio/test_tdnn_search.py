"""A supernet through training, and the search of its best network as a bundle."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from tessera.audio.embedding import Embedder
from tessera.audio.models.efficient_tdnn import TDNNClassifier
from tessera.audio.simulate import simulate_voices
from tessera.audio.tdnn_search import SubnetScores, app
from tessera.audio.tdnn_space import stage_space
from tessera.core.bundle.bundle import Bundle, Member, write_bundle
from tessera.core.config import merge, validate
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import make_split
from tessera.core.network import Network
from tessera.core.pipeline import get
from tessera.core.training.train import Plan, train_one

from .test_verify import untrained

SMALL: dict[str, Any] = {"width": 16, "depth": 2, "concat": 32, "embedding": 16, "cosine_scale": 15.0}


def values(stage: str, **sections: Any) -> dict[str, Any]:
    model = {"kind": "efficient-tdnn-super", "stage": stage, **SMALL}
    changes = {"model": model, "data": {"val_fraction": 0.3}, "trainer": {"max_epochs": 2}, **sections}
    return merge(get("speaker").preset_values("smoke"), changes)[0]


@pytest.fixture
def voices(tmp_path: Path) -> Manifest:
    small = {"speakers": 3, "sample_rate_hz": 8000, "vowels": 2}
    return simulate_voices(tmp_path / "voices", n=45, seed=0, values=small)


@pytest.fixture
def supernet(voices: Manifest, tmp_path: Path) -> Bundle:
    """An untrained supernet in the folder of a run that learnt ``voices``."""
    pipeline, run = get("speaker"), tmp_path / "run"
    config = validate(pipeline.resolve("config"), values("width-2"), source="test")
    base = untrained(tmp_path / "base", classes=voices.target("speaker").classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = pipeline.resolve("network")(config, n_outputs=3)
    split = make_split(voices.cases, fold="1", n_folds=5, val_fraction=0.3, seed=0, target="speaker")
    run.mkdir()
    split.write(run / "splits.csv")
    member = Member(config, network.state_dict())
    return write_bundle(run / "bundle", pipeline=pipeline, card=base.card, members=[member])


def search(bundle: Bundle, data: Manifest, out: Path, *options: str) -> Any:
    few = ["--population", "4", "--generations", "1", "--device", "cpu"]
    wanted = [str(bundle.path), "--data", str(data.folder), "--out", str(out), *few, *options]
    return CliRunner().invoke(app, wanted)


def test_the_best_network_within_the_limit_becomes_a_bundle(
    supernet: Bundle, voices: Manifest, tmp_path: Path
) -> None:
    done = search(supernet, voices, tmp_path / "a", "--max-parameters", "6000")
    assert done.exit_code == 0, done.output
    with (tmp_path / "a" / "search.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert 4 <= len(rows) <= 8
    errors = [float(row["eer"]) for row in rows]
    assert errors == sorted(errors)
    assert all(int(row["parameters"]) <= 6000 for row in rows)
    best = Bundle.load(tmp_path / "a" / "bundle")
    best.verify()
    (network,) = best.networks("cpu")
    assert isinstance(network, Network)
    assert isinstance(network.body, TDNNClassifier)
    assert sum(p.numel() for p in network.body.network.parameters()) == int(rows[0]["parameters"])
    assert " ".join(map(str, best.config.model.widths)) == rows[0]["widths"]  # type: ignore[attr-defined]
    assert best.calibration.n == 11
    assert Embedder(best, device="cpu").embed(voices.cases[:2]).shape == (2, 16)
    assert f"EER {errors[0]:.4f}" in done.output


def test_the_same_seed_finds_the_same(supernet: Bundle, voices: Manifest, tmp_path: Path) -> None:
    tables = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert search(supernet, voices, tmp_path / name, "--seed", seed).exit_code == 0
        tables.append((tmp_path / name / "search.csv").read_text(encoding="utf-8"))
    assert tables[0] == tables[1] != tables[2]


def test_norms_are_measured_and_the_error_is_that_of_all_pairs(supernet: Bundle, voices: Manifest) -> None:
    scores = SubnetScores(supernet, device="cpu")
    subnet = stage_space("width-2", width=16, depth=2, concat=32).smallest
    norms, _ = scores.read(voices.cases[:8])
    plain, measured = scores.body.export(subnet), scores.network(subnet, norms)
    mean = measured.network.get_buffer("stem.2.running_mean")
    assert not torch.equal(plain.network.get_buffer("stem.2.running_mean"), mean)
    weight = measured.network.get_parameter("stem.0.weight")
    with torch.no_grad():
        first = torch.relu(torch.nn.functional.conv1d(norms.squeeze(1), weight, padding="same"))
    torch.testing.assert_close(mean, first.mean(dim=(0, 2)))
    features, owner = scores.read(voices.cases[:3])
    two_and_one = scores.error(measured, features, owner, ["a", "a", "b"])
    assert 0.0 <= two_and_one <= 1.0
    twice = torch.cat([features[:1], features[:1], features[2:3]])
    assert scores.error(measured, twice, [0, 1, 2], ["a", "a", "b"]) == 0.0


def test_what_cannot_be_searched_is_said(supernet: Bundle, voices: Manifest, tmp_path: Path) -> None:
    alone = untrained(tmp_path / "alone" / "bundle", classes=voices.target("speaker").classes)
    assert "does not lie in its run's folder" in search(alone, voices, tmp_path / "x").output
    split = (supernet.path.parent / "splits.csv").read_bytes()
    (tmp_path / "alone" / "splits.csv").write_bytes(split)
    done = search(alone, voices, tmp_path / "x")
    assert done.exit_code == 2
    assert "is no supernet" in done.output
    done = search(supernet, voices, tmp_path / "x", "--max-parameters", "10")
    assert "no network of the search space is within the limit" in done.output
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_the_stages_are_trained_one_from_the_other(voices: Manifest, tmp_path: Path) -> None:
    pipeline, before = get("speaker"), None
    for stage in ("largest", "kernel", "width-2"):
        config = validate(pipeline.resolve("config"), values(stage, task={"loss": "margin"}), source="test")
        plan = Plan(config=config, data=str(voices.folder), fold="1", from_bundle=before)
        done = train_one(plan, pipeline, out=tmp_path / stage)
        before = done.bundle.path
    again = train_one(plan, pipeline, out=tmp_path / "again")
    for name, value in done.bundle.weights().items():
        assert torch.equal(again.bundle.weights()[name], value), name
    found = search(done.bundle, voices, tmp_path / "found", "--max-macs", "400000")
    assert found.exit_code == 0, found.output
