"""Mel spectrogram in dB on one CPU thread: Tessera beside librosa, outputs compared first.

Run: python benchmarks/mel.py [--clips 64] [--seconds 10] [--repeats 10] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib.metadata import version

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # before numpy loads

import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from timing import cpu_name, median_seconds

from tessera.audio.features import MelSpectrogram

SAMPLE_RATE_HZ, N_FFT, HOP, N_MELS = 22_050, 1024, 512, 128
LARGEST_DIFFERENCE_DB = 1e-3


def librosa_mel_db(clip: NDArray[np.float32]) -> NDArray[np.float32]:
    """One clip (T,) -> (n_mels, frames)."""
    power = librosa.feature.melspectrogram(
        y=clip, sr=SAMPLE_RATE_HZ, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS
    )
    return librosa.power_to_db(power, top_db=None)


def compare(*, clips: int, seconds: float, repeats: int) -> dict[str, str | float]:
    """Check that both give the same levels, then time both."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    waves = generator.normal(0.0, 0.1, (clips, int(seconds * SAMPLE_RATE_HZ))).astype(np.float32)
    batch = torch.from_numpy(waves)[:, None]
    front_end = MelSpectrogram(sample_rate_hz=SAMPLE_RATE_HZ, n_fft=N_FFT, hop=HOP, n_mels=N_MELS).eval()

    with torch.inference_mode():
        ours = front_end(batch)[:, 0].numpy()
        difference = max(float(np.abs(a - librosa_mel_db(b)).max()) for a, b in zip(ours, waves, strict=True))
        if difference > LARGEST_DIFFERENCE_DB:
            sys.exit(f"the outputs differ by {difference:.2e} dB, more than {LARGEST_DIFFERENCE_DB:g}")
        times = median_seconds(
            {"tessera": lambda: front_end(batch), "librosa": lambda: [librosa_mel_db(w) for w in waves]},
            repeats=repeats,
        )
    return {
        "clips": clips,
        "seconds_per_clip": seconds,
        "tessera_ms_per_clip": 1e3 * times["tessera"] / clips,
        "librosa_ms_per_clip": 1e3 * times["librosa"] / clips,
        "times_faster": times["librosa"] / times["tessera"],
        "largest_difference_db": difference,
        "torch": version("torch"),
        "librosa": version("librosa"),
        "cpu": cpu_name(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    result = compare(clips=options.clips, seconds=options.seconds, repeats=options.repeats)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:24}{value:.3g}" if isinstance(value, float) else f"{name:24}{value}")


if __name__ == "__main__":
    main()
