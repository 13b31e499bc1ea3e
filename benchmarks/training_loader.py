"""Does reading slow training down? Samples a second with real data and with tensors from memory.

Within one training the epochs take turns: read (through the warm cache of prepared cases, cut and
standardised anew), then the first epoch's tensors again, whose shapes are compared. A pair of neighbouring
epochs gives one ratio; the first epoch is not counted. The ratio of processor times is that of the training
process alone: with 0 workers it says the same and bears a busy machine.
Run: python benchmarks/training_loader.py [--samples 64] [--pairs 5] [--json]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # before numpy loads

import numpy as np
import torch
from machine import Record, show
from training_laps import AlternatingLoader, laps, simulated_sounds

BATCH_SIZE = 16
MOST_SLOWER = 0.1  # the requirement


def measure(preset: str, *, workers: int, samples: int, pairs: int, folder: Path) -> Record:
    """Train ``pairs`` pairs of epochs; medians of samples a second and of the pairs' ratios."""
    torch.set_num_threads(1)
    os.environ.setdefault("TESSERA_CACHE", str(folder / "cache"))
    manifest = simulated_sounds(folder / f"sounds-{preset}-{workers}", samples)
    settings = {"batch_size": BATCH_SIZE, "max_epochs": 1 + 2 * pairs, "workers": workers}
    found = laps(
        preset, manifest, loader_kind=AlternatingLoader, folder=folder, accelerator="cpu", **settings
    )
    if not np.isfinite(found.losses).all():
        sys.exit("the training diverged")
    wall, processor = (np.reshape(times, (pairs, 2)) for times in (found.epoch_s, found.processor_s))
    ratio = median(wall[:, 1] / wall[:, 0])
    return {
        "preset": preset,
        "workers": workers,
        "batch_size": BATCH_SIZE,
        "samples": samples,
        "pairs_of_epochs": pairs,
        "threads": 1,
        "real data, samples/s": samples / float(median(wall[:, 0])),
        "from memory, samples/s": samples / float(median(wall[:, 1])),
        "ratio": float(ratio),
        "ratio of processor times": float(median(processor[:, 1] / processor[:, 0])),
        "least ratio": 1 - MOST_SLOWER,
        "fulfilled": str(bool(ratio > 1 - MOST_SLOWER)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--preset", action="append", help="default: crnn and m5")
    parser.add_argument("--workers", action="append", type=int, help="default: 0 and 2")
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    sizes = {"samples": options.samples, "pairs": options.pairs}
    with tempfile.TemporaryDirectory(prefix="tessera-benchmark-") as scratch:
        records = [
            measure(preset, workers=workers, folder=Path(scratch), **sizes)
            for preset in options.preset or ["crnn", "m5"]
            for workers in options.workers or [0, 2]
        ]
    show(records, as_json=options.json)


if __name__ == "__main__":
    main()
