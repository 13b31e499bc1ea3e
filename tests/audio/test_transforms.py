"""Random changes of sound against closed forms, and their replay from the record."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tessera.audio.config import SoundConfig
from tessera.audio.transforms import SoundTransforms, WaveformChange
from tessera.core.transforms.interface import BatchTransforms

EVERYTHING: dict[str, Any] = {
    "speed": 0.2,
    "tempo": 0.3,
    "place_anywhere": True,
    "shift_fraction": 0.5,
    "reverb_s": [0.05, 0.2],
    "reverb_share": 0.8,
    "response_db": 6.0,
    "gain_db": 12.0,
    "noise_snr_db": [0.0, 20.0],
    "noise_colour_db": 6.0,
    "flip_sign": True,
}
RATE_HZ = 16_000  # of the default config
SHAPE = torch.Size((6, 1, 4000))


def transforms(**augment: Any) -> SoundTransforms:
    return SoundTransforms(SoundConfig.model_validate({"pipeline": "p", "preset": "t", "augment": augment}))


def draw(seed: int = 0, *, shape: torch.Size = SHAPE, **augment: Any) -> WaveformChange:
    return transforms(**augment).draw(shape, torch.Generator().manual_seed(seed))


def sound(shape: torch.Size = SHAPE) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def rms(x: Tensor) -> Tensor:
    """(B, C, T) -> (B,) in float64."""
    return x.double().square().mean(dim=(1, 2)).sqrt()


def test_transforms_satisfy_the_core_protocol() -> None:
    assert isinstance(transforms(), BatchTransforms)


@pytest.mark.parametrize("channels", [1, 7])
@pytest.mark.parametrize("length", [1, 33, 4000])
def test_shift_is_numpy_roll(channels: int, length: int) -> None:
    x = sound(torch.Size((6, channels, length)))
    shift = torch.tensor([0, 1, -1, 17, -length, 5 * length + 3])
    changed = transforms().apply(x, WaveformChange(shift=shift))
    expected = [np.roll(row.numpy(), k, axis=-1) for row, k in zip(x, shift.tolist(), strict=True)]
    np.testing.assert_array_equal(changed.numpy(), np.stack(expected))


def test_a_tone_played_faster_is_higher_and_shorter_by_the_same_factor() -> None:
    rate, f0 = 8000, 200.0
    t = torch.arange(rate, dtype=torch.float64) / rate
    tone = torch.sin(2 * torch.pi * f0 * t).float().expand(3, 1, -1)
    speed = torch.tensor([0.8, 1.0, 1.25])
    changed = transforms().apply(tone, WaveformChange(speed=speed))
    for row, factor in zip(changed[:, 0], speed.double().tolist(), strict=True):
        sounding = int((rate - 1) / factor) if factor > 1 else rate
        expected = torch.sin(2 * torch.pi * f0 * factor * t).float()
        torch.testing.assert_close(row[:sounding], expected[:sounding], atol=6e-3, rtol=0)  # straight lines
        assert not row[sounding + 1 :].any()


def test_speeds_fill_the_range_evenly_in_pitch() -> None:
    speed = draw(shape=torch.Size((5000, 1, 10)), speed=0.25).speed
    assert speed is not None
    assert 0.8 <= float(speed.min()) < 0.803
    assert 1.246 < float(speed.max()) <= 1.25
    assert abs(float(speed.log().mean())) < 0.01


def test_shifts_fill_the_range_asked_for() -> None:
    shift = draw(shape=torch.Size((5000, 1, 1000)), shift_fraction=0.25).shift
    assert shift is not None
    assert 245 <= int(shift.max()) <= 250
    assert -250 <= int(shift.min()) <= -245
    assert abs(float(shift.double().mean())) < 10  # uniform: 250 / sqrt(3) / sqrt(5000) = 2


def test_gain_is_in_decibels() -> None:
    x, change = sound(), draw(gain_db=12.0)
    assert change.gain is not None
    measured = 20 * torch.log10(rms(transforms().apply(x, change)) / rms(x))
    torch.testing.assert_close(measured, 20 * torch.log10(change.gain.double()), atol=1e-5, rtol=0)
    many = draw(shape=torch.Size((5000, 1, 1)), gain_db=12.0).gain
    assert many is not None
    assert 3.9 < float(many.max()) <= 10 ** (12 / 20)
    assert 10 ** (-12 / 20) <= float(many.min()) < 0.26


def test_half_of_the_rows_change_their_polarity_and_nothing_else() -> None:
    x = sound(torch.Size((2000, 1, 3)))
    changed = transforms(flip_sign=True).on_input(x, torch.zeros(2000, 2), torch.Generator().manual_seed(0))[
        0
    ]
    flipped = (changed == -x).all(dim=(1, 2))
    assert torch.equal(changed[~flipped], x[~flipped])
    assert 900 < int(flipped.sum()) < 1100  # 1000 +- 22


@pytest.mark.parametrize("shape", [(6, 1, 16_000), (6, 3, 100), (6, 1, 10)])
@pytest.mark.parametrize("level", [1e-4, 1.0, 100.0])
def test_noise_has_the_ratio_asked_for(shape: tuple[int, ...], level: float) -> None:
    x = level * sound(torch.Size(shape))
    change = draw(shape=x.shape, noise_snr_db=[-5.0, 30.0])
    assert change.noise_snr_db is not None
    added = transforms().apply(x, change) - x
    measured = 20 * torch.log10(rms(x) / rms(added))
    torch.testing.assert_close(measured, change.noise_snr_db.double(), atol=0.1, rtol=0)
    assert len(set(change.noise_snr_db.tolist())) == len(x)


def test_noise_is_white_and_independent_of_the_row() -> None:
    noise = draw(shape=torch.Size((4, 1, 40_000)), noise_snr_db=[0.0, 0.0]).noise
    assert noise is not None
    power = torch.fft.rfft(noise[:, 0]).abs().square()[:, :20_000].reshape(4, 20, 1000).mean(dim=2) / 40_000
    assert float((power - 1).abs().max()) < 0.15  # each band of 1000 bins: 1 +- 0.03
    correlation = np.corrcoef(noise[:, 0].numpy())
    assert np.abs(correlation - np.eye(4)).max() < 0.03  # 1 / sqrt(40,000) = 0.005


def test_everything_at_once_is_the_composition_of_the_parts() -> None:
    x, change = sound(), draw(**EVERYTHING)
    x[:, :, 3000:] = 0
    expected = x
    for name in ("speed", "tempo", "place", "shift", "room", "curve_db", "noise", "gain"):
        names = ("noise", "noise_snr_db") if name == "noise" else (name,)
        part = WaveformChange(**{name: getattr(change, name) for name in names})
        assert getattr(part, name) is not None
        changed = transforms().apply(expected, part)
        assert not torch.equal(changed, expected), name
        expected = changed
    torch.testing.assert_close(transforms().apply(x, change), expected, rtol=0, atol=0)


def test_noise_with_a_colour_has_the_spread_asked_for() -> None:
    shape = torch.Size((400, 1, 4096))
    noise = draw(shape=shape, noise_snr_db=[0.0, 0.0], noise_colour_db=6.0).noise
    assert noise is not None
    power = torch.fft.rfft(noise[:, 0]).abs().square()
    lowest, highest = (
        10 * torch.log10(power[:, part].mean(dim=1)) for part in (slice(1, 24), slice(-200, None))
    )
    difference = (
        highest - lowest
    ).std()  # odd terms differ by twice their size: 6 sqrt(4 (1 + 1/3) / (11/6)) dB
    assert 9.0 < float(difference) < 11.5


def test_the_response_has_the_spread_asked_for_at_both_ends() -> None:
    curve_db = draw(shape=torch.Size((5000, 1, 8)), response_db=6.0).curve_db
    assert curve_db is not None
    signs = torch.tensor([-1.0, 1.0, -1.0])
    assert abs(float(curve_db.sum(dim=1).std()) - 6.0) < 0.2
    assert abs(float((curve_db @ signs).std()) - 6.0) < 0.2


def test_the_recorded_change_gives_the_same_result_again() -> None:
    x, target = sound(), torch.eye(6)
    chain = transforms(**EVERYTHING)
    first = chain.on_input(x, target, torch.Generator().manual_seed(3))[0]
    change = chain.draw(x.shape, torch.Generator().manual_seed(3))
    assert torch.equal(chain.apply(x, change), first)
    assert torch.equal(chain.apply(x, change), first)
    assert not torch.equal(first, chain.on_input(x, target, torch.Generator().manual_seed(4))[0])


def test_draws_do_not_touch_or_depend_on_ambient_random_state() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    one = draw(**EVERYTHING)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    two = draw(**EVERYTHING)
    for name in vars(one):
        assert torch.equal(getattr(one, name), getattr(two, name))


def test_a_row_is_changed_in_the_same_way_whatever_the_others_are() -> None:
    x, other = sound(), sound()
    other[1:] = 0.0
    chain, target = transforms(**EVERYTHING), torch.eye(6)
    rows = [chain.on_input(y, target, torch.Generator().manual_seed(0))[0][0] for y in (x, other)]
    assert torch.equal(*rows)


def test_the_input_itself_is_left_alone() -> None:
    x = sound()
    before = x.clone()
    transforms(**EVERYTHING, mixup_alpha=0.4).on_input(x, torch.eye(6), torch.Generator().manual_seed(0))
    assert torch.equal(x, before)


def test_nothing_happens_and_nothing_is_drawn_when_all_is_off(caplog: pytest.LogCaptureFixture) -> None:
    x, target, features = sound(), torch.eye(6), sound(torch.Size((6, 1, 8, 9)))
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    chain = transforms()
    changed, same_target = chain.on_input(x, target, generator)
    assert changed is x
    assert same_target is target
    assert chain.on_features(features, target, generator)[0] is features
    assert torch.equal(generator.get_state(), state)
    assert not caplog.records


def test_a_shift_below_one_sample_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    chain = transforms(shift_fraction=0.01)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            chain.draw(torch.Size((2, 1, 50)), torch.Generator().manual_seed(0))
    (record,) = caplog.records
    assert "augment.shift_fraction" in record.getMessage()


def test_silent_rows_stay_silent() -> None:
    chain = transforms(**EVERYTHING, mixup_alpha=0.0)
    changed = chain.on_input(torch.zeros(SHAPE), torch.eye(6), torch.Generator().manual_seed(0))[0]
    assert torch.equal(changed, torch.zeros(SHAPE))


def test_the_changes_of_sound_come_before_the_mixing_and_masks_of_features() -> None:
    x, target = sound(), torch.eye(6)
    chain = transforms(**EVERYTHING, mixup_alpha=0.4, mask_count=[1, 1], mask_width=[0.5, 0.5])
    changed, same = chain.on_input(x, target, torch.Generator().manual_seed(5))
    assert same is target
    torch.testing.assert_close(changed, chain.apply(x, chain.draw(x.shape, torch.Generator().manual_seed(5))))
    _, shares = chain.on_features(sound(torch.Size((6, 1, 20, 30))), target, torch.Generator().manual_seed(0))
    assert not torch.equal(shares, target)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(6))
