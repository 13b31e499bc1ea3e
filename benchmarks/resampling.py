"""Resampling of a volume on one CPU thread: Tessera beside scikit-image and scipy, outputs compared first.

scikit-image is called as nnU-Net calls it: cubic, edges repeated, no anti-aliasing, cut to the range; labels
as one linear map a class. Cubic results must agree to 1e-4 of the range and thresholded ones by a Dice of
0.999; labels must be equal wherever a class reaches one half, which decides by nnU-Net's rule, and the mask
of all classes together by a Dice of 0.999.

Run: python benchmarks/resampling.py [--side 160] [--factor 1.25] [--repeats 5] [--json]
"""

from __future__ import annotations

import argparse
import os
import sys

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # before numpy loads

import numpy as np
import torch
from machine import Record, show
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize
from timing import median_seconds

from tessera.medical.resampling import resample, resample_labels

LARGEST_DIFFERENCE, LEAST_DICE = 1e-4, 0.999
CLASSES = 4
STRUCTURE = 1.0  # deviations from the mean beyond which a smooth map is a structure
Image = NDArray[np.float32]


def scan(side: int) -> tuple[Image, NDArray[np.int16]]:
    """A noisy image (I, J, K) of smooth structures, and their labels in turn."""
    generator = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(generator.standard_normal((side,) * 3, dtype=np.float32), side / 20)
    smooth /= smooth.std()
    parts, _ = ndimage.label(smooth > STRUCTURE)
    labels = np.where(parts > 0, 1 + parts % (CLASSES - 1), 0)
    noise = 0.1 * generator.standard_normal(smooth.shape, dtype=np.float32)
    return smooth + noise, labels.astype(np.int16)


def skimage_cubic(image: Image, side: int) -> Image:
    """As nnU-Net resamples images."""
    return resize(image, (side,) * 3, order=3, mode="edge", anti_aliasing=False)


def scipy_cubic(image: Image, side: int) -> Image:
    """The same spline without the cut to the range."""
    factors = [side / n for n in image.shape]
    return ndimage.zoom(image, factors, order=3, mode="nearest", grid_mode=True)


def skimage_labels(labels: NDArray[np.int16], side: int) -> NDArray[np.int16]:
    """As nnU-Net resamples labels: each class by itself, taken where it reaches one half."""
    found = np.zeros((side,) * 3, dtype=labels.dtype)
    for name in range(CLASSES):
        share = resize((labels == name).astype(float), found.shape, order=1, mode="edge", anti_aliasing=False)
        found[share >= 0.5] = name
    return found


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Overlap of two masks, 1 when they are equal."""
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def decided(labels: NDArray[np.int16], side: int) -> NDArray[np.bool_]:
    """Where some class reaches one half, so that nnU-Net's rule and the largest map must agree."""
    shares = [
        resize((labels == name).astype(float), (side,) * 3, order=1, mode="edge", anti_aliasing=False)
        for name in range(CLASSES)
    ]
    return np.max(shares, axis=0) > 0.5 + 1e-5


def compare_images(image: Image, side: int, *, repeats: int) -> Record:
    """Cubic resampling: check, then time."""
    ours = torch.from_numpy(image)[None]
    found, expected = resample(ours, (side,) * 3)[0].numpy(), skimage_cubic(image, side)
    difference = float(np.abs(found - expected).max() / np.ptp(image))
    overlap = min(dice(found > level, expected > level) for level in (-1.0, 0.0, 1.0))
    if difference > LARGEST_DIFFERENCE or overlap < LEAST_DICE:
        sys.exit(f"the outputs differ by {difference:.2e} of the range, Dice {overlap:.5f}")
    jobs = {
        "tessera": lambda: resample(ours, (side,) * 3),
        "scikit-image": lambda: skimage_cubic(image, side),
        "scipy": lambda: scipy_cubic(image, side),
    }
    return _record("image, cubic", jobs, repeats) | {
        "least_dice_of_thresholds": overlap,
        "largest_difference_of_range": difference,
    }


def compare_labels(labels: NDArray[np.int16], side: int, *, repeats: int) -> Record:
    """Labels: check, then time."""
    ours = torch.from_numpy(labels)
    found, expected = resample_labels(ours, (side,) * 3).numpy(), skimage_labels(labels, side)
    clear = decided(labels, side)
    if not np.array_equal(found[clear], expected[clear]):
        sys.exit(f"{np.count_nonzero(found[clear] != expected[clear])} labels differ")
    mask = (labels > 0).astype(np.int16)
    ours_mask, theirs = resample_labels(torch.from_numpy(mask), (side,) * 3), skimage_labels(mask, side)
    overlap = dice(ours_mask.numpy() > 0, theirs > 0)
    if overlap < LEAST_DICE:
        sys.exit(f"the labels differ: Dice {overlap:.5f}")
    jobs = {
        "tessera": lambda: resample_labels(ours, (side,) * 3),
        "scikit-image": lambda: skimage_labels(labels, side),
    }
    return _record(f"labels, {CLASSES} classes", jobs, repeats) | {"dice_of_all_structures": overlap}


def _record(what: str, jobs: dict[str, object], repeats: int) -> Record:
    times = median_seconds(jobs, repeats=repeats)  # type: ignore[arg-type]
    own = times["tessera"]
    record: Record = {"what": what, "threads": float(torch.get_num_threads())}
    record |= {f"{name}_ms": 1e3 * seconds for name, seconds in times.items()}
    peers = {name: seconds for name, seconds in times.items() if name != "tessera"}
    return record | {f"times_faster_than_{name}": seconds / own for name, seconds in peers.items()}


def compare(*, side: int, factor: float, repeats: int) -> list[Record]:
    """Images and labels."""
    torch.set_num_threads(1)
    image, labels = scan(side)
    new = round(side * factor)
    head: Record = {"voxels_a_side": side, "to": new}
    records = (
        compare_images(image, new, repeats=repeats),
        compare_labels(labels, new, repeats=repeats),
    )
    return [head | record for record in records]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--factor", type=float, default=1.25)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    show(compare(side=options.side, factor=options.factor, repeats=options.repeats), as_json=options.json)


if __name__ == "__main__":
    main()
