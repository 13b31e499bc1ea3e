"""Files that kill the process, and people who do: every other case has its result, and none is lost."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tessera.core.bundle.bundle import Member, write_bundle
from tessera.core.bundle.card import Card
from tessera.core.cli.app import app
from tessera.core.cli.invocation import Invocation
from tessera.core.config import validate
from tessera.core.data.targets import TargetSpec
from tessera.core.inference.flight import IN_FLIGHT, Death, read_flight
from tessera.core.network import build_network
from tessera.core.pipeline import Pipeline, discover

FIELD = Path(__file__).parent
BROKEN = {17: "empty", 60: "segfault", 99: "three-axes", 140: "nan", 181: "cut-short"}


@pytest.fixture
def bundle(masks: Pipeline, tmp_path: Path) -> Path:
    """Weights that nobody trained, behind a reader that dies of some files."""
    from tessera.minimal_masks.config import MasksConfig
    from tessera.minimal_masks.deadly import DEADLY
    from tessera.minimal_masks.simulate import CLASSES

    values = {**masks.preset_values("smoke"), "pipeline": DEADLY.name}
    config = validate(MasksConfig, values, source="smoke")
    spec = TargetSpec(kind="mask", classes=CLASSES)
    training = {"dataset": "none", "manifest_digest": "ab" * 32, "simulated": True, "licence": "CC0-1.0"}
    training |= {"fold": "1", "seed": 0, "n_train": 0, "n_val": 0, "steps": 0, "code_version": "0.1.0"}
    card = {"pipeline": DEADLY.name, "preset": "smoke", "task": "segmentation", "target_name": "label"}
    card |= {"target": spec.model_dump(), "inputs": "planes", "input_shape": (1, 16, 16), "members": 1}
    card |= {"parameters": 1, "training": (training,), "licence": "x", "citation": "x", "versions": {}}
    card |= {"intended_use": "tests", "limits": "x"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        weights = build_network(DEADLY, config, spec).state_dict()
    folder = tmp_path / "bundle"
    write_bundle(folder, pipeline=DEADLY, card=Card(**card), members=[Member(config, weights)])
    return folder


@pytest.fixture
def surroundings(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process and others need to find the pipeline."""
    discover.cache_clear()
    monkeypatch.setenv("TESSERA_PIPELINES", "tessera.minimal_masks.deadly:PIPELINES")
    monkeypatch.setenv("PYTHONPATH", str(FIELD))


def write_planes(folder: Path, n: int, broken: dict[int, str]) -> None:
    from tessera.minimal_masks.simulate import draw_plane

    folder.mkdir()
    for i in range(n):
        plane, how = draw_plane(np.random.default_rng([5, i]))[0], broken.get(i, "")
        path = folder / (f"plane{i:03d}-{how}.npy" if how else f"plane{i:03d}.npy")
        if how == "nan":
            plane[0, 0] = np.nan
        np.save(path, plane[None] if how == "three-axes" else plane)
        if how in ("empty", "cut-short"):
            path.write_bytes(path.read_bytes()[: 0 if how == "empty" else -7])


def command(bundle: Path, inputs: Path, out: Path) -> list[str]:
    return ["predict", str(bundle), str(inputs), "--out", str(out), "--device", "cpu", "--threads", "1", "-q"]


def predict_here(bundle: Path, inputs: Path, out: Path, *, culprit: str) -> None:
    """All cases in one go, in this process, which is told what one of them would do to it."""
    out.mkdir()
    (out / IN_FLIGHT).write_text(f'["process", "another"]\n["alone", "{culprit}"]\n')
    invocation = Invocation((), watched=True, death=Death("was killed by signal 11 (segmentation fault)"))
    done = CliRunner().invoke(app, [*command(bundle, inputs, out), "--provenance"], obj=invocation)
    assert done.exit_code == 3, done.output


def predict(bundle: Path, inputs: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tessera.core.cli.app", *command(bundle, inputs, out), *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=inputs.parent,
    )  # fmt: skip


def tree(out: Path) -> dict[str, bytes]:
    """All outputs and tables; times and memory lie in the files left out."""
    files = (path for path in out.rglob("*") if path.is_file())
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in files
        if path.name not in ("ledger.sqlite", "run.json")
    }


def written(out: Path) -> dict[str, int]:
    """Each mask's inode, which a second writing would change."""
    return {path.name: path.stat().st_ino for path in out.glob("*-mask.npy")}


def kill_at(process: subprocess.Popen[str], out: Path, n: int) -> None:
    """Kill it with -9 as soon as there are ``n`` masks, and see that its child is gone too."""
    while len(written(out)) < n:
        try:
            process.wait(timeout=0.005)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"it ended before there were {n} masks: {process.communicate()}")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)  # ends when nobody holds the pipes any more
    assert process.returncode == -signal.SIGKILL


def mask_of(case_id: str) -> str:
    return f"{case_id.removesuffix('.npy')}-mask.npy"


@pytest.mark.slow
@pytest.mark.timeout(900)  # six processes import torch, one after the other
def test_200_cases_5_of_them_broken_killed_three_times_give_195_results_and_5_causes(
    bundle: Path, surroundings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_planes(tmp_path / "in", 200, BROKEN)
    monkeypatch.chdir(tmp_path)
    predict_here(bundle, tmp_path / "in", tmp_path / "whole", culprit=f"plane060-{BROKEN[60]}.npy")
    out, moments = tmp_path / "out", sorted(random.Random(5).sample(range(5, 150), 3))
    kept: dict[str, int] = {}  # masks that must not be written again
    for n in moments:
        kill_at(predict(bundle, tmp_path / "in", out, "--provenance"), out, n)
        masks, suspects = written(out), read_flight(out).suspects
        kept |= {name: inode for name, inode in masks.items() if name not in map(mask_of, suspects)}
    last = predict(bundle, tmp_path / "in", out, "--provenance")
    assert last.wait(timeout=200) == 3, last.communicate()
    last.communicate()
    assert len(kept) >= moments[-1] - 4
    assert {name: written(out)[name] for name in kept} == kept, "a finished case was done again"
    assert len(written(out)) == 195
    with (out / "failures.csv").open(newline="") as table:
        causes = {row["case_id"]: row["error"] for row in csv.DictReader(table)}
    assert len(causes) == 5
    for i, cause in {
        17: "cannot read",
        60: "the process was killed by signal 11 (segmentation fault) while it worked on this case",
        99: "found: 3 axes",
        140: "not finite",
        181: "cannot read",
    }.items():
        assert cause in " ".join(causes[f"plane{i:03d}-{BROKEN[i]}.npy"].split())
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(900)  # six processes import torch, one after the other
def test_out_of_memory_and_a_library_s_exit_are_failed_rows_and_one_process_dies_of_them(
    bundle: Path, surroundings: None, tmp_path: Path
) -> None:
    write_planes(tmp_path / "in", 6, {0: "memory", 1: "exits"})
    out = tmp_path / "out"
    alone = predict(bundle, tmp_path / "in", out, "--no-isolation")
    alone.communicate(timeout=200)
    assert alone.returncode in (-signal.SIGKILL, 0)  # whichever came first
    assert read_flight(out).suspects
    watched = predict(bundle, tmp_path / "in", out)
    watched.communicate(timeout=200)
    assert watched.returncode == 3
    assert len(written(out)) == 4
    with (out / "failures.csv").open(newline="") as table:
        first, second = csv.DictReader(table)
    assert "killed by signal 9 (probably out of memory: " in first["error"]
    assert "ended by itself with exit code 0 while it worked on this case" in second["error"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # five processes import torch, one after the other
def test_cases_that_never_end_are_failed_rows_with_the_reason_and_the_rest_is_done(
    bundle: Path, surroundings: None, tmp_path: Path
) -> None:
    """Reading that waits, reading that lets no other thread run, and writing."""
    write_planes(tmp_path / "in", 6, {0: "hangs", 2: "endless", 4: "forever"})
    out = tmp_path / "out"
    done = predict(bundle, tmp_path / "in", out, "--case-timeout", "3s")
    _, told = done.communicate(timeout=600)
    assert done.returncode == 3, told
    assert len(written(out)) == 3
    with (out / "failures.csv").open(newline="") as table:
        causes = {row["case_id"]: row["error"] for row in csv.DictReader(table)}
    assert sorted(causes) == ["plane000-hangs.npy", "plane002-endless.npy", "plane004-forever.npy"]
    assert "reading took longer than 3 s" in causes["plane000-hangs.npy"]
    for name in ("plane002-endless.npy", "plane004-forever.npy"):
        assert causes[name] == (
            "the process was ended after more time than --case-timeout allows while it worked on this case"
        )
