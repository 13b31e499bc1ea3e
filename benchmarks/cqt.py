"""Constant-Q spectrogram in dB on one CPU thread: Tessera beside librosa, outputs compared first.

librosa decimates octave by octave and drops small parts of its kernels, so the two agree closely and not
exactly: the magnitudes must correlate by 0.999 or more, and the median difference down to 40 dB under the
maximum be 0.3 dB or less.

Run: python benchmarks/cqt.py [--clips 16] [--seconds 10] [--repeats 10] [--json]
"""

from __future__ import annotations

import argparse
import os
import sys

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # before numpy loads

import librosa
import numpy as np
import torch
from machine import Record, show
from numpy.typing import NDArray
from timing import median_seconds

from tessera.audio.features import ConstantQ

SAMPLE_RATE_HZ, HOP, N_BINS, F_MIN_HZ = 22_050, 512, 84, 32.7032
LEAST_CORRELATION, LARGEST_MEDIAN_DB, RANGE_DB = 0.999, 0.3, 40.0


def librosa_cqt(clip: NDArray[np.float32]) -> NDArray[np.float32]:
    """One clip (T,) -> magnitudes (n_bins, frames)."""
    return np.abs(librosa.cqt(clip, sr=SAMPLE_RATE_HZ, hop_length=HOP, fmin=F_MIN_HZ, n_bins=N_BINS))


def agreement(ours_db: NDArray[np.float32], theirs: NDArray[np.float32]) -> tuple[float, float]:
    """Correlation of the magnitudes, and the median difference in dB where it is loud."""
    theirs_db = librosa.amplitude_to_db(theirs, top_db=None)
    loud = theirs_db > theirs_db.max() - RANGE_DB
    together = np.corrcoef(10 ** (ours_db / 20).ravel(), theirs.ravel())[0, 1]
    return float(together), float(np.median(np.abs(ours_db - theirs_db)[loud]))


def glides(*, clips: int, seconds: float) -> NDArray[np.float32]:
    """Clips (clips, T) of rising tones and their overtones in noise."""
    generator = np.random.default_rng(0)
    time = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    waves = []
    for _ in range(clips):
        start_hz, octaves = generator.uniform(60, 600), generator.uniform(0.5, 2.0) / seconds
        turns = start_hz * np.expm1(octaves * np.log(2) * time) / (octaves * np.log(2))
        tones = [0.3 / n * np.sin(2 * np.pi * n * turns) for n in range(1, 5)]
        waves.append(np.sum(tones, axis=0) + 0.01 * generator.standard_normal(time.size))
    return np.stack(waves).astype(np.float32)


def compare(*, clips: int, seconds: float, repeats: int) -> Record:
    """Check that both agree, then time both."""
    torch.set_num_threads(1)
    waves = glides(clips=clips, seconds=seconds)
    batch = torch.from_numpy(waves)[:, None]
    front_end = ConstantQ(sample_rate_hz=SAMPLE_RATE_HZ, hop=HOP, n_bins=N_BINS, f_min_hz=F_MIN_HZ).eval()
    with torch.inference_mode():
        ours = front_end(batch)[:, 0].numpy()
        found = [agreement(a, librosa_cqt(b)) for a, b in zip(ours, waves, strict=True)]
        correlation, median_db = min(c for c, _ in found), max(m for _, m in found)
        if correlation < LEAST_CORRELATION or median_db > LARGEST_MEDIAN_DB:
            sys.exit(f"the outputs differ: correlation {correlation:.5f}, median {median_db:.2f} dB")
        times = median_seconds(
            {"tessera": lambda: front_end(batch), "librosa": lambda: [librosa_cqt(w) for w in waves]},
            repeats=repeats,
        )
    return {
        "clips": clips,
        "seconds_per_clip": seconds,
        "tessera_ms_per_clip": 1e3 * times["tessera"] / clips,
        "librosa_ms_per_clip": 1e3 * times["librosa"] / clips,
        "times_faster": times["librosa"] / times["tessera"],
        "least_correlation": correlation,
        "largest_median_difference_db": median_db,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    result = compare(clips=options.clips, seconds=options.seconds, repeats=options.repeats)
    show([result], as_json=options.json)


if __name__ == "__main__":
    main()
