"""Large scans: peak memory of a fresh ``tessera predict``, with few and with many classes, and of airways.

The requirement: at most 6 bytes a voxel, the network, and 1 GB, whatever the number of classes. The network
is small and untrained; what it takes is the peak of a process that runs one window and nothing else. Two
scans are predicted, so that the second one is read while the network works on the first; windows do not
overlap, which saves time and changes no peak. ``--airway``: a simulated tree as the only air of a scan, found
by a network with weights set by hand, so that its branches are measured as after training.
Run: python benchmarks/volume_memory.py [--shape 512 512 300] [--classes 5 --classes 118] [--airway] [--json]
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import torch
from bundles import untrained_bundle
from fresh_process import TESSERA, run_fresh
from machine import Record, show

from tessera.core.bundle.bundle import Bundle, Member, write_bundle
from tessera.core.data.targets import TargetSpec

NIFTI: Any = nibabel  # its types are incomplete
BYTES_A_VOXEL, ROOM_BYTES = 6, 1e9
SPACING_MM = (0.75, 0.75, 1.0)
DATA: dict[str, Any] = {"patch": [64, 64, 64], "overlap": 0.0}
UNET = {"kind": "plain-unet", "features": [4, 8], "strides": [[1] * 3, [2] * 3], "kernels": [[3] * 3] * 2}
AIR_HU, TISSUE_HU = -1000, 40
NETWORK = """
import sys, torch
from tessera.core.bundle.bundle import Bundle
torch.set_num_threads(1)
bundle = Bundle.load(sys.argv[1])
with torch.inference_mode():
    bundle.networks()[0](torch.zeros(1, *bundle.card.input_shape))
"""


def write_scans(folder: Path, shape: tuple[int, ...]) -> None:
    """Two int16 files of the same noise."""
    rng = np.random.default_rng(0)
    noise = np.empty(shape, dtype=np.int16, order="F")
    for k in range(shape[2]):
        noise[:, :, k] = rng.integers(-1000, 400, shape[:2], dtype=np.int16)
    _write_twice(folder, noise)


def write_airways(folder: Path, shape: tuple[int, ...]) -> None:
    """Two files in which a simulated airway is the only air."""
    sizes = [
        f"{name}=[{','.join(map(str, of))}]" for name, of in (("shape", shape), ("spacing_mm", SPACING_MM))
    ]
    made = folder.with_name("simulated")
    run_fresh(
        [TESSERA, "simulate", "airway", "--n", "1", "--out", str(made), "--set", sizes[0], "--set", sizes[1]]
    )
    (label,) = (made / "labels").iterdir()
    airway = np.asarray(NIFTI.load(label).dataobj) > 0
    _write_twice(folder, np.where(airway, AIR_HU, TISSUE_HU).astype(np.int16))


def _write_twice(folder: Path, values: npt.NDArray[np.int16]) -> None:
    folder.mkdir()
    image = NIFTI.Nifti1Image(values, np.diag([*SPACING_MM, 1.0]))
    with gzip.open(folder / "first.nii.gz", "wb", compresslevel=1) as file:
        image.to_stream(file)
    shutil.copyfile(folder / "first.nii.gz", folder / "second.nii.gz")


def air_finder(folder: Path) -> Bundle:
    """A bundle of the pipeline airway whose network calls dark voxels airway."""
    target = TargetSpec(kind="mask", classes=("background", "airway"))
    made = untrained_bundle(
        folder / "untrained",
        "smoke",
        name="airway",
        target=target,
        data=DATA | {"coordinates": False},
        model=UNET,
    )
    weights = made.networks()[0].state_dict()
    for name, values in weights.items():
        if values.dim() == 5 or name.endswith("bias"):
            values.zero_()
    for name, sign in (
        ("encoder.0.0", -1.0),
        ("encoder.0.1", 1.0),
        ("decoder.0.0", 1.0),
        ("decoder.0.1", 1.0),
    ):
        kernel = weights[f"body.{name}.0.weight"]
        kernel[0, :: UNET["features"][0], 1, 1, 1] = sign  # the first channel, of the skip connection as well
    weights["body.heads.0.weight"][1, 0] = 1.0
    weights["body.heads.0.bias"][1] = -0.25  # normalised air is 1 where half a window is air, more elsewhere
    member = Member(made.config, weights)
    return write_bundle(folder / "air-finder", pipeline=made.pipeline, card=made.card, members=[member])


def measure(name: str, bundle: Bundle, scans: Path, shape: tuple[int, ...]) -> Record:
    """Predict the scans in a fresh process with one thread, as the command line does without options."""
    network = run_fresh([sys.executable, "-c", NETWORK, str(bundle.path)])
    out = scans.with_name(f"out-{name}")
    command = [TESSERA, "predict", str(bundle.path), str(scans), "--out", str(out), "--no-isolation"]
    done = run_fresh([*command, "--device", "cpu", "--threads", "1", "--timeout", "1d", "--json"])
    masks = sorted((out / "masks").iterdir())
    found = {NIFTI.load(mask).shape for mask in masks}
    if len(masks) != 2 or found != {shape}:
        sys.exit(f"{len(masks)} masks of {found}, not 2 of {shape}")
    voxels = math.prod(shape)
    most_mib = (BYTES_A_VOXEL * voxels + ROOM_BYTES) / 2**20 + network.peak_mib
    peak_mib = done.peak_mib or json.loads(done.text)["peak_bytes"] / 2**20
    classes = len(bundle.card.target.classes)
    return {
        "what": name,
        "shape": " x ".join(map(str, shape)),
        "logits_of_all_voxels_mib": 4 * classes * voxels / 2**20,
        "network_alone_mib": network.peak_mib,
        "peak_mib": peak_mib,
        "bytes_a_voxel_beside_the_network": (peak_mib - network.peak_mib) * 2**20 / voxels,
        "most_mib_allowed": most_mib,
        "fulfilled": str(peak_mib <= most_mib),
        "branches": sum(len(path.read_text().splitlines()) - 1 for path in out.glob("branches/*.csv")) // 2,
        "seconds": done.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 300))
    parser.add_argument(
        "--classes", type=int, action="append", help="default: 5 and 118, or none with --airway"
    )
    parser.add_argument("--airway", action="store_true", help="an airway with its branches")
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape, records = tuple(options.shape), []
    with tempfile.TemporaryDirectory(prefix="tessera-benchmark-") as scratch:
        folder = Path(scratch)
        for n in options.classes or ([] if options.airway else [5, 118]):
            if not (folder / "noise").exists():
                write_scans(folder / "noise", shape)
            target = TargetSpec(kind="mask", classes=tuple(f"class-{number}" for number in range(n)))
            bundle = untrained_bundle(
                folder / f"bundle-{n}", "smoke", name="volumes", target=target, data=DATA
            )
            records.append(measure(f"{n} classes", bundle, folder / "noise", shape))
        if options.airway:
            write_airways(folder / "airways", shape)
            records.append(measure("airway", air_finder(folder), folder / "airways", shape))
    show(records, as_json=options.json)


if __name__ == "__main__":
    main()
