"""Random rooms for batches of sound: impulse responses drawn from a law, or from files read once."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tessera.audio.readers import SoundReader
from tessera.audio.windows import is_still, resample
from tessera.core.errors import DataError, TesseraError

LN_1000 = math.log(1000.0)  # exp(-LN_1000) is 60 dB in amplitude
ONSET = 0.05  # of the peak: where a response from a file begins

log = logging.getLogger(__name__)


def decaying_responses(noise: Tensor, t60_s: Tensor, direct_db: Tensor, *, sample_rate_hz: float) -> Tensor:
    """Direct sound in the first sample, then noise (B, N - 1) that decays: (B, N), each of energy 1.

    Args:
        noise: White, of any level.
        t60_s: (B,) time in which it falls by 60 dB.
        direct_db: (B,) energy of the direct sound over that of the rest.
        sample_rate_hz: Samples a second.
    """
    time_s = torch.arange(1, noise.shape[1] + 1) / sample_rate_hz
    tail = noise * torch.exp(-LN_1000 * time_s / t60_s[:, None])
    energy = tail.square().sum(dim=1, keepdim=True)
    tail = tail * (10 ** (-direct_db[:, None] / 10) / energy).sqrt()
    return of_unit_energy(torch.cat([torch.ones(len(tail), 1), tail], dim=1))


def read_responses(folder: Path, *, sample_rate_hz: float, samples: int) -> Tensor:
    """Every response below a folder (R, samples), from its onset on, the mean of its channels, of energy 1.

    Shorter ones end in zeros, longer ones are cut. Files that cannot be read are left out with a warning.
    """
    reader = SoundReader()
    found = []
    for case in reader.find(folder):
        try:
            source = reader.open(case)
            sound = source.samples(0, source.grid.n_samples).mean(axis=0, dtype=np.float32)
            source.close()
        except TesseraError as error:
            log.warning("an impulse response is left out: %s", error.one_line())
            continue
        if is_still(sound):
            log.warning("an impulse response is left out: %s is silent", case.id)
            continue
        heard = resample(sound, source.grid.rate_hz, sample_rate_hz)
        level = np.abs(heard)
        heard = heard[int(np.argmax(level >= ONSET * level.max())) :][:samples]
        found.append(np.pad(heard, (0, samples - len(heard))))
    if not found:
        raise DataError(
            f"no impulse response in {folder} can be read",
            hint="correct augment.responses, or set it to null",
        )
    return of_unit_energy(torch.from_numpy(np.stack(found)))


def of_unit_energy(responses: Tensor) -> Tensor:
    """(R, N), each row with a sum of squares of 1: noise keeps its power in such a room."""
    return responses / responses.square().sum(dim=1, keepdim=True).sqrt()
