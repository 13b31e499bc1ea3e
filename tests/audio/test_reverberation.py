"""Random rooms on the batch: closed forms, scipy's convolution, and files of responses."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve
from torch import Tensor

from tessera.audio.config import SoundConfig
from tessera.audio.reverberation import decaying_responses, read_responses
from tessera.audio.room_acoustics import room_acoustics
from tessera.audio.transforms import SoundTransforms
from tessera.audio.waveform_changes import in_rooms
from tessera.core.config import trained
from tessera.core.errors import DataError

RATE_HZ = 8000
WriteSound = Callable[..., Path]


def transforms(**augment: Any) -> SoundTransforms:
    data = {"sample_rate_hz": RATE_HZ, "window_s": 1.0}
    values = {"pipeline": "p", "preset": "t", "data": data, "augment": augment}
    return SoundTransforms(SoundConfig.model_validate(values))


def rooms(rows: int = 200, *, seed: int = 0, length: int = RATE_HZ, **augment: Any) -> Tensor:
    shape = torch.Size((rows, 1, length))
    room = transforms(**augment).draw(shape, torch.Generator().manual_seed(seed)).room
    assert room is not None
    return room


def noise(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize(("length", "samples"), [(500, 200), (501, 501), (300, 900), (64, 1)])
def test_sound_in_rooms_is_scipys_convolution(length: int, samples: int) -> None:
    sound, response = noise(3, 2, length), noise(3, samples)
    found = in_rooms(sound, response).numpy()
    for row in range(3):
        for channel in range(2):
            expected = fftconvolve(sound[row, channel].numpy(), response[row].numpy())[:length]
            np.testing.assert_allclose(found[row, channel], expected, atol=2e-4)


def test_a_drawn_room_has_the_time_and_the_direct_sound_it_was_drawn_with() -> None:
    t60_s, direct_db = torch.tensor([0.2, 0.5, 0.5]), torch.tensor([0.0, 0.0, 12.0])
    response = decaying_responses(noise(3, RATE_HZ), t60_s, direct_db, sample_rate_hz=RATE_HZ)
    torch.testing.assert_close(response.square().sum(dim=1), torch.ones(3))
    ratio = response[:, 0].square() / response[:, 1:].square().sum(dim=1)
    torch.testing.assert_close(10 * torch.log10(ratio), direct_db, atol=1e-4, rtol=0)
    for row, expected in zip(response.numpy(), (0.2, 0.5, 0.5), strict=True):
        assert room_acoustics(row, RATE_HZ).t30_s == pytest.approx(expected, rel=0.05)


def test_drawn_rooms_fill_the_ranges() -> None:
    found = rooms(reverb_s=[0.1, 0.4], reverb_direct_db=[-3.0, 6.0])
    assert found.shape == (200, round(0.4 * RATE_HZ) + 1)
    ratio = 10 * torch.log10(found[:, 0].square() / found[:, 1:].square().sum(dim=1))
    assert -3.01 < float(ratio.min()) < -2.7
    assert 5.7 < float(ratio.max()) < 6.01
    first, second = (found[:, 1 + k * 400 :][:, :400].square().sum(dim=1).log() for k in (0, 1))
    t60_s = 2 * math.log(1000) * 400 / RATE_HZ / (first - second)  # of two parts 50 ms apart
    assert abs(float(t60_s.median()) - 0.25) < 0.03
    assert float(t60_s.quantile(0.05)) > 0.08
    assert float(t60_s.quantile(0.95)) < 0.55


def test_a_room_is_never_longer_than_the_window() -> None:
    sound = noise(4, 1, 1000)
    changed = transforms(reverb_s=[2.0, 3.0])
    room = changed.draw(sound.shape, torch.Generator().manual_seed(0)).room
    assert room is not None
    assert room.shape[1] <= 1001
    assert changed.on_input(sound, torch.eye(4), torch.Generator().manual_seed(0))[0].shape == sound.shape


def test_only_the_share_asked_for_is_in_a_room() -> None:
    sound, target = noise(400, 1, 200), torch.zeros(400, 2)
    chain = transforms(reverb_s=[0.01, 0.02], reverb_share=0.25)
    changed = chain.on_input(sound, target, torch.Generator().manual_seed(0))[0]
    same = torch.isclose(changed, sound, atol=1e-5).all(dim=-1)
    assert 70 < int((~same).sum()) < 130  # 100 +- 9


def test_nothing_sounds_before_the_sound_itself() -> None:
    sound = torch.zeros(2, 1, 1000)
    sound[..., 600] = 1.0
    changed = transforms(reverb_s=[0.1, 0.2]).on_input(sound, torch.eye(2), torch.Generator().manual_seed(0))[
        0
    ]
    assert float(changed[..., :600].abs().max()) < 1e-6
    assert float(changed[..., 700:].abs().max()) > 1e-3


@pytest.fixture
def folder(write_sound: WriteSound, tmp_path: Path) -> Path:
    decay = np.exp(-math.log(1000) * np.arange(4000) / RATE_HZ / 0.2)
    write_sound("rooms/a/plain.wav", 0.5 * decay, RATE_HZ, subtype="FLOAT")
    write_sound("rooms/b/late.wav", 0.1 * np.concatenate([np.zeros(3000), decay]), RATE_HZ, subtype="FLOAT")
    return tmp_path / "rooms"


def test_responses_of_files_begin_at_their_onset_and_have_one_energy(folder: Path) -> None:
    found = read_responses(folder, sample_rate_hz=RATE_HZ, samples=2000)
    assert found.shape == (2, 2000)
    decay = torch.exp(-math.log(1000) * torch.arange(2000) / RATE_HZ / 0.2)
    expected = decay / decay.square().sum().sqrt()
    torch.testing.assert_close(found, expected.expand(2, 2000), atol=1e-5, rtol=1e-4)
    longer = read_responses(folder, sample_rate_hz=RATE_HZ, samples=6000)
    assert not longer[:, 4000:].any()


def test_responses_come_at_the_networks_rate(folder: Path) -> None:
    found = read_responses(folder, sample_rate_hz=2 * RATE_HZ, samples=8000)
    assert room_acoustics(found[0].numpy(), 2 * RATE_HZ).t20_s == pytest.approx(0.2, rel=0.02)


def test_a_folder_of_responses_is_drawn_from_evenly_and_not_carried_along(folder: Path) -> None:
    found = rooms(rows=400, responses=str(folder))
    both = read_responses(folder, sample_rate_hz=RATE_HZ, samples=RATE_HZ)
    torch.testing.assert_close(both[0, :1000], both[1, :1000], atol=1e-4, rtol=0)
    assert found.shape == (400, RATE_HZ)
    last = (found[:, 3990] != found[0, 3990]).sum()
    assert 160 < int(last) < 240  # the two differ in their last bits
    config = SoundConfig.model_validate(
        {"pipeline": "p", "preset": "t", "augment": {"responses": str(folder)}}
    )
    assert trained(config).augment.responses is None


def test_what_is_no_response_is_left_out_and_said(
    folder: Path, write_sound: WriteSound, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "broken.wav").write_bytes(b"RIFF")
    write_sound("rooms/silent.wav", np.zeros(100), RATE_HZ)
    with caplog.at_level(logging.WARNING):
        assert len(read_responses(folder, sample_rate_hz=RATE_HZ, samples=100)) == 2
    assert sorted(("silent" in r.getMessage(), "broken" in r.getMessage()) for r in caplog.records) == [
        (False, True),
        (True, False),
    ]
    write_sound("nothing/silent.wav", np.zeros(100), RATE_HZ)
    with pytest.raises(DataError, match=r"augment\.responses"):
        read_responses(tmp_path / "nothing", sample_rate_hz=RATE_HZ, samples=100)


@pytest.mark.parametrize(
    ("augment", "named"),
    [
        ({"reverb_s": [0.5, 0.1]}, "reverb_s"),
        ({"reverb_s": [0.0, 0.1]}, "reverb_s"),
        ({"reverb_direct_db": [3.0, 0.0]}, "reverb_direct_db"),
        ({"reverb_s": [0.1, 0.2], "responses": "rooms"}, "give one"),
        ({"reverb_share": 1.5}, "reverb_share"),
    ],
)
def test_options_that_make_no_sense_are_refused(augment: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        transforms(**augment)
