"""One large scan: peak memory of a fresh ``tessera predict``, with few and with many classes.

The requirement: at most 6 bytes a voxel, the network, and 1 GB, whatever the number of classes. The network
is small and untrained; what it takes is the peak of a process that runs one window and nothing else.
Run: python benchmarks/volume_memory.py [--shape 512 512 300] [--classes 5 --classes 118] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from bundles import untrained_bundle
from fresh_process import TESSERA, run_fresh
from machine import Record, show

from tessera.core.data.targets import TargetSpec

BYTES_A_VOXEL, ROOM_BYTES = 6, 1e9
PATCH = (64, 64, 64)
NETWORK = """
import sys, torch
from tessera.core.bundle.bundle import Bundle
torch.set_num_threads(1)
bundle = Bundle.load(sys.argv[1])
with torch.inference_mode():
    bundle.networks()[0](torch.zeros(1, *bundle.card.input_shape))
"""


def write_scan(path: Path, shape: tuple[int, ...]) -> None:
    """An int16 NIfTI file of noise, 1.5 mm voxels, written slab by slab."""
    header = nibabel.Nifti1Image(np.zeros((1, 1, 1), np.int16), np.diag([1.5, 1.5, 1.5, 1.0])).header
    header.set_data_shape(shape)
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(header.binaryblock + b"\0" * (352 - len(header.binaryblock)))
        for _ in range(shape[2]):
            file.write(rng.integers(-1000, 400, shape[0] * shape[1], dtype=np.int16).tobytes())


def measure(n_classes: int, shape: tuple[int, ...], folder: Path) -> Record:
    """Predict the scan in a fresh process with one thread, cut by patches of 64 voxels a side."""
    scan = folder / "scan.nii"
    if not scan.exists():
        write_scan(scan, shape)
    names = tuple(f"class-{number}" for number in range(n_classes))
    bundle = untrained_bundle(
        folder / f"bundle-{n_classes}",
        "smoke",
        name="volumes",
        target=TargetSpec(kind="mask", classes=names),
        data={"patch": list(PATCH)},
    )
    network = run_fresh([sys.executable, "-c", NETWORK, str(bundle.path)])
    out = folder / f"out-{n_classes}"
    command = [TESSERA, "predict", str(bundle.path), str(scan), "--out", str(out), "--no-isolation"]
    done = run_fresh([*command, "--threads", "1", "--workers", "1", "--timeout", "1d", "--json"])
    mask = nibabel.load(out / "masks" / "scan.nii.gz")
    if mask.shape != shape:
        sys.exit(f"a mask of {mask.shape}, not {shape}")
    voxels = math.prod(shape)
    most_mib = (BYTES_A_VOXEL * voxels + ROOM_BYTES) / 2**20 + network.peak_mib
    peak_mib = done.peak_mib or json.loads(done.text)["peak_bytes"] / 2**20
    return {
        "classes": n_classes,
        "shape": " x ".join(map(str, shape)),
        "logits_of_all_voxels_mib": 4 * n_classes * voxels / 2**20,
        "network_alone_mib": network.peak_mib,
        "peak_mib": peak_mib,
        "most_mib_allowed": most_mib,
        "fulfilled": str(peak_mib <= most_mib),
        "seconds": done.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 300))
    parser.add_argument("--classes", type=int, action="append", help="default: 5 and 118")
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tessera-benchmark-") as scratch:
        shape, counts = tuple(options.shape), options.classes or [5, 118]
        show([measure(n, shape, Path(scratch)) for n in counts], as_json=options.json)


if __name__ == "__main__":
    main()
