"""Simulated speakers: vowels of a pitch and a vocal tract, by the source-filter model (Fant 1960).

A voice is a stack of harmonics of its pitch, shaped by formants whose frequencies go with the length of its
vocal tract. Formants of five vowels: Peterson and Barney, J. Acoust. Soc. Am. 24 (1952), 175, men.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from tessera.audio.simulate.draws import log_uniform
from tessera.audio.simulate.files import FOLDS, replace_file, wav_bytes
from tessera.audio.simulate.room import mean_square
from tessera.audio.simulate.scenes import Range
from tessera.audio.simulate.sources import RAMP_S, Waveform
from tessera.core.config import Config, validate
from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.manifest import Manifest
from tessera.core.data.simulated import check_request

FORMANTS_HZ = (
    (730.0, 1090.0, 2440.0),
    (530.0, 1840.0, 2480.0),
    (270.0, 2290.0, 3010.0),
    (570.0, 840.0, 2410.0),
    (300.0, 870.0, 2240.0),
)
"""a, e, i, o, u."""

BANDWIDTHS_HZ = (80.0, 100.0, 140.0)
TILT_DB_PER_OCTAVE = -12.0
"""Of the glottal source."""

PEAK_DBFS = -6.0


class VoiceConfig(Config):
    """What voices are drawn from; each pair is (lowest, highest)."""

    speakers: int = Field(5, ge=2, le=10_000, description="number of voices, which take turns")
    sample_rate_hz: int = Field(16_000, ge=8000, le=96_000, description="samples a second")
    vowels: int = Field(3, ge=1, le=100, description="vowels in a recording")
    vowel_s: Range = Field((0.12, 0.3), description="length of a vowel, s")
    pitch_hz: Range = Field((85.0, 255.0), description="mean pitch of a speaker, Hz")
    tract: Range = Field((0.85, 1.2), description="formants of a speaker over those of the table")
    snr_db: Range = Field((15.0, 40.0), description="over white noise, dB")


@dataclass(frozen=True)
class Voice:
    """A speaker.

    Args:
        pitch_hz: Mean pitch.
        tract: Formants over those of the table.
    """

    pitch_hz: float
    tract: float


def simulate_voices(
    out: Path,
    *,
    n: int,
    seed: int,
    values: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write recordings and a manifest with the target ``speaker`` below ``out``; each is its own group.

    Args:
        out: New folder; its name becomes the data set's id.
        n: Number of recordings.
        seed: The same seed gives the same bytes.
        values: Fields of ``VoiceConfig`` that differ from its defaults.
        progress: Called with (done, n).
    """
    config = validate(VoiceConfig, values or {}, source="simulated-voices")
    check_request("voices", n=n, seed=seed)
    names = [f"voice-{number + 1:03d}" for number in range(config.speakers)]
    info = _info(out.resolve().name, seed=seed, names=names)
    rng = np.random.default_rng([seed, 0])
    voices = [Voice(log_uniform(rng, *config.pitch_hz), float(rng.uniform(*config.tract))) for _ in names]
    (out / "audio").mkdir(parents=True, exist_ok=True)
    cases = []
    for index in range(n):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        turn, number = divmod(index, len(names))
        name = f"recording-{index + 1:05d}"
        path = out / "audio" / f"{name}.wav"
        sound = utterance(rng, voices[number], config=config)
        replace_file(path, wav_bytes(sound.astype(np.float32), config.sample_rate_hz))
        cases.append(
            Case(
                id=name,
                files={"audio": FileRef(path=path)},
                targets={"speaker": names[number]},
                group=name,
                split=str(turn % FOLDS + 1),
                meta={key: f"{value:.4g}" for key, value in vars(voices[number]).items()},
            )
        )
        if progress is not None:
            progress(index + 1, n)
    manifest = Manifest.create(info, cases, folder=out)
    manifest.save(out)
    return manifest


def utterance(rng: np.random.Generator, voice: Voice, *, config: VoiceConfig) -> Waveform:
    """Vowels of a voice one after another, over noise, (T,)."""
    parts = [
        vowel(
            rng,
            voice,
            formants_hz=FORMANTS_HZ[int(rng.integers(len(FORMANTS_HZ)))],
            duration_s=float(rng.uniform(*config.vowel_s)),
            sample_rate_hz=config.sample_rate_hz,
        )
        for _ in range(config.vowels)
    ]
    sound = np.concatenate(parts)
    noise = np.sqrt(mean_square(sound) * 10 ** (-rng.uniform(*config.snr_db) / 10))
    sound = sound + noise * rng.standard_normal(len(sound))
    return sound * 10 ** (PEAK_DBFS / 20) / np.abs(sound).max()


def vowel(
    rng: np.random.Generator,
    voice: Voice,
    *,
    formants_hz: tuple[float, ...],
    duration_s: float,
    sample_rate_hz: int,
) -> Waveform:
    """One vowel with a pitch that wavers by a tenth, (T,).

    Args:
        rng: Pitch and phases.
        voice: Who says it.
        formants_hz: Of the vowel, for a vocal tract of 1.
        duration_s: Length.
        sample_rate_hz: Samples a second.
    """
    samples = max(1, round(duration_s * sample_rate_hz))
    time_s = np.arange(samples) / sample_rate_hz
    start, end = voice.pitch_hz * rng.uniform(0.9, 1.1, 2)
    phase = 2 * np.pi * (start * time_s + (end - start) * time_s**2 / (2 * duration_s))
    harmonics: Waveform = np.arange(1.0, int(0.45 * sample_rate_hz / max(start, end)) + 1)
    gains = tract_gain(voice.pitch_hz * harmonics, tuple(voice.tract * f for f in formants_hz))
    gains *= 10 ** (TILT_DB_PER_OCTAVE * np.log2(harmonics) / 20)
    offsets = rng.uniform(0, 2 * np.pi, len(harmonics))
    sound = sum(
        gain * np.cos(k * phase + offset) for k, gain, offset in zip(harmonics, gains, offsets, strict=True)
    )
    ramp = min(samples / 2, RAMP_S * sample_rate_hz)
    nearest = np.minimum(np.arange(samples) + 0.5, samples - np.arange(samples) - 0.5)
    faded: Waveform = sound * np.minimum(1.0, nearest / ramp)
    return faded


def tract_gain(frequency_hz: Waveform, formants_hz: tuple[float, ...]) -> Waveform:
    """Gain of resonances in a row at frequencies (K,), 1 at 0 Hz."""
    gain = np.ones(len(frequency_hz))
    for centre_hz, width_hz in zip(formants_hz, BANDWIDTHS_HZ, strict=True):
        pole = -np.pi * width_hz + 2j * np.pi * centre_hz
        s = 2j * np.pi * frequency_hz
        gain *= np.abs(pole) ** 2 / np.abs((s - pole) * (s - pole.conjugate()))
    return gain


def _info(name: str, *, seed: int, names: list[str]) -> DatasetInfo:
    head = {
        "id": name,
        "title": f"Simulated voices, seed {seed}",
        "description": "Vowels of speakers with a pitch and a vocal tract of their own.",
        "licence": "CC0-1.0",
        "source": "tessera simulate simulated-voices",
        "role": "audio",
        "targets": {"speaker": {"kind": "class", "classes": names}},
        "splits": "folds 1 to 5 of each speaker's recordings: for learning to tell these speakers apart",
        "simulated": True,
    }
    return validate(DatasetInfo, head, source=f"the manifest of {name}")
