"""Training on a GPU: bfloat16, channels_last and torch.compile beside eager float32.

Both train the same network from the same weights on the same batches, held in memory; their losses, averaged
over each epoch, may differ by at most 5 %. Says so and ends well where there is no GPU.
Run: python benchmarks/gpu_training.py [--samples 512] [--batch-size 64] [--epochs 5] [--json]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

import torch
from machine import Record, show

if TYPE_CHECKING:
    from training_laps import Laps

LARGEST_DIFFERENCE = 0.05  # of an epoch's mean loss; bfloat16 keeps 8 bits
NO_GPU = "no GPU here"
EAGER = {"precision": "float32", "channels_last": False, "compile": False}
FAST = {"precision": "bfloat16", "channels_last": True, "compile": True}


def measure(
    preset: str,
    *,
    samples: int,
    batch_size: int,
    epochs: int,
    folder: Path,
    slow: dict[str, Any] = EAGER,
    fast: dict[str, Any] = FAST,
) -> Record:
    """Train both ways, compare the losses, then the median seconds of the epochs after the first."""
    from training_laps import (  # Lightning, which takes seconds to say "no GPU here"
        MemoryLoader,
        laps,
        simulated_sounds,
    )

    os.environ.setdefault("TESSERA_CACHE", str(folder / "cache"))
    manifest = simulated_sounds(folder / f"sounds-{preset}", samples)

    def train(settings: dict[str, Any]) -> Laps:
        sizes = {"batch_size": batch_size, "max_epochs": epochs}
        return laps(preset, manifest, loader_kind=MemoryLoader, folder=folder, **sizes, **settings)

    eager, faster = train(slow), train(fast)
    difference = largest_difference(eager.losses, faster.losses, epochs=epochs)
    if not difference <= LARGEST_DIFFERENCE:
        sys.exit(f"an epoch's mean loss differs by {100 * difference:.1f} % between the two ways of training")
    eager_s, faster_s = median(eager.epoch_s), median(faster.epoch_s)
    return {
        "preset": preset,
        "samples": samples,
        "batch_size": batch_size,
        "epochs": epochs,
        "eager float32, samples/s": samples / eager_s,
        "bfloat16, compiled, samples/s": samples / faster_s,
        "times_faster": eager_s / faster_s,
        "largest relative difference of a loss": difference,
        "largest allowed": LARGEST_DIFFERENCE,
    }


def largest_difference(a: tuple[float, ...], b: tuple[float, ...], *, epochs: int) -> float:
    """The largest relative difference of two loss curves' means over an epoch; NaN where one diverged."""
    n = len(a) // epochs
    curves = [[mean(losses[i * n : (i + 1) * n]) for i in range(epochs)] for losses in (a, b)]
    differences = torch.tensor([abs(x - y) / abs(x) for x, y in zip(*curves, strict=True)])
    return float(differences.max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--preset", action="append", help="default: crnn and m18")
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        show([{"not measured": NO_GPU}], as_json=True) if options.json else print(f"{NO_GPU}: not measured")
        return
    sizes = {"samples": options.samples, "batch_size": options.batch_size, "epochs": options.epochs}
    with tempfile.TemporaryDirectory(prefix="tessera-benchmark-") as scratch:
        presets = options.preset or ["crnn", "m18"]
        show([measure(p, folder=Path(scratch) / p, **sizes) for p in presets], as_json=options.json)


if __name__ == "__main__":
    main()
