"""Room-acoustic parameters against closed forms, and against another implementation's on real responses."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from tessera.audio.room_acoustics import decay_curve, room_acoustics
from tessera.core.errors import DataError

RATE_HZ = 16_000
LN_1000 = math.log(1000.0)  # exp(-LN_1000) is 60 dB in amplitude

Array = npt.NDArray[np.float64]


def exponential(t60_s: float, seconds: float, *, rate_hz: int = RATE_HZ) -> Array:
    return np.exp(-LN_1000 * np.arange(round(seconds * rate_hz)) / rate_hz / t60_s)


def noisy_decay(t60_s: float, *, noise_db: float, seed: int) -> Array:
    """Decaying Gaussian noise of level 0 dB over stationary noise."""
    rng = np.random.default_rng(seed)
    decay = exponential(t60_s, 2.5 * t60_s)
    return rng.standard_normal(len(decay)) * decay + 10 ** (noise_db / 20) * rng.standard_normal(len(decay))


@pytest.mark.parametrize("t60_s", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("length", [0.8, 1.5, 3.0])
def test_an_exponential_decay_has_its_own_time_and_clarity(t60_s: float, length: float) -> None:
    """Also where the file ends 48 dB down: the rest of the decay is added."""
    found = room_acoustics(exponential(t60_s, length * t60_s), RATE_HZ)
    for measured in (found.t20_s, found.t30_s, found.edt_s):
        assert measured == pytest.approx(t60_s, rel=1e-5)
    for early_s, clarity_db in ((0.05, found.c50_db), (0.08, found.c80_db)):
        expected = 10 * math.log10(math.exp(2 * LN_1000 * early_s / t60_s) - 1)
        assert clarity_db == pytest.approx(expected, abs=1e-3)
    assert found.range_db == math.inf


def test_the_curve_of_two_slopes_is_the_sum_of_two_exponentials() -> None:
    fast, slow = exponential(0.2, 3.0), 0.1 * exponential(1.5, 3.0)
    curve = decay_curve(np.hypot(fast, slow), RATE_HZ).level_db
    rates = [2 * LN_1000 / t60_s / RATE_HZ for t60_s in (0.2, 1.5)]
    parts = [
        power / (1 - math.exp(-rate)) * np.exp(-rate * np.arange(len(curve)))
        for power, rate in zip((1.0, 0.01), rates, strict=True)
    ]
    expected = 10 * np.log10(sum(parts) / sum(part[0] for part in parts))
    heard = expected > -90
    np.testing.assert_allclose(curve[heard], expected[heard], atol=2e-3)
    found = room_acoustics(np.hypot(fast, slow), RATE_HZ)
    assert found.edt_s < 0.5
    assert 1.0 < found.t30_s < 1.5


@pytest.mark.parametrize("noise_db", [-70.0, -55.0, -50.0])
def test_noise_does_not_lengthen_the_decay(noise_db: float) -> None:
    found = [room_acoustics(noisy_decay(0.8, noise_db=noise_db, seed=seed), RATE_HZ) for seed in range(8)]
    assert np.mean([one.t30_s for one in found]) == pytest.approx(0.8, rel=0.01)
    assert [one.t30_s for one in found] == pytest.approx([0.8] * 8, rel=0.03)
    assert [one.t20_s for one in found] == pytest.approx([0.8] * 8, rel=0.05)
    assert np.mean([one.range_db for one in found]) == pytest.approx(-noise_db, abs=1.0)


def test_what_drowns_in_noise_is_not_told() -> None:
    loud, louder = (room_acoustics(noisy_decay(0.8, noise_db=level, seed=0), RATE_HZ) for level in (-40, -30))
    assert math.isnan(loud.t30_s)
    assert loud.t20_s == pytest.approx(0.8, rel=0.06)
    assert math.isnan(louder.t20_s)
    assert louder.edt_s == pytest.approx(0.8, rel=0.15)


def test_silence_before_the_sound_and_its_level_change_nothing() -> None:
    response = exponential(0.5, 1.0)
    plain = room_acoustics(response, RATE_HZ)
    late = room_acoustics(-1e-4 * np.concatenate([np.zeros(1234), response]), RATE_HZ)
    for name, value in vars(plain).items():
        assert getattr(late, name) == pytest.approx(value, rel=1e-6), name


def test_a_strong_direct_sound_leaves_the_decay_or_nothing_to_tell() -> None:
    """The step at the direct sound takes 10, 20 or 30 of the 30 dB of the fit."""
    tail = exponential(0.5, 1.5)
    direct = np.zeros(len(tail))
    direct[0] = 1.0
    found = []
    for ratio_db in (10.0, 20.0, 30.0):
        echo = tail * 10 ** (-ratio_db / 20) / np.sqrt(np.sum(tail**2))
        found.append(room_acoustics(direct + echo, RATE_HZ).t30_s)
    # one sample of the 16,000 lies above the step, and tilts the line a little
    assert found[:2] == pytest.approx([0.5, 0.5], rel=0.02)
    assert math.isnan(found[2])


@pytest.mark.parametrize(
    "response",
    [np.zeros(1000), np.ones(10), np.ones((2, 1000)), np.full(1000, np.nan), np.eye(1, 1000, 999)[0]],
)
def test_what_is_no_response_is_refused(response: Array) -> None:
    with pytest.raises(DataError):
        room_acoustics(response, RATE_HZ)


def test_stationary_noise_has_no_reverberation_time() -> None:
    found = room_acoustics(np.random.default_rng(0).standard_normal(RATE_HZ), RATE_HZ)
    assert math.isnan(found.t20_s)
    assert math.isnan(found.t30_s)
    assert found.range_db == pytest.approx(0.0, abs=1.0)
