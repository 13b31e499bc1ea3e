"""Impulse responses of rooms: simulated from a room's volume and reverberation time, or read from files.

Sound of speed c that left the source t ago has met a wall 4 pi c^3 t^2 / V times a second in a room of volume
V (Kuttruff, *Room Acoustics*, chapter 4). Such a reflection has (r / ct)^2 of the energy of the direct sound,
which went the distance r, times what the walls leave of it, exp(-13.8 t / T60). Their energies together are
those of Barron and Lee, J. Acoust. Soc. Am. 84 (1988), 618: late and weak in a large room, where they come
one by one, and dense in a small one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tessera.audio.readers import SoundReader
from tessera.audio.room_acoustics import RoomAcoustics, room_acoustics
from tessera.audio.simulate.sources import DECAY_60_DB, Waveform
from tessera.core.errors import DataError, TesseraError

SOUND_SPEED = 343.0
"""Metres a second, at 20 degrees Celsius."""

CENTRES_HZ = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
"""Octave bands with a decay of their own."""

LONGEST_BAND = 1.5
"""Most that a band's reverberation time may be of the one at 1 kHz: walls of stone, without curtains."""

LENGTH_DB = 66.0
"""Where a simulated response is cut."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """A room, and where source and microphone stand in it.

    Args:
        volume_m3: V.
        t60_s: Reverberation time at 1 kHz.
        slope: Reverberation time at f is that at 1 kHz times (f / 1 kHz) ** -slope.
        distance_m: From the source to the microphone.
    """

    volume_m3: float
    t60_s: float
    slope: float
    distance_m: float

    @property
    def absorption(self) -> float:
        """Mean share of the energy that the walls of a cube of this volume take, after Sabine."""
        return 0.161 * self.volume_m3 / (self.t60_s * 6.0 * self.volume_m3 ** (2 / 3))

    def band_t60_s(self, centre_hz: float) -> float:
        """Reverberation time of a band."""
        return self.t60_s * min(LONGEST_BAND, (centre_hz / 1000.0) ** -self.slope)


@dataclass(frozen=True, kw_only=True)
class Response:
    """An impulse response with what it says of the room.

    Args:
        waveform: (T,), the direct sound near its beginning.
        sample_rate_hz: Samples a second.
        acoustics: Its parameters.
    """

    waveform: Waveform
    sample_rate_hz: int
    acoustics: RoomAcoustics


def simulate_response(rng: np.random.Generator, room: Room, *, sample_rate_hz: int) -> Response:
    """One response of a room, its direct sound of energy 1 in the first sample."""
    bands = [centre_hz for centre_hz in CENTRES_HZ if centre_hz < 0.5 * sample_rate_hz]
    longest_s = max(room.band_t60_s(centre_hz) for centre_hz in bands)
    samples = max(2, round(longest_s * LENGTH_DB / 60.0 * sample_rate_hz))
    arrival_s = room.distance_m / SOUND_SPEED
    time_s = arrival_s + np.arange(1, samples) / sample_rate_hz
    reflections = reflections_per_s(time_s, volume_m3=room.volume_m3) / sample_rate_hz
    # The sum of k reflections with random signs; about one in the early part of a large room.
    strength = np.sqrt(rng.poisson(reflections)) * rng.standard_normal(samples - 1)
    strength *= arrival_s / time_s
    waveform = np.zeros(samples)
    for centre_hz, part in zip(bands, _octaves(strength, bands, sample_rate_hz=sample_rate_hz), strict=True):
        waveform[1:] += part * np.exp(-DECAY_60_DB * time_s / room.band_t60_s(centre_hz))
    waveform[0] = 1.0
    return Response(
        waveform=waveform,
        sample_rate_hz=sample_rate_hz,
        acoustics=room_acoustics(waveform, sample_rate_hz),
    )


def reflections_per_s(time_s: Waveform, *, volume_m3: float) -> Waveform:
    """Reflections that arrive a second, at times after the sound left its source (T,)."""
    density: Waveform = 4.0 * math.pi * SOUND_SPEED**3 / volume_m3 * time_s**2
    return density


def _octaves(sound: Waveform, centres_hz: list[float], *, sample_rate_hz: int) -> list[Waveform]:
    """Bands of (T,) that add up to it again; each passes into the next from centre to centre."""
    spectrum = np.fft.rfft(sound)
    place = np.log2(np.maximum(np.fft.rfftfreq(len(sound), 1 / sample_rate_hz), 1e-3) / centres_hz[0])
    place = np.clip(place, 0.0, len(centres_hz) - 1)
    return [
        np.fft.irfft(spectrum * np.maximum(0.0, 1.0 - np.abs(place - number)), len(sound))
        for number in range(len(centres_hz))
    ]


def find_responses(folder: Path) -> Mapping[str, tuple[Path, ...]]:
    """Files of impulse responses by room, which is the name of the first folder below ``folder``."""
    rooms: dict[str, list[Path]] = {}
    for case in SoundReader().find(folder):
        room, below, _ = case.id.partition("/")
        if not below:
            raise DataError(
                f"{case.path('audio')} lies in no folder of a room",
                expected=f"{folder}/<room>/.../<file>",
                hint="put the responses of each room into a folder of its own",
            )
        rooms.setdefault(room, []).append(case.path("audio"))
    if len(rooms) < 2:
        raise DataError(
            f"{folder} holds the responses of one room only",
            found=", ".join(rooms),
            expected="one folder a room, two rooms or more, so that one can be left out",
            hint="name the folder that holds the rooms' folders",
        )
    return {room: tuple(files) for room, files in sorted(rooms.items())}


def read_response(path: Path) -> Response:
    """The first channel of a file as an impulse response, from its direct sound on."""
    (case,) = SoundReader().find(path)
    source = SoundReader().open(case)
    try:
        rate_hz = round(source.grid.rate_hz)
        waveform = source.samples(0, source.grid.n_samples)[0].astype(np.float64)
    finally:
        source.close()
    try:
        acoustics = room_acoustics(waveform, rate_hz)
    except TesseraError as error:
        raise DataError(f"{path}: {error.one_line()}") from None
    return Response(waveform=waveform, sample_rate_hz=rate_hz, acoustics=acoustics)
