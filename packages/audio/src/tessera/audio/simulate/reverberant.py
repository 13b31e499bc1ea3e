"""Reverberant sounds as a data set: dry sounds through impulse responses of rooms with known parameters.

Dry sounds are simulated, or recordings of a folder; responses are simulated, or files of a folder, or both.
A clip is a stretch of sounds with pauses between them, convolved with one response, over weak noise. Its
target ``t30_s`` is the T30 of that response over its whole band, whatever the clip's sample rate;
``log10_volume`` is known where the room is simulated.

No room and no dry recording is on two sides of a split: the folds are the rooms of the responses, beside
which ``simulated`` holds the simulated ones, and each dry recording is used in one fold alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from tessera.audio.simulate.draws import log_uniform
from tessera.audio.simulate.dry import DrySounds
from tessera.audio.simulate.files import FOLDS, replace_file, wav_bytes
from tessera.audio.simulate.responses import (
    Response,
    Room,
    find_responses,
    read_response,
    simulate_response,
)
from tessera.audio.simulate.room import coloured_noise, gain_for_snr
from tessera.audio.simulate.scenes import Range
from tessera.audio.simulate.sources import Waveform
from tessera.audio.windows import resample
from tessera.core.config import Config, validate
from tessera.core.data.case import Case, FileRef, Target
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.manifest import Manifest
from tessera.core.data.simulated import check_request
from tessera.core.errors import ConfigError, DataError
from tessera.core.run_config import Fraction

SIMULATED = "simulated"
ABSORPTION = (0.02, 0.7)  # least and most of a room's walls: bare stone, a studio
FARTHEST = 0.7  # the source stands at most this share of a cube's edge away
TRIES = 1000  # draws of a room until one is possible
PINK_DB_PER_DECADE = -10.0

log = logging.getLogger(__name__)


class ReverberantConfig(Config):
    """What reverberant sounds are made of; each pair is (lowest, highest)."""

    sample_rate_hz: int = Field(16_000, ge=8000, le=192_000, description="samples a second of the clips")
    duration_s: float = Field(4.0, ge=1.0, le=600.0, description="length of a clip, s")
    responses: Path | None = Field(
        None, description="folder of impulse responses, one folder a room; null: all are simulated"
    )
    dry: Path | None = Field(None, description="folder of dry recordings; null: they are simulated")
    simulated: Fraction = Field(0.5, description="share of simulated rooms where there are responses")
    t60_s: Range = Field((0.2, 6.0), description="simulated reverberation time at 1 kHz, s")
    volume_m3: Range = Field((30.0, 20_000.0), description="simulated volume, cubic metres")
    distance_m: Range = Field((0.5, 16.0), description="from source to microphone, m")
    slope: Range = Field((0.0, 0.4), description="how fast simulated reverberation time falls with frequency")
    pause_s: Range = Field((0.1, 1.0), description="silence between two dry sounds, s")
    snr_db: Range = Field((20.0, 50.0), description="the reverberant sound above pink noise, dB")
    level_dbfs: Range = Field((-20.0, -3.0), description="highest peak of a clip, dB re full scale")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("t60_s", "volume_m3", "distance_m"):
            if getattr(self, name)[0] <= 0:
                raise ValueError(f"{name}: {getattr(self, name)[0]:g} is not above 0")
        if self.pause_s[0] < 0 or self.level_dbfs[1] > 0:
            raise ValueError("pause_s is not negative, and level_dbfs not above 0")
        return self


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """Where a clip's response comes from, and its side of the splits."""

    fold: str
    group: str
    file: Path | None = None


def simulate_reverberant_sounds(
    out: Path,
    *,
    n: int,
    seed: int,
    values: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write clips and a manifest with the targets ``t30_s`` and ``log10_volume`` below ``out``.

    Args:
        out: New folder; its name becomes the data set's id.
        n: Number of clips; rooms take turns, and each room's responses.
        seed: The same seed gives the same bytes; more clips begin with the same ones.
        values: Fields of ``ReverberantConfig`` that differ from its defaults.
        progress: Called with (done, n).
    """
    config = validate(ReverberantConfig, values or {}, source="reverberant-sounds")
    check_request("clips", n=n, seed=seed)
    info = _info(out.resolve().name, seed=seed, config=config)
    rooms = {} if config.responses is None else _telling(find_responses(config.responses))
    origins = _origins(n, rooms, seed=seed, simulated=config.simulated)
    folds = (*rooms, SIMULATED) if rooms else tuple(str(number + 1) for number in range(FOLDS))
    dry = DrySounds(config.dry, parts=folds, sample_rate_hz=config.sample_rate_hz, seed=seed)
    (out / "audio").mkdir(parents=True, exist_ok=True)
    cases = []
    for index, origin in enumerate(origins):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        cases.append(_write_clip(out, index, origin, rng, dry=dry, config=config))
        if progress is not None:
            progress(index + 1, n)
    manifest = Manifest.create(info, cases, folder=out)
    manifest.save(out)
    return manifest


def draw_room(rng: np.random.Generator, config: ReverberantConfig) -> Room:
    """A room whose walls could be those of a building, source and microphone inside it."""
    for _ in range(TRIES):
        volume_m3 = log_uniform(rng, *config.volume_m3)
        nearest, farthest = config.distance_m
        room = Room(
            volume_m3=volume_m3,
            t60_s=log_uniform(rng, *config.t60_s),
            slope=float(rng.uniform(*config.slope)),
            distance_m=log_uniform(
                rng, nearest, max(nearest, min(farthest, FARTHEST * volume_m3 ** (1 / 3)))
            ),
        )
        if ABSORPTION[0] <= room.absorption <= ABSORPTION[1]:
            return room
    raise ConfigError(
        "no room with such a volume has such a reverberation time",
        found=f"volume_m3 {config.volume_m3}, t60_s {config.t60_s}",
        expected=f"walls that take {ABSORPTION[0]:.0%} to {ABSORPTION[1]:.0%} of the energy (Sabine)",
    )


def reverberant(dry: Waveform, response: Waveform) -> Waveform:
    """Dry sound (T,) through a room, cut to the same length."""
    size = len(dry) + len(response) - 1
    return np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(response, size), size)[: len(dry)]


def _telling(rooms: Mapping[str, tuple[Path, ...]]) -> dict[str, tuple[Path, ...]]:
    """The responses that have a T30."""
    kept: dict[str, tuple[Path, ...]] = {}
    dropped = 0
    for room, files in rooms.items():
        good = tuple(file for file in files if math.isfinite(read_response(file).acoustics.t30_s))
        dropped += len(files) - len(good)
        if good:
            kept[room] = good
    if dropped:
        log.warning(
            "%d responses have no T30 (noise, or too strong a direct sound) and are left out", dropped
        )
    if not kept:
        raise DataError("none of the responses has a T30")
    return kept


def _origins(n: int, rooms: Mapping[str, tuple[Path, ...]], *, seed: int, simulated: float) -> list[_Origin]:
    """Rooms in turn, each room's responses in a shuffled turn; simulated ones evenly between them."""
    rng = np.random.default_rng([seed, 0])
    names = list(rooms)
    shuffled = {name: [files[i] for i in rng.permutation(len(files))] for name, files in rooms.items()}
    origins: list[_Origin] = []
    for index in range(n):
        clip = _clip_name(index)
        if not rooms:
            origins.append(_Origin(fold=str(index % FOLDS + 1), group=clip))
            continue
        if math.floor((index + 1) * simulated) > math.floor(index * simulated):
            origins.append(_Origin(fold=SIMULATED, group=clip))
            continue
        turn, number = divmod(index - math.floor(index * simulated), len(names))
        room = names[number]
        file = shuffled[room][turn % len(shuffled[room])]
        origins.append(_Origin(fold=room, group=room, file=file))
    return origins


def _write_clip(
    out: Path,
    index: int,
    origin: _Origin,
    rng: np.random.Generator,
    *,
    dry: DrySounds,
    config: ReverberantConfig,
) -> Case:
    rate_hz = config.sample_rate_hz
    room, response = _response(rng, origin, config)
    heard = resample(response.waveform.astype(np.float32), response.sample_rate_hz, rate_hz)
    samples = round(config.duration_s * rate_hz)
    lead = int(rng.integers(0, samples // 2 + 1))  # so that a clip begins in the middle of things
    track = dry.track(rng, part=origin.fold, samples=lead + samples, pause_s=config.pause_s)
    wet = reverberant(track, heard.astype(np.float64))[lead:]
    snr_db = float(rng.uniform(*config.snr_db))
    noise = coloured_noise(
        rng, samples=samples, sample_rate_hz=rate_hz, slope_db_per_decade=PINK_DB_PER_DECADE
    )
    clip = wet * gain_for_snr(wet, noise_power=1.0, snr_db=snr_db) + noise
    clip *= 10 ** (float(rng.uniform(*config.level_dbfs)) / 20) / np.abs(clip).max()
    name = _clip_name(index)
    path = Path("audio", f"{name}.wav")
    replace_file(out / path, wav_bytes(clip.astype(np.float32), rate_hz))
    acoustics = response.acoustics
    targets: dict[str, Target] = {"t30_s": round(acoustics.t30_s, 4)}
    if room is not None:
        targets["log10_volume"] = round(math.log10(room.volume_m3), 4)
    facts = {
        **{key: value for key, value in vars(acoustics).items() if key not in ("t30_s", "range_db")},
        **({} if room is None else vars(room)),
        "snr_db": snr_db,
    }
    meta = {key: f"{value:.4g}" for key, value in facts.items()}
    meta["response"] = SIMULATED
    if origin.file is not None and config.responses is not None:
        meta["response"] = origin.file.relative_to(config.responses).as_posix()
    return Case(
        id=name,
        files={"audio": FileRef(path=out / path)},
        targets=targets,
        group=origin.group,
        split=origin.fold,
        meta=meta,
    )


def _response(
    rng: np.random.Generator, origin: _Origin, config: ReverberantConfig
) -> tuple[Room | None, Response]:
    if origin.file is not None:
        return None, read_response(origin.file)
    for _ in range(TRIES):
        room = draw_room(rng, config)
        response = simulate_response(rng, room, sample_rate_hz=config.sample_rate_hz)
        if math.isfinite(response.acoustics.t30_s):
            return room, response
    raise ConfigError("no simulated response has a T30", hint="let the source stand further away: distance_m")


def _clip_name(index: int) -> str:
    return f"clip-{index + 1:05d}"


def _info(name: str, *, seed: int, config: ReverberantConfig) -> DatasetInfo:
    measured = config.responses is not None
    sounds = "simulated sounds" if config.dry is None else f"recordings of {_place(config.dry)}"
    rooms = "simulated responses"
    if config.responses is not None:
        rooms = f"responses of {_place(config.responses)} and simulated ones"
    head = {
        "id": name,
        "title": f"Reverberant sounds, seed {seed}",
        "description": f"Dry {sounds} through {rooms}, over noise. t30_s is the T30 of the response after "
        "ISO 3382-1; log10_volume is known of simulated rooms.",
        "licence": "CC0-1.0" if config.dry is None and not measured else "",
        "source": "tessera simulate reverberant-sounds",
        "role": "audio",
        "targets": {
            "t30_s": {"kind": "number", "unit": "s"},
            "log10_volume": {"kind": "number", "unit": "log10 m3", "partial": measured},
        },
        "splits": f"one fold a room, and {SIMULATED}" if measured else "folds 1 to 5, each clip its own room",
        "simulated": True,
    }
    return validate(DatasetInfo, head, source=f"the manifest of {name}")


def _place(folder: Path) -> str:
    """The last two names of a folder's path."""
    return "/".join(folder.resolve().parts[-2:])
