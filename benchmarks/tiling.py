"""Windows to a mask on one CPU thread: Tessera beside MONAI's sliding_window_inference, masks compared first.

One volume in windows of 64 that overlap by half, with the same importance map on both sides: with MONAI's
small U-Net, and with a network that costs next to nothing, so that stitching is what is timed. Then the most
memory of a fresh process with 105 classes. MONAI's time includes the arg-max, without which there is no mask.
Run: python benchmarks/tiling.py [--size 160 160 128] [--classes 105] [--repeats 10] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # before torch loads

import numpy as np
import torch
from fresh_process import high_water_mib, run_fresh
from machine import Record, show
from timing import median_seconds
from torch import Tensor, nn

from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case
from tessera.core.data.geometry import Geometry, Pixels, Region
from tessera.core.inference.blending import gaussian, importance
from tessera.core.inference.forward import ForwardPass
from tessera.core.inference.ledger import Identity
from tessera.core.inference.mask_stitcher import MaskRules
from tessera.core.inference.single import result_of
from tessera.core.inference.steps import Steps
from tessera.core.inference.tiling import window_regions

PATCH, OVERLAP, BATCH = (64, 64, 64), 0.5, 2
UNET_CLASSES = STITCH_CLASSES = 8
SMALLEST_GAP = 1e-4  # where masks may differ: two classes this near to each other
Mask = np.ndarray[Any, Any]


class Lines(nn.Module):
    """Each class a straight line of the value: (B, 1, *S) -> (B, K, *S), at almost no cost."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.slope, self.height = torch.randn(2, 1, classes, 1, 1, 1, generator=generator)

    def forward(self, input: Tensor) -> Tensor:
        """(B, 1, *S) -> (B, K, *S)."""
        return torch.addcmul(self.height, input, self.slope)


class Held:
    """Reader and windows of one volume in memory."""

    def __init__(self, volume: Tensor) -> None:
        self.input_shape = (1, *PATCH)
        self.source = ArraySource(volume[0].numpy(), Pixels(tuple(volume.shape[2:])))

    def open(self, case: Case) -> ArraySource:
        """The volume, whatever the case."""
        del case
        return self.source

    def plan(self, grid: Geometry) -> Sequence[Region]:
        """The same windows as MONAI's."""
        return window_regions(grid.shape, PATCH, [int(n * (1 - OVERLAP)) for n in PATCH], "back")

    def read(self, source: ArraySource, region: Region) -> Any:
        """A copy of the region."""
        return source.read(region)


def tessera(network: nn.Module, volume: Tensor, classes: int) -> Mask:
    """Volume (1, 1, *S) -> mask (*S)."""
    held: Any = Held(volume)
    steps = Steps(
        reader=held,
        windows=held,
        forward=ForwardPass([network], task="mask", batch_size=BATCH),
        writer=held,
        identity=Identity(bundle_digest="", config_digest="", code_version=""),
        masks=MaskRules(classes=classes, patch=PATCH),
    )
    mask = result_of(steps, Case(id="volume", files={}, group="volume")).mask
    assert mask is not None
    return mask


def monai(network: nn.Module, volume: Tensor) -> Tensor:
    """Volume (1, 1, *S) -> logits (K, *S)."""
    from monai.inferers import sliding_window_inference

    with torch.inference_mode():
        found: Any = sliding_window_inference(
            volume, PATCH, BATCH, network, overlap=OVERLAP, roi_weight_map=importance(PATCH, gaussian)
        )
    return found[0]


def check(mask: Mask, logits: Tensor) -> float:
    """The share of different voxels, after a check that two classes are as good as equal there."""
    labels = torch.from_numpy(mask.astype(np.int64))[None]
    best, chosen = logits.max(dim=0)
    gap = float((best - logits.gather(0, labels)[0]).max())
    if not gap <= SMALLEST_GAP:
        sys.exit(f"the masks differ where the logits do by {gap:.2g}")
    return float((chosen != labels[0]).float().mean())


def compare(name: str, network: nn.Module, volume: Tensor, classes: int, *, repeats: int) -> Record:
    """Check that both give the same mask, then time both."""
    different = check(tessera(network, volume, classes), monai(network, volume))
    jobs: dict[str, Callable[[], object]] = {
        "tessera": lambda: tessera(network, volume, classes),
        "monai": lambda: monai(network, volume).argmax(dim=0),
        "logits": lambda: monai(network, volume),
    }
    times = median_seconds(jobs, repeats=repeats)
    return {
        "tiling": f"{name}, {classes} classes, {'x'.join(map(str, volume.shape[1:]))}",
        "tessera_ms": 1e3 * times["tessera"],
        "monai_ms": 1e3 * times["monai"],
        "times_faster": times["monai"] / times["tessera"],
        "times_faster_than_logits_alone": times["logits"] / times["tessera"],
        "share_of_different_voxels": different,
    }


def peaks(size: Sequence[int], classes: int) -> Record:
    """The most memory of each in a process of its own, beyond what it held before."""
    found: dict[str, float] = {}
    for peer in ("tessera", "monai"):
        command = [sys.executable, __file__, "--peak", peer, "--classes", str(classes)]
        command += ["--size", *map(str, size)]
        found[peer] = json.loads(run_fresh(command).text)
    return {
        "tiling": f"memory, {classes} classes, {'x'.join(map(str, (1, *size)))}",
        "tessera_mib": found["tessera"],
        "monai_mib": found["monai"],
        "share_of_monai": found["tessera"] / found["monai"],
    }


def peak(peer: str, volume: Tensor, classes: int) -> float:
    """MiB that this process takes beyond what it holds now; 0 where the system has no /proc."""
    network = Lines(classes)
    before = high_water_mib(os.getpid())
    _ = tessera(network, volume, classes) if peer == "tessera" else monai(network, volume).argmax(dim=0)
    return high_water_mib(os.getpid()) - before


def small_unet(classes: int) -> nn.Module:
    """MONAI's U-Net of 8 to 64 channels, the same weights each time."""
    from monai.networks.nets import UNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet(3, 1, classes, channels=(8, 16, 32, 64), strides=(2, 2, 2)).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(160, 160, 128))
    parser.add_argument("--classes", type=int, default=105, help="of the comparison of memory")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--peak", choices=["tessera", "monai"], help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    volume = torch.randn(1, 1, *options.size, generator=torch.Generator().manual_seed(0))
    if options.peak:
        import monai.inferers  # noqa: F401  # its modules count before, not in the run

        print(json.dumps(peak(options.peak, volume, options.classes)))
        return
    lines, unet = Lines(STITCH_CLASSES), small_unet(UNET_CLASSES)
    records = [
        compare("small U-Net", unet, volume, UNET_CLASSES, repeats=options.repeats),
        compare("stitching alone", lines, volume, STITCH_CLASSES, repeats=options.repeats),
        peaks(options.size, options.classes),
    ]
    show(records, as_json=options.json)


if __name__ == "__main__":
    main()
