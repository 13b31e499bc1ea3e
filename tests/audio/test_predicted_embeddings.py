"""Embeddings from a prediction: the same as from the network, and the same bytes after a stop."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from tessera.audio.embedding import Embedder
from tessera.audio.output_config import SoundOutput
from tessera.audio.simulate import simulate_voices
from tessera.core.bundle.bundle import Bundle
from tessera.core.cli.app import app
from tessera.core.data.case import Case
from tessera.core.errors import ConfigError
from tessera.core.inference.runner import run
from tessera.core.inference.steps import Steps

from .test_verify import untrained


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Six voices, one of them long enough for several windows, and a file that cannot be read."""
    values = {"speakers": 3, "sample_rate_hz": 8000, "vowels": 2}
    folder = simulate_voices(tmp_path / "voices", n=6, seed=0, values=values).folder / "audio"
    soundfile.write(folder / "long.wav", np.random.default_rng(0).standard_normal(28_000) * 0.1, 8000)
    (folder / "broken.wav").write_bytes(b"RIFF")
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return untrained(tmp_path / "bundle")


def predict(bundle: Bundle, audio: Path, out: Path, **options: object) -> list[Case]:
    steps = Steps.from_bundle(bundle, device="cpu", output=SoundOutput(embeddings=True))
    cases = list(steps.reader.find(audio))
    run(steps, cases, out, **options)  # type: ignore[arg-type]
    return cases


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def vectors(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([[float(row[f"e{i}"]) for i in range(16)] for row in rows])


def contents(out: Path) -> dict[str, bytes]:
    files = [out / "embeddings.csv", out / "predictions.csv", *(out / "embeddings").iterdir()]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def test_embeddings_are_the_networks_one_row_a_recording_and_one_a_window(
    bundle: Bundle, audio: Path, tmp_path: Path
) -> None:
    cases = predict(bundle, audio, tmp_path / "out")
    rows = table(tmp_path / "out" / "embeddings.csv")
    good = [case for case in cases if case.id != "broken.wav"]
    assert [row["case_id"] for row in rows] == [case.id for case in good]
    np.testing.assert_allclose(vectors(rows), Embedder(bundle, device="cpu").embed(good), atol=1e-6)
    (file,) = (tmp_path / "out" / "embeddings").glob("long*.csv")
    windows = table(file)
    assert [row["start_s"] for row in windows] == ["0.000000", "1.000000", "2.000000", "2.500000"]
    each = vectors(windows)
    np.testing.assert_allclose(np.linalg.norm(each, axis=1), 1.0, rtol=1e-6)
    mean = each.mean(axis=0)
    long = vectors([row for row in rows if row["case_id"] == "long.wav"])[0]
    np.testing.assert_allclose(long, mean / np.linalg.norm(mean), atol=1e-6)


def test_bytes_are_the_same_after_a_stop_and_after_a_loss(
    bundle: Bundle, audio: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    predict(bundle, audio, whole)
    predict(bundle, audio, parts, only=["long.wav", "recording-00003.wav"])
    predict(bundle, audio, parts, workers=1)
    assert contents(parts) == contents(whole)
    next((parts / "embeddings").glob("recording-00003*")).unlink()
    predict(bundle, audio, parts)
    assert contents(parts) == contents(whole)


def test_embeddings_are_asked_for_on_the_command_line(bundle: Bundle, audio: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wanted = ["predict", str(bundle.path), str(audio / "long.wav"), "--out", str(out), "--device", "cpu"]
    done = CliRunner().invoke(app, [*wanted, "--embeddings", "true"])
    assert done.exit_code == 0, done.output
    assert len(table(out / "embeddings.csv")) == 1
    plain = CliRunner().invoke(app, [*wanted[:4], str(tmp_path / "plain"), "--device", "cpu"])
    assert plain.exit_code == 0, plain.output
    assert not (tmp_path / "plain" / "embeddings.csv").exists()
    columns = [sorted(row) for row in table(out / "predictions.csv")]
    assert columns == [sorted(row) for row in table(tmp_path / "plain" / "predictions.csv")]


def test_a_network_without_embeddings_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    without = untrained(tmp_path / "m3", "sound.m3")
    with pytest.raises(ConfigError, match="no embedding"):
        Steps.from_bundle(without, device="cpu", output=SoundOutput(embeddings=True))
