"""Scenes on disk: 16-bit WAV files and a table of their events."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import soundfile
from numpy.typing import NDArray

from tessera.audio.simulate.scenes import Scene, SceneConfig, simulate_scene
from tessera.core.data.simulated import check_request

FOLDS = 5
EVENT_COLUMNS = ("case", "label", "onset_sample", "offset_sample", "onset_s", "offset_s", "snr_db")
FULL_SCALE_16_BIT = 32767


class SceneRecord(TypedDict):
    """One file: what a manifest's row needs to know about it."""

    id: str
    path: str
    label: str
    group: str
    split: str
    meta: dict[str, Any]


def scene_number(index: int, *, seed: int, config: SceneConfig) -> Scene:
    """Scene ``index`` (from 0) of a set, whatever the size of the set."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    return simulate_scene(rng, config=config, label=config.classes[index % len(config.classes)])


def write_scenes(
    out: Path,
    *,
    n: int,
    seed: int,
    config: SceneConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[SceneRecord]:
    """Write ``audio/scene-00001.wav`` ... and ``events.csv`` under ``out``, and return one record a scene.

    Classes take turns, and each class's scenes take turns in the folds "1" to "5", so both are balanced to
    within one scene. With several events a scene counts for the class of its first drawn event. Each file is
    written under a temporary name and renamed, the table last.

    Args:
        out: Folder, made if missing.
        n: Number of scenes.
        seed: Not negative; the same seed gives the same bytes.
        config: Ranges; None means the defaults.
        progress: Called with (done, n) after each scene.
    """
    check_request("scenes", n=n, seed=seed)
    config = config or SceneConfig()
    (out / "audio").mkdir(parents=True, exist_ok=True)
    records, rows = [], []
    for index in range(n):
        scene = scene_number(index, seed=seed, config=config)
        name = f"scene-{index + 1:05d}"
        path = Path("audio", f"{name}.wav")
        replace_file(out / path, wav_bytes(scene.waveform, scene.sample_rate_hz))
        rows += _event_rows(name, scene)
        fold = index // len(config.classes) % FOLDS + 1
        records.append(
            SceneRecord(
                id=name,
                path=path.as_posix(),
                label=scene.label,
                group=name,
                split=str(fold),
                meta=_meta(scene),
            )
        )
        if progress is not None:
            progress(index + 1, n)
    replace_file(out / "events.csv", _csv_bytes(rows))
    return records


def _meta(scene: Scene) -> dict[str, Any]:
    """Facts of a scene for its manifest row, plain values only."""
    facts: dict[str, Any] = {
        "sample_rate_hz": scene.sample_rate_hz,
        "duration_s": scene.waveform.size / scene.sample_rate_hz,
        "events": len(scene.events),
        "background": scene.colour or "silence",
        "t60_s": round(scene.t60_s, 4),
        "direct_to_reverberant_db": round(scene.direct_to_reverberant_db, 3),
        "level_dbfs": round(scene.level_dbfs, 3),
    }
    if scene.colour is not None:
        facts["lowest_snr_db"] = round(min(event.snr_db for event in scene.events), 3)
    return facts


def _event_rows(case: str, scene: Scene) -> list[dict[str, object]]:
    """Rows of the event table for one scene; seconds to 1 µs beside exact samples."""
    return [
        {
            "case": case,
            "label": event.label,
            "onset_sample": event.onset_sample,
            "offset_sample": event.offset_sample,
            "onset_s": f"{event.onset_sample / scene.sample_rate_hz:.6f}",
            "offset_s": f"{event.offset_sample / scene.sample_rate_hz:.6f}",
            "snr_db": f"{event.snr_db:.3f}",
        }
        for event in scene.events
    ]


def _csv_bytes(rows: list[dict[str, object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, EVENT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def wav_bytes(waveform: NDArray[np.float32], sample_rate_hz: int) -> bytes:
    """16-bit PCM WAV of (T,) in [-1, 1]; rounded here, so that no library's dither or scaling enters."""
    pcm = np.round(waveform.astype(np.float64) * FULL_SCALE_16_BIT).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, sample_rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def replace_file(path: Path, content: bytes) -> None:
    """Write bytes under a temporary name in the same folder, then rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
