"""Simulated voices against the source-filter model, and their data set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tessera.audio.simulate import VoiceConfig, simulate_voices
from tessera.audio.simulate.voices import FORMANTS_HZ, Voice, tract_gain, utterance, vowel
from tessera.core.data.manifest import Manifest
from tessera.core.errors import ConfigError

RATE_HZ = 16_000


def test_a_vowel_has_its_speakers_pitch_and_formants() -> None:
    """The strongest harmonics lie at the formants, which go with the vocal tract."""
    voice = Voice(pitch_hz=100.0, tract=1.3)
    sound = vowel(
        np.random.default_rng(0), voice, formants_hz=FORMANTS_HZ[0], duration_s=0.5, sample_rate_hz=RATE_HZ
    )
    level = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    hertz = np.fft.rfftfreq(len(sound), 1 / RATE_HZ)
    near = [level[np.abs(hertz - place) < 60].max() for place in (1.3 * 730, 1.3 * 1090, 730, 6000)]
    assert near[0] > 2 * near[2]
    assert near[1] > 20 * near[3]
    autocorrelation = np.fft.irfft(np.abs(np.fft.rfft(sound, 2 * len(sound))) ** 2)
    period = 80 + int(np.argmax(autocorrelation[80:320]))  # between 50 and 200 Hz
    assert RATE_HZ / period == pytest.approx(100.0, rel=0.12)


def test_resonances_have_their_gain() -> None:
    """1 at 0 Hz; above three resonances 36 dB an octave; a sharp one stands out by centre over bandwidth."""
    gain = tract_gain(np.array([0.0, 500.0, 80_000.0, 160_000.0]), (500.0, 7000.0, 9000.0))
    assert gain[0] == pytest.approx(1.0)
    assert gain[1] == pytest.approx(500 / 80, rel=0.02)
    assert 20 * np.log10(gain[2] / gain[3]) == pytest.approx(36.12, abs=0.3)


def simulate(out: Path, n: int = 10, seed: int = 1, **values: Any) -> Manifest:
    return simulate_voices(out, n=n, seed=seed, values={"sample_rate_hz": 8000, "speakers": 3} | values)


def test_speakers_take_turns_and_each_fold_has_every_speaker(tmp_path: Path) -> None:
    made = simulate(tmp_path / "voices", n=30)
    loaded = Manifest.load(tmp_path / "voices")
    assert (loaded.digest, loaded.verify(), loaded.info.simulated) == (made.digest, [], True)
    assert Counter(case.targets["speaker"] for case in loaded.cases) == dict.fromkeys(
        ("voice-001", "voice-002", "voice-003"), 10
    )
    assert len({(case.split, case.targets["speaker"]) for case in loaded.cases}) == 15
    voices = {(case.targets["speaker"], case.meta["pitch_hz"], case.meta["tract"]) for case in loaded.cases}
    assert len(voices) == 3
    assert soundfile.info(loaded.cases[0].path("audio")).samplerate == 8000


def test_more_recordings_begin_with_the_same_ones(tmp_path: Path) -> None:
    made = [simulate(tmp_path / name / "voices", n=n) for name, n in (("a", 4), ("b", 6))]
    hashes = [[case.all_files()[0].sha256 for case in one.cases] for one in made]
    assert hashes[0] == hashes[1][:4]


def test_an_utterance_is_its_vowels_at_its_level() -> None:
    config = VoiceConfig(vowels=4, vowel_s=(0.1, 0.1))
    sound = utterance(np.random.default_rng(0), Voice(120.0, 1.0), config=config)
    assert len(sound) == 4 * 1600
    assert np.abs(sound).max() == pytest.approx(10 ** (-6 / 20))


@pytest.mark.parametrize("values", [{"speakers": 1}, {"vowel_s": [0.3, 0.1]}, {"voice": 1}])
def test_a_bad_value_is_named(tmp_path: Path, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        simulate(tmp_path / "voices", **values)
    with pytest.raises(ConfigError, match="n >= 1"):
        simulate(tmp_path / "voices", n=0)
