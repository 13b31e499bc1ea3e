"""A day of sound: peak memory and time of a fresh ``tessera predict`` on one long WAV file.

The file is a minute of noise and tones over and over, so the answers must repeat too; they are compared.
Run: python benchmarks/long_recording.py [--hours 24] [--preset crnn --preset m5] [--json]
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from bundles import untrained_bundle
from fresh_process import TESSERA, run_fresh
from machine import Record, show

from tessera.core.bundle.bundle import Bundle

MOST_MIB = 1e9 / 2**20  # the requirement: 1 GB
SAMPLE_RATE_HZ, TILE_S = 16_000, 60  # 60 s are whole windows of both presets
LARGEST_DIFFERENCE = 1e-4  # between equal minutes; a row's last bits depend on its place in the batch


def write_long_recording(path: Path, hours: float) -> None:
    """A WAV file of 16-bit samples, written minute by minute."""
    rng = np.random.default_rng(0)
    time_s = np.arange(TILE_S * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tile = 0.1 * rng.normal(size=time_s.size) + 0.2 * np.sin(2 * np.pi * (200 + 20 * time_s) * time_s)
    samples = (tile.clip(-1, 1) * 32767).astype(np.int16)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, channels=1, subtype="PCM_16") as file:
        for _ in range(round(hours * 3600 / TILE_S)):
            file.write(samples)


def measure(preset: str, *, hours: float, folder: Path) -> Record:
    """Predict ``hours`` of sound in a fresh process, with one thread for the network."""
    recording = folder / "long.wav"
    if not recording.exists():
        write_long_recording(recording, hours)
    bundle = untrained_bundle(folder / f"bundle-{preset}", preset)
    out = folder / f"detections-{preset}"
    command = [TESSERA, "predict", str(bundle.path), str(recording), "--out", str(out), "--no-isolation"]
    done = run_fresh([*command, "--threads", "1", "--timeout", "1d", "--json"])
    said = json.loads(done.text)
    stages = {stage["name"]: stage["seconds"] for stage in said["stages"]}
    peak_mib = done.peak_mib or said["peak_bytes"] / 2**20
    return {
        "preset": preset,
        "hours": hours,
        "file_mib": recording.stat().st_size / 2**20,
        "windows": check_windows(out / "windows.csv", hours, window_s(bundle)),
        "threads": 1,
        "peak_mib": peak_mib,
        "most_mib_allowed": MOST_MIB,
        "fulfilled": str(peak_mib <= MOST_MIB),
        "seconds": done.seconds,
        "times_real_time": 3600 * hours / done.seconds,
        "reading_s": stages["reading (in the background)"],
        "network_s": stages["features and network"],
    }


def window_s(bundle: Bundle) -> float:
    """Seconds of a window at the network's rate."""
    data: Any = bundle.config.data
    return float(data.window_s)


def check_windows(table: Path, hours: float, length_s: float) -> int:
    """The number of windows, after a check that none is missing and that equal minutes have equal answers."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected, per_tile = round(3600 * hours / length_s), round(TILE_S / length_s)
    if len(rows) != expected:
        sys.exit(f"{len(rows)} windows, not {expected}")
    names = [name for name in rows[0] if name.startswith("p_")]
    scores = np.array([[float(row[name]) for name in names] for row in rows])
    if len(rows) < 3 * per_tile:
        return len(rows)
    inner = scores[per_tile:-per_tile]  # the first and last minute have other neighbours
    difference = np.abs(inner - np.tile(inner[:per_tile], (len(inner) // per_tile, 1))).max()
    if difference > LARGEST_DIFFERENCE:
        sys.exit(f"equal minutes differ by {difference:.2g} in their probabilities")
    return len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0, help="whole minutes; 110 MiB of disk an hour")
    parser.add_argument("--preset", action="append", help="default: crnn and m5")
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tessera-benchmark-") as scratch:
        presets = options.preset or ["crnn", "m5"]
        show([measure(p, hours=options.hours, folder=Path(scratch)) for p in presets], as_json=options.json)


if __name__ == "__main__":
    main()
