"""Makes small run and prediction folders with the layout of the real ones and known numbers."""

from __future__ import annotations

import csv
import io
import json
import struct
import wave
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tessera.core.config import dump_yaml
from tessera.core.data.case import Case, FileRef
from tessera.core.errors import DataError
from tessera.core.evaluation.predictions import ClassPredictions, ManyValuePredictions, ValuePredictions
from tessera.core.evaluation.predictions_csv import write_predictions
from tessera.core.evaluation.table import evaluate
from tessera.core.inference.ledger import Identity, Ledger, Row
from tessera.core.report.media import CaseMedia, ImageStack
from tessera.core.report.report import Report

from .browsers import browser, show  # noqa: F401
from .tiles import TileFigures, label_cases

CLASSES = ("chirp", "<script>alert('x')</script>", "no", "a & b $x_1$")
RATE_HZ = 8000


def wav_bytes(seconds: float = 1.0, hertz: float = 440.0) -> bytes:
    """A quiet tone."""
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    stream = io.BytesIO()
    with wave.open(stream, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes((3000 * np.sin(2 * np.pi * hertz * t)).astype("<i2").tobytes())
    return stream.getvalue()


def png_bytes(width: int = 320, height: int = 120) -> bytes:
    """A grey ramp, written by hand from the PNG specification."""
    line = b"\0" + bytes(x * 255 // width for x in range(width))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(line * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


class ToneFigures:
    """Shows the same ramp and tone for every case; one case is broken."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.drawn: list[str] = []

    def draw(self, case: Case) -> CaseMedia:
        self.drawn.append(case.id)
        if case.id == self.broken:
            raise DataError(f"cannot read {case.id}", found="0 bytes")
        return CaseMedia(images=(("Spectrogram", png_bytes()),), audio=wav_bytes())


class SliceFigures:
    """Ten slices of 32 x 16 dots in rows of four; remembers which masks it was asked for."""

    def __init__(self) -> None:
        self.asked: dict[str, tuple[tuple[str, ...], tuple[Path, ...]]] = {}

    def draw(self, case: Case) -> CaseMedia:
        return self.draw_mask(case, classes=())

    def draw_mask(self, case: Case, *, classes: tuple[str, ...], files: tuple[Path, ...] = ()) -> CaseMedia:
        self.asked[case.id] = (classes, files)
        stack = ImageStack(
            title="Ten <slices>",
            image=png_bytes(4 * 32, 3 * 16),
            mask=png_bytes(4 * 32, 3 * 16),
            columns=4,
            labels=tuple(f"slice {i + 1} of 10" for i in range(10)),
            aspect=2.0,
            first=5,
            borders=("R", "A", "L", "P"),
            legend=(("<b>lung</b>", "#e69f00"),),
        )
        return CaseMedia(stacks=(stack,))


def cases_for(ids: Sequence[str], labels: Sequence[str] = ()) -> dict[str, Case]:
    """One case an id, its label among ``labels`` in turn."""
    return {
        name: Case(
            id=name,
            files={"audio": FileRef(Path(f"{name}.wav"))},
            group=name,
            targets={"label": labels[i % len(labels)]} if labels else {},
        )
        for i, name in enumerate(ids)
    }


def class_predictions(n: int, classes: Sequence[str]) -> ClassPredictions:
    """Predictions that are right three times in four."""
    rng = np.random.default_rng(7)
    k = len(classes)
    target = np.arange(n) % k
    meant = np.where(rng.random(n) < 0.75, target, rng.integers(0, k, n))
    logits = rng.normal(size=(n, k)) + 2.5 * np.eye(k)[meant]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids = [f"case_{i:03d}" for i in range(n)]
    return ClassPredictions(ids, [f"site_{i % 8}" for i in range(n)], target, p, classes)


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)


def _card(classes: Sequence[str], *, simulated: bool, kind: str) -> dict[str, object]:
    return {
        "format": 1,
        "pipeline": "sound",
        "preset": "m5",
        "task": "regression" if "number" in kind else "classification",
        "target_name": "label",
        "target": {"kind": kind, "classes": list(classes), "unit": "mm" if "number" in kind else None},
        "inputs": "Recordings, full scale = 1.",
        "input_shape": [1, 16000],
        "members": 1,
        "parameters": 558154,
        "training": [
            {
                "dataset": "toy-<b>scenes</b>",
                "digest": "ab" * 32,
                "simulated": simulated,
                "licence": "CC0",
                "fold": "1",
                "seed": 3,
                "n_train": 120,
                "n_val": 24,
                "steps": 600,
                "code_version": "0.1.0",
            }
        ],
        "metrics": [],
        "licence": "Apache-2.0",
        "citation": "A. Person 2020",
        "intended_use": "Tests of the report.",
        "limits": "Everything else.",
        "versions": {"torch": "2.14.1"},
    }


def make_run(
    folder: Path,
    *,
    n: int = 60,
    classes: Sequence[str] = CLASSES,
    simulated: bool = True,
    kind: str = "class",
) -> Path:
    """A finished run folder; ``kind`` as in a target's spec."""
    (folder / "bundle").mkdir(parents=True)
    config = {"pipeline": "sound", "preset": "m5", "seed": 3, "trainer": {"max_epochs": 30, "batch_size": 32}}
    (folder / "config.yaml").write_text(dump_yaml(config), encoding="utf-8")
    (folder / "environment.json").write_text(json.dumps({"python": "3.11", "packages": {"torch": "2.14.1"}}))
    (folder / "bundle" / "card.json").write_text(json.dumps(_card(classes, simulated=simulated, kind=kind)))
    calibration = {"temperature": 1.4, "n": 24, "ece_before": 0.121, "ece_after": 0.043, "thresholds": {}}
    (folder / "bundle" / "calibration.json").write_text(json.dumps(calibration))
    predictions = class_predictions(n, classes)
    if kind == "number":
        rng = np.random.default_rng(1)
        truth = rng.uniform(0, 50, n)
        predictions = ValuePredictions(  # type: ignore[assignment]
            predictions.case_id, predictions.group, truth, truth + rng.normal(0, 3, n), np.full(n, 3.0)
        )
    if kind == "numbers":
        rng = np.random.default_rng(1)
        many = rng.uniform(0, 50, (n, len(classes)))
        predictions = ManyValuePredictions(  # type: ignore[assignment]
            predictions.case_id,
            predictions.group,
            many,
            many + rng.normal(0, 3, many.shape),
            classes,
            many * 0 + 3,
        )
    write_predictions(predictions, folder / "predictions.csv")
    evaluation = evaluate(predictions, n_resamples=50, seed=0)
    (folder / "evaluation.json").write_text(evaluation.to_json())
    dataset = {"id": "toy-<b>scenes</b>", "title": "Toy", "licence": "CC0", "simulated": simulated}
    (folder / "run.json").write_text(json.dumps({"data": "nowhere", "fold": "1", "dataset": dataset}))
    (folder / "summary.json").write_text(json.dumps({"seconds": 181.5, "steps": 600, "epochs": 30}))
    roles = ["test"] * n + ["train"] * 120 + ["val"] * 24
    ids = [*predictions.case_id, *(f"other_{i:03d}" for i in range(144))]
    rows = [(name, f"g_{i // 4}", role, "1") for i, (name, role) in enumerate(zip(ids, roles, strict=True))]
    write_rows(folder / "splits.csv", ("case", "group", "role", "fold"), rows)
    write_rows(folder / "metrics.csv", HISTORY_HEADER, history_rows())
    return folder


HISTORY_HEADER = ("step", "epoch", "seconds", "lr", "train_loss", "val_loss", "val_accuracy", "val_macro_f1")


def history_rows() -> list[tuple[object, ...]]:
    """Training rows every 10 steps, a validation row every 20."""
    rows: list[tuple[object, ...]] = []
    for step in range(10, 610, 10):
        loss = 1.6 * np.exp(-step / 180) + 0.08 * np.sin(step)
        lr = 0.5e-3 * (1 + np.cos(np.pi * step / 600))
        rows.append((step, step // 20, step * 0.3, lr, loss, "", "", ""))
        if step % 20 == 0:
            val = 1.5 * np.exp(-step / 200) + 0.35 + 0.0004 * max(0, step - 380)
            rows.append((step, step // 20, step * 0.3, "", "", val, 1 - val / 2.2, 0.95 - val / 2.2))
    return rows


def make_predictions(
    folder: Path, *, n: int = 30, windows: int = 40, classes: Sequence[str] = CLASSES
) -> Path:
    """A folder of predictions: two cases failed, one is suspicious, one is long."""
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "card.json").write_text(json.dumps(_card(classes, simulated=False, kind="class")))
    predictions = class_predictions(n, classes)
    p = np.asarray(predictions.probabilities)
    columns = [f"p_{name}" for name in classes]
    header = ("case_id", "group", "target", "answer", "score", *columns, "duration_s", "windows", "flags")
    rows = [
        (name, "g", "", classes[int(row.argmax())], row.max(), *row, 5.0, 1, "silent" if i == 4 else "")
        for i, (name, row) in enumerate(zip(predictions.case_id, p, strict=True))
    ]
    write_rows(folder / "predictions.csv", header, rows)
    long = [
        ("case_000", 8000 * i, 8000 * (i + 1), 8000, float(i), float(i + 1), *p[(i // 5) % n])
        for i in range(windows)
    ]
    times = ("start_sample", "end_sample", "sample_rate_hz", "start_s", "end_s")
    write_rows(folder / "windows.csv", ("case_id", *times, *columns), long)
    failed = [("<i>x</i>", "NaN"), ("empty", "cannot read empty.wav; found: 0 bytes")]
    lines = [(name, f"{name}.wav", "failed", error, 1) for name, error in failed]
    write_rows(folder / "failures.csv", ("case", "path", "status", "error", "attempts"), lines)
    write_rows(folder / "remarks.csv", ("case", "path", "remark"), [("case_004", "case_004.wav", "silent")])
    _write_ledger(folder, predictions.case_id, failed)
    stages = [
        {"name": "network", "seconds": 7.25, "share": 0.5},
        {"name": "<u>tables</u>", "seconds": 3.0, "share": None},
    ]
    facts = {
        "bundle": str(folder / "bundle"),
        "inputs": "recordings",
        "stages": stages,
        "peak_bytes": 300 * 2**20,
    }
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def make_mask_predictions(folder: Path, *, n: int = 6, summary: bool = True) -> Path:
    """A folder of predicted masks: case_002 is suspicious, the last one failed."""
    (folder / "bundle").mkdir(parents=True)
    card = _card(("background", "lung"), simulated=False, kind="mask")
    (folder / "bundle" / "card.json").write_text(json.dumps(card))
    (folder / "run.json").write_text(json.dumps({"bundle": str(folder / "bundle")}))
    ids = [f"case_{i:03d}" for i in range(n)]
    cases = cases_for(ids)
    flags = {"case_002": ("nothing found",)}
    rows = [
        Row(
            case=cases[name],
            status="suspicious" if name in flags else "ok",
            flags=flags.get(name, ()),
            outputs={f"masks/{name}.nii.gz": "0" * 64, f"thumbnails/{name}.png": "1" * 64},
        )
        for name in ids
    ]
    rows[-1] = Row(case=cases[ids[-1]], status="failed", error="cannot read it")
    with Ledger.open(folder, Identity("b" * 64, "c" * 64, "0.1.0")) as ledger:
        ledger.plan(list(cases.values()))
        ledger.record(rows)
    if summary:
        lines = [
            (row.case.id, row.status, ", ".join(row.flags) or row.error, "8x8x8", 7, "0.500") for row in rows
        ]
        header = ("case_id", "status", "flags", "shape", "voxels_lung", "ml_lung")
        write_rows(folder / "summary.csv", header, lines)
    return folder


def _write_ledger(folder: Path, ids: Sequence[str], failed: Sequence[tuple[str, str]]) -> None:
    cases = cases_for([*ids, *(name for name, _ in failed)])
    identity = Identity("b" * 64, "c" * 64, "0.1.0", bundle_path=str(folder / "bundle"))
    with Ledger.open(folder, identity) as ledger:
        ledger.plan(list(cases.values()))
        seconds = {"network": 0.25, "writing": 0.5}
        rows = [Row(case=cases[name], status="ok", seconds=seconds) for name in ids]
        rows[4] = replace(rows[4], status="suspicious", flags=("silent",))
        ledger.record(
            [*rows, *(Row(case=cases[name], status="failed", error=error) for name, error in failed)]
        )


@pytest.fixture(scope="session")
def shown_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its report, media and all; tests only look at it."""
    folder = make_run(tmp_path_factory.mktemp("shown") / "run")
    Report(folder, cases=cases_for([f"case_{i:03d}" for i in range(60)]), figures=ToneFigures()).write()
    return folder


@pytest.fixture(scope="session")
def shown_predictions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions with their report; tests only look at it."""
    folder = make_predictions(tmp_path_factory.mktemp("shown") / "detections")
    Report(folder, figures=ToneFigures()).write()
    return folder


@pytest.fixture(scope="session")
def shown_slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predicted masks with their report; tests only look at it."""
    folder = make_mask_predictions(tmp_path_factory.mktemp("shown") / "masks")
    Report(folder, figures=SliceFigures()).write()
    return folder


@pytest.fixture(scope="session")
def shown_gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of a field that offers a gallery, with their report; tests only look at it."""
    folder = make_predictions(tmp_path_factory.mktemp("shown") / "galaxies")
    label_cases(folder, CLASSES)
    Report(folder, figures=TileFigures(png_bytes(64, 64))).write()
    return folder


@pytest.fixture
def tile_figures() -> TileFigures:
    return TileFigures(png_bytes(64, 64))


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture
def predictions_folder(tmp_path: Path) -> Path:
    return make_predictions(tmp_path / "detections")


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Path]:
    return lambda **options: make_run(tmp_path / "run", **options)


@pytest.fixture
def new_predictions(tmp_path: Path) -> Callable[..., Path]:
    return lambda **options: make_predictions(tmp_path / "detections", **options)


@pytest.fixture
def tone_figures() -> type[ToneFigures]:
    return ToneFigures


@pytest.fixture
def make_cases() -> Callable[..., dict[str, Case]]:
    return cases_for


@pytest.fixture
def new_masks(tmp_path: Path) -> Callable[..., Path]:
    return lambda **options: make_mask_predictions(tmp_path / "masks", **options)


@pytest.fixture
def slice_figures() -> SliceFigures:
    return SliceFigures()
