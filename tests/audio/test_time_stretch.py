"""Other paces in the time domain, against closed forms and librosa."""

from __future__ import annotations

from collections.abc import Callable

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from tessera.audio.time_stretch import by_best_overlap, by_overlap, by_parts, harmonic_and_percussive
from tessera.audio.waveform_changes import sounding_samples

RATE_HZ = 8000
FRAME = 256
WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ola": lambda sound, tempo: by_overlap(sound, tempo, frame=FRAME),
    "wsola": lambda sound, tempo: by_best_overlap(sound, tempo, frame=FRAME),
    "hpss": lambda sound, tempo: by_parts(sound, tempo, n_fft=FRAME),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def noise(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def tone(hertz: float, samples: int = RATE_HZ) -> Tensor:
    return torch.sin(2 * torch.pi * hertz * torch.arange(samples) / RATE_HZ)


@every_way
def test_a_pace_of_one_changes_nothing(way: Callable[[Tensor, Tensor], Tensor]) -> None:
    sound = noise(2, 2, 3001)
    torch.testing.assert_close(way(sound, torch.ones(2)), sound, atol=2e-5, rtol=0)


@every_way
def test_a_sound_becomes_shorter_or_longer_and_silence_follows(
    way: Callable[[Tensor, Tensor], Tensor],
) -> None:
    sound = torch.zeros(3, 1, RATE_HZ)
    sound[:, 0, :3000] = tone(440.0, 3000)
    changed = way(sound, torch.tensor([0.5, 0.8, 1.5]))
    assert sounding_samples(changed).tolist() == pytest.approx([6000, 3750, 2000], abs=FRAME // 8)
    assert not way(torch.zeros(1, 1, 500), torch.tensor([0.8])).any()


@pytest.mark.parametrize("name", ["wsola", "hpss"])
@pytest.mark.parametrize("tempo", [0.8, 1.5])
def test_a_tone_keeps_its_pitch_and_its_level(name: str, tempo: float) -> None:
    changed = WAYS[name](tone(437.0)[None, None], torch.tensor([tempo]))[0, 0]
    part = changed[1000 : int(RATE_HZ / max(1.0, tempo)) - 1000]
    spectrum = torch.fft.rfft(part * torch.hann_window(len(part)), 64_000).abs()
    assert abs(float(spectrum.argmax()) * RATE_HZ / 64_000 - 437.0) < 2
    assert abs(10 * np.log10(float(part.square().mean()) / 0.5)) < 1.0


def test_the_best_overlap_joins_a_tone_without_a_seam_where_the_plain_one_beats() -> None:
    sound, tempo = tone(521.0)[None, None], torch.tensor([1.3])  # frames meet half a period apart
    inside = slice(500, 5500)

    def unevenness(changed: Tensor) -> float:
        levels = changed[0, 0, inside].reshape(-1, 100).square().mean(dim=1)
        return float(levels.std() / levels.mean())

    assert 5 * unevenness(WAYS["wsola"](sound, tempo)) < unevenness(WAYS["ola"](sound, tempo))


def test_a_click_stays_a_click_and_moves_to_its_new_time() -> None:
    sound = torch.zeros(1, 1, RATE_HZ)
    sound[0, 0, 3000] = 1.0
    changed = WAYS["hpss"](sound, torch.tensor([1.5]))[0, 0]
    energy = changed.square()
    near = energy[2000 - FRAME // 8 : 2000 + FRAME // 8].sum()
    assert float(near / energy.sum()) > 0.8


@every_way
def test_each_row_has_its_own_pace(way: Callable[[Tensor, Tensor], Tensor]) -> None:
    sound, tempo = noise(3, 2, 2500), torch.tensor([0.8, 1.0, 1.5])
    together = way(sound, tempo)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], way(sound[i : i + 1], tempo[i : i + 1]))


def test_the_two_parts_add_up_and_are_librosas() -> None:
    sound = 0.5 * tone(500.0)
    sound[::1000] += 1.0
    tones, clicks = harmonic_and_percussive(sound[None, None], n_fft=FRAME)
    torch.testing.assert_close((tones + clicks)[0, 0], sound, atol=1e-6, rtol=0)
    frames = librosa.stft(sound.numpy(), n_fft=FRAME, hop_length=FRAME // 4)
    expected, _ = librosa.decompose.hpss(frames, kernel_size=17, power=4.0)  # of amplitudes: ours are powers
    found = librosa.stft(tones[0, 0].numpy(), n_fft=FRAME, hop_length=FRAME // 4)
    again = librosa.stft(
        librosa.istft(expected, hop_length=FRAME // 4, length=RATE_HZ), n_fft=FRAME, hop_length=FRAME // 4
    )
    inside = slice(10, -10)  # at the ends the medians see other neighbours
    difference = np.abs(found - again)[inside, inside]
    assert np.median(difference) < 1e-3 * np.abs(frames).max()
