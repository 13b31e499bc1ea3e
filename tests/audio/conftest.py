from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import ArrayLike

WriteSound = Callable[..., Path]
CODECS = {
    "short.wav": "PCM_16",
    "long.wav": "PCM_24",
    "float.wav": "FLOAT",
    "a.flac": "PCM_16",
    "b.flac": "PCM_24",
    "a.aiff": "PCM_16",
    "a.ogg": "VORBIS",
    "a.opus": "OPUS",
    "a.mp3": "MPEG_LAYER_III",
}


@pytest.fixture
def write_sound(tmp_path: Path) -> WriteSound:
    """Writes sound (T,) or (T, channels), full scale 1, below the test's folder and gives its path."""

    def write(name: str, sound: ArrayLike, rate: int = 16_000, **options: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, sound, rate, **options)
        return path

    return write


@pytest.fixture(scope="session")
def every_format(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same stereo sound of 100,000 samples at 16 kHz in every format, named as in CODECS.

    Beside them lies original.npy. The clicks make Vorbis change between its long and short blocks.
    """
    place = tmp_path_factory.mktemp("formats")
    rng = np.random.default_rng(0)
    sound = 0.3 * np.sin(2 * np.pi * 440 * np.arange(100_000) / 16_000)
    sound += 0.02 * rng.standard_normal(len(sound))
    sound[rng.integers(0, len(sound), 40)] += 0.5
    both = np.stack([sound, sound[::-1]], axis=1)
    for name, codec in CODECS.items():
        container = {"format": "OGG"} if name.endswith(".opus") else {}
        soundfile.write(place / name, both, 16_000, subtype=codec, **container)
    np.save(place / "original.npy", both)
    return place
