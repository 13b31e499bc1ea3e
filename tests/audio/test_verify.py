"""Embeddings of a bundle and the command that verifies speakers with them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from tessera.audio.embedding import Embedder
from tessera.audio.simulate import simulate_voices
from tessera.audio.verification import all_pairs, equal_error_rate, error_rates
from tessera.audio.verify import app
from tessera.core.bundle.bundle import Bundle, Member, write_bundle
from tessera.core.bundle.card import Card
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError
from tessera.core.pipeline import get
from tessera.core.testing.contract import load_preset

PARTS = ("part-0", "part-1", "part-2")


def untrained(folder: Path, name: str = "speaker.smoke", classes: tuple[str, ...] = ("x", "y")) -> Bundle:
    owner, preset = name.split(".")
    pipeline = get(owner)
    config = load_preset(pipeline, preset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = pipeline.resolve("network")(config, n_outputs=len(classes))
    card = Card(
        pipeline=pipeline.name,
        preset=preset,
        task="classification",
        target_name="speaker",
        target=TargetSpec(kind="class", classes=classes),
        inputs="sound",
        input_shape=pipeline.resolve("windows")(config).input_shape,
        members=1,
        parameters=1,
        training=(),
        licence="none",
        citation="none",
        intended_use="tests",
        limits="random weights",
        versions={},
    )
    return write_bundle(folder, pipeline=pipeline, card=card, members=[Member(config, network.state_dict())])


@pytest.fixture
def voices(tmp_path: Path) -> Manifest:
    values = {"speakers": 4, "sample_rate_hz": 8000, "vowels": 2}
    return simulate_voices(tmp_path / "voices", n=12, seed=0, values=values)


@pytest.fixture
def by_speaker(voices: Manifest, tmp_path: Path) -> Path:
    """A manifest of the same recordings whose groups are the speakers."""
    cases = [
        {"id": case.id, "path": case.all_files()[0].path, "speaker": case.targets["speaker"]}
        for case in voices.cases
    ]
    folder = tmp_path / "by-speaker"
    folder.mkdir()
    (folder / "dataset.yaml").write_text(
        f"id: by-speaker\nroot: {voices.folder}\nrole: audio\ntargets: "
        "{speaker: {kind: class, classes: [voice-001, voice-002, voice-003, voice-004]}}\n",
        encoding="utf-8",
    )
    lines = ["id,role,path,sha256,bytes,group,target.speaker"]
    for case, old in zip(cases, voices.cases, strict=True):
        (file,) = old.all_files()
        place = f"audio/{file.path.name}" if file.path else ""
        lines.append(
            f"{case['id']},audio,{place},{file.sha256},{file.bytes},{case['speaker']},{case['speaker']}"
        )
    (folder / "samples.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_embeddings_have_length_one_and_do_not_depend_on_their_company(
    voices: Manifest, tmp_path: Path
) -> None:
    embedder = Embedder(untrained(tmp_path / "bundle"), device="cpu")
    rows = embedder.embed(voices.cases)
    assert rows.shape == (12, 16)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-5)
    few = embedder.embed(voices.cases[5:7])
    np.testing.assert_allclose(few, rows[5:7], atol=1e-5)
    assert np.abs(rows[0] - rows[1]).max() > 1e-4


def test_an_embedding_is_the_networks_own(voices: Manifest, tmp_path: Path) -> None:
    bundle = untrained(tmp_path / "bundle")
    network: Any = bundle.networks("cpu")[0]
    embedder = Embedder(bundle, device="cpu")
    case = voices.cases[0]
    source = embedder.reader.open(case)
    (region,) = embedder.windows.plan(source.grid)
    input = embedder.windows.read(source, region)["input"][None]
    source.close()
    with torch.no_grad():
        body = network.eval().body
        vector = body.embed(network.front_end(input))[0]
        logits = network(input)[0]
    expected = vector / vector.norm()
    np.testing.assert_allclose(embedder.embed([case])[0], expected, atol=1e-5)
    weights = body.classifier.weight / body.classifier.weight.norm(dim=1, keepdim=True)
    torch.testing.assert_close(15.0 * weights.detach() @ expected, logits, atol=1e-4, rtol=1e-4)


def test_each_window_of_a_long_recording_counts_the_same(voices: Manifest, tmp_path: Path) -> None:
    embedder = Embedder(untrained(tmp_path / "bundle"), device="cpu")
    sound = np.concatenate(
        [np.resize(soundfile.read(case.path("audio"))[0], 8000) for case in voices.cases[:3]]
    )
    soundfile.write(tmp_path / "long.wav", sound, 8000, subtype="FLOAT")
    for number in range(3):
        part = sound[8000 * number : 8000 * (number + 1)]
        soundfile.write(tmp_path / f"part-{number}.wav", part, 8000, subtype="FLOAT")
    long, *parts = [embedder.reader.find(tmp_path / f"{name}.wav")[0] for name in ("long", *PARTS)]
    mean = embedder.embed(parts).mean(axis=0)
    np.testing.assert_allclose(embedder.embed([long])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_a_network_without_an_embedding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no embedding"):
        Embedder(untrained(tmp_path / "bundle", "sound.m3"), device="cpu")


def test_every_two_recordings_of_unseen_speakers_are_a_trial(by_speaker: Path, tmp_path: Path) -> None:
    bundle = untrained(tmp_path / "bundle", classes=("voice-001", "x"))
    out = tmp_path / "out"
    done = CliRunner().invoke(app, [str(bundle.path), "--data", str(by_speaker), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "9 recordings of voice-002, voice-003, voice-004" in done.output
    found = json.loads((out / "verification.json").read_text(encoding="utf-8"))
    assert (found["trials"], found["speakers"]) == (36, 3)
    with (out / "embeddings-1.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    values = np.array([[float(row[f"e{i}"]) for i in range(16)] for row in rows])
    trials = all_pairs(values, [row["group"] for row in rows])
    expected = equal_error_rate(error_rates(trials.scores, trials.same))
    assert found["EER"]["value"] == pytest.approx(expected, abs=1e-6)
    assert found["EER"]["low"] <= found["EER"]["value"] <= found["EER"]["high"]


def test_several_bundles_are_pooled(by_speaker: Path, tmp_path: Path) -> None:
    bundles = [
        str(untrained(tmp_path / name, classes=("x", *seen)).path)
        for name, seen in (("a", ("voice-001", "voice-002")), ("b", ("voice-003", "voice-004")))
    ]
    done = CliRunner().invoke(app, [*bundles, "--data", str(by_speaker)])
    assert done.exit_code == 0, done.output
    assert "n = 30 trials, 4 speakers" in done.output


def test_a_list_of_trials_is_scored(voices: Manifest, tmp_path: Path) -> None:
    bundle, trials = untrained(tmp_path / "bundle"), tmp_path / "trials.csv"
    lines = ["enrol,test,same", "recording-00001.wav,recording-00005.wav,1"]
    lines += ["recording-00001.wav,recording-00002.wav,0"]
    trials.write_text("\n".join(lines) + "\n", encoding="utf-8")
    audio, out = voices.folder / "audio", tmp_path / "out"
    options = ["--trials", str(trials), "--audio", str(audio), "--out", str(out)]
    done = CliRunner().invoke(app, [str(bundle.path), *options])
    assert done.exit_code == 0, done.output
    assert "n = 2 trials" in done.output
    rows = Embedder(bundle, device="cpu").embed([voices.cases[i] for i in (0, 1, 4)])
    with (out / "scores.csv").open(encoding="utf-8", newline="") as file:
        scores = [float(row["score"]) for row in csv.DictReader(file)]
    assert scores == pytest.approx([float(rows[0] @ rows[2]), float(rows[0] @ rows[1])], abs=1e-4)
    trials.write_text("enrol,test\nrecording-00001.wav,recording-00002.wav\n", encoding="utf-8")
    done = CliRunner().invoke(app, [str(bundle.path), *options])
    assert "1 trials scored" in done.output


def test_the_embeddings_of_a_folder_are_written(voices: Manifest, tmp_path: Path) -> None:
    bundle, audio, out = untrained(tmp_path / "bundle"), voices.folder / "audio", tmp_path / "out"
    (audio / "broken.wav").write_bytes(b"RIFF")
    done = CliRunner().invoke(app, [str(bundle.path), "--audio", str(audio), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "broken.wav" in done.output
    with (out / "embeddings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case_id"] for row in rows] == [f"recording-{i:05d}.wav" for i in range(1, 13)]
    expected = Embedder(bundle, device="cpu").embed(voices.cases)
    found = [[float(row[f"e{i}"]) for i in range(16)] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_cannot_be_verified_is_said(voices: Manifest, by_speaker: Path, tmp_path: Path) -> None:
    seen = untrained(tmp_path / "bundle", classes=("voice-001", "voice-002", "voice-003"))
    trials = tmp_path / "trials.csv"
    trials.write_text("enrol,test\nabsent.wav,recording-00001.wav\n", encoding="utf-8")
    pairs = ["--trials", str(trials), "--audio", str(voices.folder / "audio")]
    for options, message in (
        (["--data", str(by_speaker)], "two speakers or more"),
        (pairs, "absent.wav"),
        (["--trials", str(trials)], "not both"),
        ([], "not both"),
    ):
        done = CliRunner().invoke(app, [str(seen.path), *options])
        assert done.exit_code == 2
        assert message in done.output
