"""The commands a person types, in-process, on a small simulated set."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from tests.end_to_end.conftest import Tessera

TINY = ("--set", "data.window_s=1.0", "--set", "trainer.max_epochs=2", "--quiet")


@pytest.fixture(scope="module")
def scenes(tessera: Tessera, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sims") / "scenes"
    outcome = tessera(
        "simulate", "sound-scenes", "--n", 30, "--seed", 1, "--out", out, "--set", "duration_s=1.0", "-q"
    )
    assert outcome.code == 0, outcome.err
    return out


@pytest.fixture(scope="module")
def run(tessera: Tessera, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    outcome = tessera(
        "train", "sound", "--preset", "smoke", "--data", scenes, "--fold", 1, "--out", out, *TINY
    )
    assert outcome.code == 0, outcome.err
    assert outcome.out.strip() == str(out)
    return out


def test_a_run_folder_holds_what_the_next_person_needs(run: Path) -> None:
    wanted = (
        "config.yaml environment.json splits.csv metrics.csv run.json summary.json report.html "
        "evaluation.json predictions.csv bundle/card.json bundle/SHA256SUMS checkpoints/last.ckpt"
    )
    assert [name for name in wanted.split() if not (run / name).is_file()] == []


def test_the_held_out_fold_is_what_was_evaluated(run: Path, scenes: Path) -> None:
    with (scenes / "samples.csv").open() as table:
        fold_1 = {row["id"] for row in csv.DictReader(table) if row["split"] == "1"}
    with (run / "predictions.csv").open() as table:
        assert {row["case_id"] for row in csv.DictReader(table)} == fold_1


def test_evaluate_gives_the_numbers_the_run_wrote(tessera: Tessera, run: Path, scenes: Path) -> None:
    outcome = tessera("evaluate", run / "bundle", "--data", scenes, "--fold", 1, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["metrics"] == json.loads((run / "evaluation.json").read_text())["metrics"]


def test_evaluate_warns_when_the_bundle_was_trained_on_the_cases(
    tessera: Tessera, run: Path, scenes: Path
) -> None:
    assert (
        "trained on some of these" in tessera("evaluate", run / "bundle", "--data", scenes, "--fold", 2).err
    )
    assert "trained on" not in tessera("evaluate", run / "bundle", "--data", scenes, "--fold", 1).err


def test_evaluate_against_itself_differs_by_nothing(
    tessera: Tessera, run: Path, scenes: Path, tmp_path: Path
) -> None:
    common = ("evaluate", run / "bundle", "--data", scenes, "--fold", 1)
    tessera(*common, "--out", tmp_path / "first")
    outcome = tessera(*common, "--against", tmp_path / "first")
    assert "accuracy: +0.000 [+0.000, +0.000]" in outcome.out


def test_predict_names_the_broken_file_and_does_the_rest(
    tessera: Tessera, run: Path, scenes: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "recordings"
    shutil.copytree(scenes / "audio", folder)
    (folder / "broken.wav").write_bytes(b"")
    outcome = tessera("predict", run / "bundle", folder, "--out", tmp_path / "found", "--json")
    assert outcome.code == 3
    counts = json.loads(outcome.out)
    assert (counts["ok"], counts["failed"]) == (30, 1)
    assert {stage["name"] for stage in counts["stages"]} >= {"features and network", "waiting for reading"}
    with (tmp_path / "found" / "failures.csv").open() as table:
        (failure,) = csv.DictReader(table)
    assert failure["case_id"] == "broken.wav"
    assert "0 bytes" in failure["error"]


def test_predict_again_computes_nothing_and_changes_no_byte(
    tessera: Tessera, run: Path, scenes: Path, tmp_path: Path
) -> None:
    command = ("predict", run / "bundle", scenes / "audio", "--out", tmp_path, "--json")
    assert json.loads(tessera(*command).out)["computed"] == 30
    before = {name: (tmp_path / name).read_bytes() for name in ("predictions.csv", "windows.csv")}
    again = json.loads(tessera(*command).out)
    assert (again["computed"], again["kept"]) == (0, 30)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert json.loads(tessera(*command, "--restart").out)["computed"] == 30


def test_shards_merge_into_the_tables_of_a_single_run(
    tessera: Tessera, run: Path, scenes: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    common = ("predict", run / "bundle", scenes / "audio")
    tessera(*common, "--out", whole, "-q")
    for shard in ("1/2", "2/2"):
        if shard == "2/2":
            early = tessera("merge", parts)
            assert early.code == 2
            assert "2-of-2" in early.err or "shard 2" in early.err
        assert tessera(*common, "--out", parts, "--shard", shard, "-q").code == 0
    assert tessera("merge", parts, "-q").code == 0
    for name in ("predictions.csv", "windows.csv"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_report_of_predictions_is_one_page(tessera: Tessera, run: Path, scenes: Path, tmp_path: Path) -> None:
    tessera("predict", run / "bundle", scenes / "audio", "--out", tmp_path, "-q")
    outcome = tessera("report", tmp_path)
    assert outcome.code == 0
    assert "scene-00001.wav" in Path(outcome.out.strip()).read_text()


def test_a_changed_byte_in_a_bundle_is_exit_2_and_named(tessera: Tessera, run: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(run / "bundle", bundle)
    assert tessera("bundle", "verify", bundle).code == 0
    weights = bundle / "members" / "0" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    outcome = tessera("bundle", "verify", bundle)
    assert outcome.code == 2
    assert "model.safetensors" in outcome.err


def test_resume_of_a_finished_run_changes_no_weight(tessera: Tessera, run: Path) -> None:
    sums = (run / "bundle" / "SHA256SUMS").read_text()
    assert tessera("train", "sound", "--resume", run, "-q").code == 0
    assert (run / "bundle" / "SHA256SUMS").read_text() == sums


def test_fine_tuning_starts_from_the_bundle(
    tessera: Tessera, run: Path, scenes: Path, tmp_path: Path
) -> None:
    outcome = tessera(
        "train", "sound", "--preset", "smoke", "--data", scenes, "--fold", 1, "--out", tmp_path / "tuned",
        "--from", run / "bundle", *TINY, "--set", "trainer.max_steps=1", "--set", "optim.lr=1e-12",
        "--set", "trainer.keep=last",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    from safetensors.torch import load_file

    old, new = (load_file(f / "bundle/members/0/model.safetensors") for f in (run, tmp_path / "tuned"))
    name = "body.classifier.weight"
    assert (old[name] - new[name]).abs().max() < 1e-6


@pytest.mark.slow
def test_folds_make_an_ensemble_evaluated_on_cases_its_members_did_not_see(
    tessera: Tessera, scenes: Path, tmp_path: Path
) -> None:
    outcome = tessera(
        "train",
        "sound",
        "--preset",
        "smoke",
        "--data",
        scenes,
        "--folds",
        "1,2",
        "--out",
        tmp_path / "cv",
        *TINY,
    )
    assert outcome.code == 0, outcome.err
    card = json.loads((tmp_path / "cv" / "bundle" / "card.json").read_text())
    assert card["members"] == 2
    assert [record["fold"] for record in card["training"]] == ["1", "2"]
    assert (
        next(m for m in card["metrics"] if m["name"] == "accuracy")["n"] == 10 + 5
    )  # folds take turns by blocks of five classes
    calibration = json.loads((tmp_path / "cv" / "bundle" / "calibration.json").read_text())
    assert sum(curve["n_positive"] for curve in calibration["curves"].values()) == 15
    assert (
        tessera("predict", tmp_path / "cv" / "bundle", scenes / "audio", "--out", tmp_path / "p", "-q").code
        == 0
    )


@pytest.mark.slow
def test_a_study_prints_a_table_with_paired_differences_and_goes_on(
    tessera: Tessera, scenes: Path, tmp_path: Path
) -> None:
    study = tmp_path / "two.yaml"
    study.write_text(
        f"""
id: two
title: Two rates
pipeline: sound
data: {scenes}
folds: ['1']
set: {{data.window_s: 1.0, trainer.max_epochs: 1}}
arms:
  - {{preset: smoke}}
  - {{preset: smoke, name: slow, set: {{optim.lr: 1.0e-6}}}}
"""
    )
    first = tessera("study", study, "--out", tmp_path / "s", "-q")
    assert first.code == 0, first.err
    assert "| smoke |" in first.out
    assert "reference" in first.out
    assert "n = 10" in first.out
    made = (tmp_path / "s" / "slow" / "fold-1-seed-0" / "summary.json").stat().st_mtime_ns
    second = tessera("study", study, "--out", tmp_path / "s", "-q")
    assert second.out == first.out
    assert (tmp_path / "s" / "slow" / "fold-1-seed-0" / "summary.json").stat().st_mtime_ns == made


def test_data_make_from_folders_warns_about_groups_and_verify_finds_a_changed_file(
    tessera: Tessera, scenes: Path, tmp_path: Path
) -> None:
    with (scenes / "samples.csv").open() as table:
        for row in csv.DictReader(table):
            target = tmp_path / "mine" / row["target.label"] / Path(row["path"]).name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(scenes / row["path"], target)
    made = tessera("data", "make", "--audio", tmp_path / "mine", "--out", tmp_path / "manifests" / "mine")
    assert made.code == 0, made.err
    assert "group-regex" in made.err
    assert "5 classes: call, chirp, impulse, noise, tone" in made.err
    manifest = tmp_path / "manifests" / "mine"
    assert tessera("data", "verify", manifest, "-q").code == 0
    changed = next((tmp_path / "mine" / "call").iterdir())
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    outcome = tessera("data", "verify", manifest)
    assert outcome.code == 3
    assert changed.name in outcome.out


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("train", "sound"), "--data"),
        (("train", "sound", "--data", "nowhere"), "no manifest 'nowhere'"),
        (("predict", "nowhere", "x", "--out", "y"), "is not a bundle"),
        (("report", "nowhere"), "nowhere"),
        (("simulate", "rain", "--out", "z"), "sound-scenes"),
        (("train", "sound", "--resume", "nowhere"), "is not a run"),
    ],
)
def test_bad_arguments_are_exit_2_and_say_what_to_try(
    tessera: Tessera, arguments: tuple[str, ...], wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = tessera(*arguments)
    assert outcome.code == 2
    assert wanted in outcome.err
    assert "Traceback" not in outcome.err
