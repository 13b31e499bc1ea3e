"""Dry sounds one after another: simulated ones, or recordings of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tessera.audio.readers import SoundReader
from tessera.audio.simulate.draws import SOURCES
from tessera.audio.simulate.room import mean_square
from tessera.audio.simulate.sources import Waveform
from tessera.audio.windows import is_still, resample
from tessera.core.data.case import Case
from tessera.core.errors import DataError

LONGEST_S = 2.0  # of one sound, so that a clip holds several and their echoes
LEVEL_DB = 6.0  # a sound is this much louder or softer than the others
TRIES = 100  # recordings drawn until one is not silent


class DrySounds:
    """Draws sounds of one rate; a recording belongs to one part alone.

    Args:
        folder: Of recordings; None simulates them.
        parts: Names of what must share no recording.
        sample_rate_hz: Of the sounds given.
        seed: Of which recording is in which part.
    """

    def __init__(self, folder: Path | None, *, parts: Sequence[str], sample_rate_hz: int, seed: int) -> None:
        self.rate_hz = sample_rate_hz
        self._reader = SoundReader()
        self._parts: Mapping[str, Sequence[Case]] | None = None
        if folder is not None:
            self._parts = _dealt(self._reader.find(folder), parts, seed=seed, folder=folder)

    def track(
        self, rng: np.random.Generator, *, part: str, samples: int, pause_s: tuple[float, float]
    ) -> Waveform:
        """Sounds with pauses between them (samples,), the last one cut."""
        track = np.zeros(samples)
        place = round(rng.uniform(0.0, pause_s[1]) * self.rate_hz)
        place = min(place, samples // 2)  # a sound in every track
        while place < samples:
            sound = self._sound(rng, part)
            sound *= 10 ** (rng.uniform(-LEVEL_DB, LEVEL_DB) / 20) / np.sqrt(mean_square(sound))
            kept = sound[: samples - place]
            track[place : place + len(kept)] = kept
            place += len(sound) + max(1, round(rng.uniform(*pause_s) * self.rate_hz))
        return track

    def _sound(self, rng: np.random.Generator, part: str) -> Waveform:
        if self._parts is None:
            kind = list(SOURCES.values())[rng.integers(len(SOURCES))]
            parameters = kind.draw(rng, sample_rate_hz=self.rate_hz, longest_s=LONGEST_S)
            return kind.render(rng, sample_rate_hz=self.rate_hz, **parameters)
        cases = self._parts[part]
        for _ in range(TRIES):
            sound = self._read(rng, cases[int(rng.integers(len(cases)))])
            if not is_still(sound.astype(np.float32)):
                return sound
        raise DataError(f"{TRIES} dry recordings in a row are silent", hint="choose others")

    def _read(self, rng: np.random.Generator, case: Case) -> Waveform:
        """At most ``LONGEST_S`` of a recording, from a random place, without the zeros around it."""
        source = self._reader.open(case)
        try:
            axis = source.grid
            length = min(axis.n_samples, round(LONGEST_S * axis.rate_hz))
            start = int(rng.integers(0, axis.n_samples - length + 1))
            sound = source.samples(start, start + length).mean(axis=0, dtype=np.float32)
        finally:
            source.close()
        heard = resample(np.trim_zeros(sound), axis.rate_hz, self.rate_hz)
        return heard.astype(np.float64)


def _dealt(
    cases: Sequence[Case], parts: Sequence[str], *, seed: int, folder: Path
) -> dict[str, Sequence[Case]]:
    if len(cases) < len(parts):
        raise DataError(
            f"{folder} holds too few dry recordings",
            found=f"{len(cases)}",
            expected=f"at least one for each of {len(parts)} folds",
        )
    order = np.random.default_rng([seed, 1]).permutation(len(cases))
    return {part: [cases[i] for i in order[number :: len(parts)]] for number, part in enumerate(parts)}
