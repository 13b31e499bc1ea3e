"""A field ecologist's commands: tables of selections become labels, a bundle's detections become tables."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tests.end_to_end.conftest import Tessera

from tessera.audio.audacity import read_track
from tessera.audio.config import SoundConfig
from tessera.audio.pipelines import SOUND
from tessera.audio.raven import Selection, read_table, table_lines
from tessera.audio.seconds import samples_of
from tessera.audio.simulate import SOURCES, simulate_sound_scenes
from tessera.core import load
from tessera.core.bundle.bundle import Bundle, Member, update_calibration, write_bundle
from tessera.core.bundle.card import Calibration, Card, ThresholdCurve, TrainingRecord
from tessera.core.config import merge, validate
from tessera.core.data.manifest import Manifest
from tessera.core.network import build_network

CLASSES = tuple(sorted(SOURCES))
CURVE = ThresholdCurve(n_positive=30, threshold=(0.1, 0.9), precision=(0.5, 0.95), recall=(1.0, 0.2))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for tags with weights that nobody trained."""
    values, _ = merge(SOUND.preset_values("smoke"), {"data": {"window_s": 1.0, "hop_s": 0.5}})
    config = validate(SoundConfig, values, source="smoke")
    spec = {"kind": "tags", "classes": CLASSES}
    training = TrainingRecord(
        dataset="none", manifest_digest="ab" * 32, simulated=True, licence="CC0-1.0", fold="1", seed=0,
        n_train=0, n_val=0, steps=0, code_version="0.1.0",
    )  # fmt: skip
    card = Card.model_validate(
        {"pipeline": "sound", "preset": "smoke", "task": "classification", "target_name": "label"}
        | {"target": spec, "inputs": "sound", "input_shape": (1, 16_000), "members": 1, "parameters": 1}
        | {"training": (training,), "licence": "x", "citation": "x", "intended_use": "tests", "limits": "x"}
        | {"versions": {}}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        weights = build_network(SOUND, config, card.target).state_dict()
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    calibration = Calibration(temperature=0.05, n=30)  # pulls the scores apart
    write_bundle(
        folder, pipeline=SOUND, card=card, members=[Member(config, weights)], calibration=calibration
    )
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites with files of the same name, of different lengths and rates, and one broken file."""
    folder = tmp_path_factory.mktemp("archive")
    scenes = simulate_sound_scenes(folder / "scenes", n=4, seed=1, values={"duration_s": 5.0})
    sounds = [soundfile.read(case.path("audio"))[0] for case in scenes.cases]
    shutil.rmtree(folder / "scenes")
    for name, sound, rate in (
        ("site1/0500.WAV", np.concatenate(sounds[:2])[:150_007], 16_000),
        ("site2/0500.WAV", sounds[2], 22_050),
        ("site2/0600.flac", sounds[3], 16_000),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, sound, rate)
    (folder / "site1/0400.WAV").write_bytes(b"")
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def tables(folder: Path) -> dict[str, bytes]:
    left_out = ("ledger.sqlite", "run.json", "shards")
    files = (path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: content for name, content in named.items() if not name.startswith(left_out)}


def test_predict_writes_every_format_and_lists_the_broken_recording(
    tessera: Tessera, bundle: Path, recordings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "found"
    options = ("--formats", "csv,raven,audacity", "--smooth=3", "--min-duration", "1.2")
    assert tessera("predict", *options, bundle, recordings, "--out", out, "-q").code == 3
    rows = rows_of(out / "detections.csv")
    assert list(dict.fromkeys(row["case_id"] for row in rows)) == [
        "site1/0400.WAV",
        "site1/0500.WAV",
        "site2/0500.WAV",
        "site2/0600.flac",
    ]
    assert (rows[0]["status"], rows[0]["label"]) == ("failed", "")
    assert "0 bytes" in rows[0]["reason"]
    found = [row for row in rows if row["label"]]
    assert len(found) > 3
    assert all(float(row["end_s"]) - float(row["start_s"]) >= 1.2 for row in found)
    selections = read_table(out / "detections.selections.txt").selections
    assert len(selections) == len(found)
    for one, row in zip(selections, found, strict=True):
        assert one.path == str(recordings / row["case_id"])
        assert one.offset_s is not None
        assert samples_of(one.offset_s, int(row["sample_rate_hz"])) == int(row["start_sample"])
    assert sum(len(read_table(path).selections) for path in (out / "raven").iterdir()) == len(found)
    assert sum(len(read_track(path)) for path in (out / "audacity").iterdir()) == len(found)
    assert json.loads((out / "run.json").read_text())["output"]["min_duration_s"] == 1.2


def test_other_options_do_not_go_on_with_earlier_results(
    tessera: Tessera, bundle: Path, recordings: Path, tmp_path: Path
) -> None:
    command = ("predict", bundle, recordings, "--out", tmp_path, "-q", "--json")
    assert json.loads(tessera(*command, "--threshold", 0.4).out)["computed"] == 4
    again = json.loads(tessera(*command, "--set", "output.threshold=0.4").out)
    assert (again["computed"], again["kept"]) == (0, 4)
    before = tables(tmp_path)
    refused = tessera(*command, "--threshold", 0.41)
    assert refused.code == 2
    assert "made with another options" in refused.err
    assert tables(tmp_path) == before


def test_a_species_list_restricts_by_its_content_not_by_its_path(
    tessera: Tessera, bundle: Path, recordings: Path, tmp_path: Path
) -> None:
    (tmp_path / "species.txt").write_text("# of this wood\ntone\nchirp\n", encoding="utf-8")
    command = ("predict", bundle, recordings, "--out", tmp_path / "found", "-q", "--json", "--threshold", 0.0)
    tessera(*command, "--classes", tmp_path / "species.txt")
    found = {row["label"] for row in rows_of(tmp_path / "found/detections.csv")} - {""}
    assert found == {"tone", "chirp"}
    (tmp_path / "species.txt").rename(tmp_path / "moved.txt")
    assert json.loads(tessera(*command, "--classes", tmp_path / "moved.txt").out)["computed"] == 0
    (tmp_path / "moved.txt").write_text("tone\nchrip\n", encoding="utf-8")
    refused = tessera(*command, "--classes", tmp_path / "moved.txt")
    assert refused.code == 2
    assert "chrip (near: chirp)" in refused.err


def test_shards_merge_into_the_tables_of_a_single_run(
    tessera: Tessera, bundle: Path, recordings: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ("--formats", "csv,raven", "--max-gap-s", "1", "--smoothing", "max", "--smooth", "3", "-q")
    tessera("predict", bundle, recordings, "--out", whole, *options)
    for shard in ("1/2", "2/2"):
        tessera("predict", bundle, recordings, "--out", parts, "--shard", shard, *options)
    assert tessera("merge", parts, "-q").code == 3
    assert tables(parts) == tables(whole)
    assert any(row["label"] for row in rows_of(parts / "detections.csv"))


def test_a_precision_chooses_thresholds_from_the_curves_in_the_bundle(
    tessera: Tessera, bundle: Path, recordings: Path, tmp_path: Path
) -> None:
    command = ("predict", bundle, recordings, "--precision", 0.9, "-q", "--out")
    refused = tessera(*command, tmp_path / "none")
    assert refused.code == 2
    assert "which thresholds give which precision" in refused.err
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    update_calibration(Bundle.load(copy), Calibration(n=30, precision=0.5, curves={"tone": CURVE}))
    for precision, threshold in ((0.9, "0.9"), (0.5, "0.1")):
        out = tmp_path / str(precision)
        tessera("predict", copy, recordings, "--precision", precision, "--out", out, "-q")
        rows = {row["label"]: row for row in rows_of(out / "thresholds.csv")}
        assert rows["tone"]["threshold"] == threshold
        assert rows["call"]["remark"] == "the bundle has no threshold of this class"


def test_an_option_that_does_not_exist_is_told_with_those_near_it(
    tessera: Tessera, bundle: Path, recordings: Path, tmp_path: Path
) -> None:
    for option, near in (
        ("--format=csv", "--formats"),
        ("--worker=2", "--workers"),
        ("--smoth=3", "--smooth"),
    ):
        refused = tessera("predict", bundle, recordings, "--out", tmp_path, option)
        assert refused.code == 2
        assert f"did you mean {near}?" in refused.err, refused.err
    for cut in (("--formats",), ("--formats", "--smooth", "3"), ("--formats=",)):
        refused = tessera("predict", bundle, recordings, "--out", tmp_path, *cut)
        assert refused.code == 2
        assert "--formats needs a value" in refused.err


def test_the_python_door_and_the_tables_agree_on_tags(
    tessera: Tessera, bundle: Path, recordings: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    levels = {name: 0.3 + 0.1 * i for i, name in enumerate(CLASSES)}
    update_calibration(Bundle.load(copy), Calibration(temperature=0.05, n=30, thresholds=levels))
    tessera("predict", copy, recordings, "--out", tmp_path / "found", "-q")
    answers = {row["case_id"]: row["answer"] for row in rows_of(tmp_path / "found/predictions.csv")}
    model = load(copy, device="cpu")
    assert answers == {
        row["case"]: "|".join(row["tags"]) for row in model.predict(recordings) if "error" not in row
    }


def test_tables_of_selections_become_a_manifest_of_windows(
    tessera: Tessera, recordings: Path, tmp_path: Path
) -> None:
    folder, labels = tmp_path / "audio", tmp_path / "tables"
    shutil.copytree(recordings, folder)
    (folder / "site1/0400.WAV").unlink()
    labels.mkdir()
    first = [
        Selection(
            begin_s=begin, end_s=begin + 1, path=f"D:\\2024\\site2\\{name}", annotations={"Species": what}
        )  # type: ignore[arg-type]
        for begin, name, what in ((0, "0500.WAV", "owl"), (1, "0500.WAV", "frog"), (2, "0600.flac", "owl"))
    ]
    (labels / "site2.selections.txt").write_text("".join(table_lines(first, ("Species",))), encoding="utf-8")
    out = tmp_path / "data_manifests/mine"
    command = ("data", "make", "--audio", folder, "--labels", labels, "--out", out)
    made = tessera(*command, "--set", "window_s=1.0", "--set", "min_overlap_s=0.5")
    assert made.code == 0, made.err
    assert "1 files without a label, left out: site1/0500.WAV" in made.err
    found = {case.id: case.targets["label"] for case in Manifest.load(out).cases}
    assert found["site2/0500.WAV#00000-22050"] == ("owl",)
    assert found["site2/0500.WAV#22050-44100"] == ("frog",)
    assert found["site2/0600.flac#32000-48000"] == ("owl",)
    assert list(found.values()).count(()) == len(found) - 3
    assert tessera("data", "verify", out).code == 0
    unknown = tessera(*command, "--set", "windw_s=1.0")
    assert "did you mean window_s?" in unknown.err


def test_options_of_windows_need_tables_of_selections(
    tessera: Tessera, recordings: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_text("file,label\nx.wav,frog\n", encoding="utf-8")
    command = ("data", "make", "--audio", recordings, "--out", tmp_path / "mine", "--set", "window_s=1.0")
    assert "give --labels FOLDER" in tessera(*command).err
    assert "--set has no effect" in tessera(*command, "--labels", tmp_path / "labels.csv").err


@pytest.mark.slow
def test_what_was_labelled_in_raven_trains_a_bundle_with_thresholds(
    tessera: Tessera, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "cache"))
    scenes = simulate_sound_scenes(
        tmp_path / "scenes", n=80, seed=3, values={"duration_s": 2.0, "events_per_scene": [1, 2]}
    )
    events = rows_of(tmp_path / "scenes/events.csv")
    (tmp_path / "tables").mkdir()
    for case in scenes.cases:
        rows = [
            f"{row['onset_s']}\t{row['offset_s']}\t{row['label']}\n"
            for row in events
            if row["case"] == case.id
        ]
        text = "Begin Time (s)\tEnd Time (s)\tAnnotation\n" + "".join(rows)
        (tmp_path / f"tables/{case.id}.Table.1.selections.txt").write_text(text, encoding="utf-8")
    data = tmp_path / "data_manifests/mine"
    make = (
        "data",
        "make",
        "--audio",
        tmp_path / "scenes/audio",
        "--labels",
        tmp_path / "tables",
        "--out",
        data,
    )
    assert tessera(*make, "--set", "window_s=1.0", "--set", "min_overlap_s=0.1", "-q").code == 0
    train = ("train", "sound", "--preset", "smoke", "--data", data, "--fold", 1, "--out", tmp_path / "run")
    outcome = tessera(*train, "--set", "data.window_s=1.0", "--set", "trainer.max_epochs=2", "-q")
    assert outcome.code == 0, outcome.err
    calibration = Bundle.load(tmp_path / "run/bundle").calibration
    assert set(calibration.thresholds) == set(calibration.curves) == set(CLASSES)
    assert calibration.precision == 0.9
    predict = (
        "predict",
        tmp_path / "run/bundle",
        tmp_path / "scenes/audio",
        "--out",
        tmp_path / "found",
        "-q",
    )
    assert tessera(*predict, "--formats", "csv,raven").code == 0
    stored = {row["label"]: float(row["threshold"]) for row in rows_of(tmp_path / "found/thresholds.csv")}
    assert stored == pytest.approx(calibration.thresholds, rel=1e-8)
