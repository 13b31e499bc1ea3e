"""Many short files: where the time of ``tessera predict`` goes once the model is loaded.

One clip's answers are compared with those of the Python door before anything is reported.
Run: python benchmarks/short_files.py [--files 200] [--preset crnn --preset m5] [--profile] [--json]
"""

from __future__ import annotations

import argparse
import cProfile
import csv
import json
import pstats
import sys
import tempfile
from pathlib import Path

import torch
from bundles import untrained_bundle
from fresh_process import TESSERA, run_fresh
from machine import Record, show

from tessera.core.bundle.bundle import Bundle
from tessera.core.inference.api import Predictor
from tessera.core.inference.runner import run
from tessera.core.inference.steps import Steps
from tessera.core.pipeline import get, resolve

LEAST_SHARE = 0.8  # the requirement
LARGEST_DIFFERENCE = 1e-6  # the table has six digits
USEFUL = ("waiting for reading", "features and network")


def simulate_clips(folder: Path, files: int) -> Path:
    """Five-second scenes as WAV files; gives their folder."""
    simulate = resolve(get("sound").simulators["sound-scenes"])
    simulate(folder, n=files, seed=0, values={"duration_s": 5.0})
    return folder / "audio"


def measure(preset: str, *, files: int, folder: Path) -> Record:
    """Predict the clips in a fresh process; seconds a stage and the share of reading and network."""
    clips = folder / "clips" / "audio"
    if not clips.exists():
        simulate_clips(clips.parent, files)
    bundle = untrained_bundle(folder / f"bundle-{preset}", preset)
    out = folder / f"detections-{preset}"
    command = [TESSERA, "predict", str(bundle.path), str(clips), "--out", str(out), "--no-isolation"]
    done = run_fresh([*command, "--threads", "1", "--json"])
    said = json.loads(done.text)
    if said["ok"] + said["suspicious"] != files:
        sys.exit(f"{said['ok']} ok and {said['suspicious']} suspicious of {files} files")
    check_answers(bundle, clips, out / "predictions.csv")
    stages = {stage["name"]: stage["seconds"] for stage in said["stages"] if stage["share"] is not None}
    total = sum(stages.values())
    load = next(stage["seconds"] for stage in said["stages"] if stage["name"] == "start-up: model load")
    useful = sum(stages[name] for name in USEFUL)
    return {
        "preset": preset,
        "files": files,
        "threads": 1,
        "start-up: Python, imports, exit, s": done.seconds - total - load,
        "start-up: model load, s": load,
        **{f"{name}, s": seconds for name, seconds in stages.items()},
        "after the model is loaded, s": total,
        "share of reading and network": useful / total,
        "least share": LEAST_SHARE,
        "fulfilled": str(useful / total >= LEAST_SHARE),
        "ms a file beside them": 1e3 * (total - useful) / files,
        "peak_mib": done.peak_mib,
    }


def check_answers(bundle: Bundle, clips: Path, table: Path) -> None:
    """The first clip's row must say what the Python door says."""
    with table.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    torch.set_num_threads(1)
    (alone,) = Predictor.from_bundle(bundle.path, device="cpu").predict(clips / row["case_id"])
    for name, probability in alone["probabilities"].items():
        if abs(float(row[f"p_{name}"]) - probability) > LARGEST_DIFFERENCE:
            sys.exit(f"{row['case_id']}: {name} has {row[f'p_{name}']} in the table, {probability} alone")


def profile(preset: str, *, files: int, folder: Path, lines: int = 30) -> None:
    """Print where the driver's thread spends its time."""
    clips = simulate_clips(folder / "profiled", files)
    torch.set_num_threads(1)
    steps = Steps.from_bundle(untrained_bundle(folder / f"profiled-{preset}", preset), device="cpu")
    cases = steps.reader.find(clips)
    profiler = cProfile.Profile()
    profiler.runcall(run, steps, list(cases), folder / "profile", workers=2)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--preset", action="append", help="default: crnn and m5")
    parser.add_argument("--profile", action="store_true", help="print the costliest functions instead")
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tessera-benchmark-") as scratch:
        folder, presets = Path(scratch), options.preset or ["crnn", "m5"]
        if options.profile:
            profile(presets[0], files=options.files, folder=folder)
            return
        show([measure(p, files=options.files, folder=folder) for p in presets], as_json=options.json)


if __name__ == "__main__":
    main()
