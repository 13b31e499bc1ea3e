"""The sound pipeline from simulated scenes to a bundle, predictions and answers, through Python."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import tessera.core
from tessera.audio.config import SoundConfig
from tessera.audio.pipelines import SOUND
from tessera.audio.simulate import SOURCES, simulate_sound_scenes
from tessera.core.bundle.bundle import Bundle
from tessera.core.config import load_yaml, merge, validate
from tessera.core.data.splits import Split
from tessera.core.errors import DataError
from tessera.core.inference.runner import run
from tessera.core.inference.steps import Steps
from tessera.core.inference.summary import RunSummary
from tessera.core.training.history import read_metrics
from tessera.core.training.train import Finished, Plan, train_one

CLASSES = sorted(SOURCES)


def smoke(**sections: dict[str, Any]) -> SoundConfig:
    """The smoke preset on windows of 1 s, two epochs."""
    shorter = {"data": {"window_s": 1.0}, "trainer": {"max_epochs": 2}}
    values, _ = merge(SOUND.preset_values("smoke"), shorter)
    values, _ = merge(values, sections)
    return validate(SoundConfig, values, source="smoke")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of this module, with the cache in it."""
    folder = tmp_path_factory.mktemp("sound")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESSERA_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def scenes(place: Path) -> Path:
    simulate_sound_scenes(place / "scenes", n=40, seed=1, values={"duration_s": 1.0})
    return place / "scenes"


@pytest.fixture(scope="module")
def trained(place: Path, scenes: Path) -> Finished:
    return train_one(Plan(config=smoke(), data=str(scenes), fold="1"), SOUND, out=place / "run")


def predict(bundle: Bundle, inputs: Path, out: Path, **options: Any) -> RunSummary:
    steps = Steps.from_bundle(bundle, device="cpu")
    return run(steps, list(steps.reader.find(inputs)), out, **options)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def content(folder: Path) -> dict[str, bytes]:
    """Every file but the ledger, which holds times."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("ledger"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_run_folder_holds_everything_the_design_names(trained: Finished, place: Path) -> None:
    names = (
        "config.yaml environment.json splits.csv metrics.csv checkpoints/last.ckpt checkpoints/best.ckpt "
        "evaluation.json predictions.csv report.html summary.json bundle/card.json bundle/README.md "
        "bundle/golden.safetensors bundle/calibration.json bundle/members/0/model.safetensors "
        "bundle/members/0/config.yaml"
    )
    assert [name for name in names.split() if not (trained.folder / name).is_file()] == []
    assert (place / "cache").is_dir()
    stored = load_yaml(trained.folder / "config.yaml")
    assert validate(SoundConfig, stored, source="config.yaml") == smoke()
    assert set(stored["features"]) == set(type(smoke().features).model_fields)  # complete


def test_the_first_fold_was_held_out_and_evaluated(trained: Finished) -> None:
    split = Split.read(trained.folder / "splits.csv")
    held_out = {name for name, role in split.roles.items() if role == "test"}
    assert len(held_out) == 10
    predictions = rows_of(trained.folder / "predictions.csv")
    assert {row["case_id"] for row in predictions} == held_out
    assert trained.evaluation is not None
    assert trained.evaluation.n == 10
    answers = [max(CLASSES, key=lambda name: float(row[f"p_{name}"])) for row in predictions]
    right = sum(answer == row["target"] for answer, row in zip(answers, predictions, strict=True))
    assert trained.evaluation.metrics["accuracy"].value == pytest.approx(right / 10)


def test_training_made_progress_and_says_so(trained: Finished) -> None:
    rows = read_metrics(trained.folder / "metrics.csv")
    losses = [loss for row in rows if (loss := row.get("train_loss")) is not None]
    assert losses[-1] < losses[0]
    assert json.loads((trained.folder / "summary.json").read_text())["epochs"] == 2


def test_the_report_plays_scenes_and_loads_nothing(trained: Finished) -> None:
    page = (trained.folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 5
    assert page.count("data:audio/wav;base64,") >= 5
    assert "simulated" in page.lower()
    assert 'src="http' not in page


def test_the_golden_pair_is_replayed(trained: Finished) -> None:
    Bundle.load(trained.folder / "bundle").verify()


def test_predicting_twice_computes_once_and_leaves_the_same_bytes(
    trained: Finished, scenes: Path, tmp_path: Path
) -> None:
    first = predict(trained.bundle, scenes / "audio", tmp_path / "out")
    assert (first.ok, first.computed, first.exit_code) == (40, 40, 0)
    before = content(tmp_path / "out")
    again = predict(trained.bundle, scenes / "audio", tmp_path / "out")
    assert (again.ok, again.computed, again.kept) == (40, 0, 40)
    assert content(tmp_path / "out") == before
    assert predict(trained.bundle, scenes / "audio", tmp_path / "other", workers=3).computed == 40
    assert content(tmp_path / "other") == before


def test_tables_have_one_row_a_recording_and_one_a_window(
    trained: Finished, scenes: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    (folder / "night 1").mkdir(parents=True)
    sound, rate = soundfile.read(scenes / "audio" / "scene-00001.wav")
    soundfile.write(folder / "night 1" / "A.WAV", np.tile(sound, 3)[:40_001], rate)
    soundfile.write(folder / "night 1" / "a.wav", sound, rate)
    soundfile.write(folder / "two, stereo.flac", np.stack([sound, sound], axis=1), rate)
    predict(trained.bundle, folder, tmp_path / "out")
    summaries = rows_of(tmp_path / "out" / "predictions.csv")
    assert [(row["case_id"], row["windows"]) for row in summaries] == [
        ("night 1/A.WAV", "3"),
        ("night 1/a.wav", "1"),
        ("two, stereo.flac", "1"),
    ]
    windows = rows_of(tmp_path / "out" / "windows.csv")
    assert [(row["start_sample"], row["end_sample"]) for row in windows] == [
        ("0", "16000"),
        ("16000", "32000"),
        ("24001", "40001"),  # the last window is moved back to be whole
        ("0", "16000"),
        ("0", "16000"),
    ]
    for row in [*summaries, *windows]:
        shares = {name: float(row[f"p_{name}"]) for name in CLASSES}
        assert sum(shares.values()) == pytest.approx(1.0, abs=1e-5)
        assert row["answer"] == max(shares, key=shares.__getitem__)
    mean = np.mean([[float(row[f"p_{name}"]) for name in CLASSES] for row in windows[:3]], axis=0)
    np.testing.assert_allclose([float(summaries[0][f"p_{name}"]) for name in CLASSES], mean, atol=2e-6)
    assert summaries[1]["answer"] == summaries[2]["answer"]


def test_the_door_from_python_gives_the_same_answer_as_the_run(
    trained: Finished, scenes: Path, tmp_path: Path
) -> None:
    predict(trained.bundle, scenes / "audio", tmp_path / "out")
    table = {row["case_id"]: row for row in rows_of(tmp_path / "out" / "predictions.csv")}
    model = tessera.core.load(trained.folder / "bundle", device="cpu")
    (answer,) = model.predict(scenes / "audio" / "scene-00007.wav")
    row = table["scene-00007.wav"]
    assert answer["class"] == row["answer"]
    assert {name: f"{p:.6f}" for name, p in answer["probabilities"].items()} == {
        name: row[f"p_{name}"] for name in CLASSES
    }
    assert [(window["start"], window["stop"]) for window in answer["windows"]] == [((0,), (16_000,))]


def broken_files(folder: Path, good: Path) -> dict[str, str]:
    """Six recordings that are none, each with words its cause must have."""
    (folder / "empty.wav").touch()
    sound, rate = soundfile.read(good)
    soundfile.write(folder / "truncated.wav", np.tile(sound, 5), rate)
    os.truncate(folder / "truncated.wav", 50_000)
    soundfile.write(folder / "nan.wav", np.full(16_000, np.nan), 16_000, subtype="FLOAT")
    soundfile.write(folder / "one sample.wav", [0.5], 16_000)
    (folder / "text.wav").write_text("site 3, 05:30, light rain\n" * 20, encoding="utf-8")
    soundfile.write(folder / "no samples.wav", np.zeros(0), 16_000)
    return {
        "empty.wav": "0 bytes",
        "truncated.wav": "ends early",
        "nan.wav": "not numbers",
        "one sample.wav": "too short",
        "text.wav": "cannot read",
        "no samples.wav": "no samples",
    }


@pytest.mark.parametrize("workers", [1, 3])
def test_six_broken_files_fail_with_their_cause_and_ten_good_ones_are_done(
    trained: Finished, scenes: Path, tmp_path: Path, workers: int
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    good = sorted((scenes / "audio").iterdir())[:10]
    for path in good:
        (folder / path.name).write_bytes(path.read_bytes())
    causes = broken_files(folder, good[0])
    summary = predict(trained.bundle, folder, tmp_path / "out", workers=workers)
    assert (summary.ok, summary.failed, summary.suspicious, summary.exit_code) == (10, 6, 0, 3)
    failures = {row["case_id"]: row for row in rows_of(tmp_path / "out" / "failures.csv")}
    assert set(failures) == set(causes)
    for name, words in causes.items():
        assert failures[name]["status"] == "failed"
        assert words in failures[name]["error"], failures[name]["error"]
    done = rows_of(tmp_path / "out" / "predictions.csv")
    assert [row["case_id"] for row in done] == [path.name for path in good]
    predict(trained.bundle, scenes / "audio", tmp_path / "whole")
    whole = {row["case_id"]: row for row in rows_of(tmp_path / "whole" / "predictions.csv")}
    assert [whole[row["case_id"]] for row in done] == done

    model = tessera.core.load(trained.folder / "bundle", device="cpu")
    answers = {row["case"]: row for row in model.predict(folder)}
    assert {name for name, row in answers.items() if "error" in row} == set(causes)


def test_a_short_truncated_recording_is_refused(trained: Finished, scenes: Path, tmp_path: Path) -> None:
    path = tmp_path / "truncated.wav"
    path.write_bytes((scenes / "audio" / "scene-00001.wav").read_bytes()[:9_000])
    with pytest.raises(DataError, match="ends early"):
        tessera.core.load(trained.folder / "bundle", device="cpu").predict(path)


def test_odd_recordings_are_read(trained: Finished, tmp_path: Path) -> None:
    """Rates from 300 Hz to 384 kHz, seven channels, capital letters, silence."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "in"
    folder.mkdir()
    for name, rate, channels in (("slow.wav", 300, 1), ("bat.wav", 384_000, 1), ("SEVEN.WAV", 22_050, 7)):
        soundfile.write(folder / name, 0.1 * rng.standard_normal((rate, channels)), rate)
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    summary = predict(trained.bundle, folder, tmp_path / "out")
    assert (summary.ok, summary.suspicious, summary.failed) == (3, 1, 0)
    flags = {row["case_id"]: row["flags"] for row in rows_of(tmp_path / "out" / "predictions.csv")}
    assert flags == {"SEVEN.WAV": "", "bat.wav": "", "silent.wav": "silent", "slow.wav": ""}
    (remark,) = rows_of(tmp_path / "out" / "remarks.csv")
    assert (remark["case_id"], remark["remark"]) == ("silent.wav", "silent")


def test_tags_of_several_events_train_and_predict(place: Path, tmp_path: Path) -> None:
    data = tmp_path / "many"
    simulate_sound_scenes(data, n=30, seed=2, values={"duration_s": 1.0, "events_per_scene": [1, 3]})
    config = smoke(augment={"shift_fraction": 0.5, "noise_snr_db": [10.0, 30.0], "mixup_alpha": 0.2})
    trained = train_one(Plan(config=config, data=str(data), fold="2"), SOUND, out=tmp_path / "run")
    assert trained.bundle.card.target.kind == "tags"
    predict(trained.bundle, data / "audio", tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    assert len(rows) == 30
    for row in rows:
        assert row["answer"] == "|".join(name for name in CLASSES if float(row[f"p_{name}"]) >= 0.5)
