"""Error rates of trials against the sheet's worked numbers, scikit-learn's ROC, and closed forms."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from tessera.audio.verification import (
    ScoredTrials,
    Trial,
    all_pairs,
    cosine,
    equal_error_rate,
    error_rates,
    estimate,
    min_dcf,
    read_trials,
)
from tessera.core.errors import DataError

SCORES = st.lists(st.integers(0, 20).map(lambda value: value / 20), min_size=1, max_size=30)


def eer(same: list[float], different: list[float]) -> float:
    return equal_error_rate(error_rates([*same, *different], [True] * len(same) + [False] * len(different)))


def test_the_equal_error_rates_of_the_sheet() -> None:
    assert eer([0.9, 0.8, 0.7, 0.4], [0.6, 0.3, 0.2, 0.1]) == pytest.approx(0.25)
    assert eer([0.9, 0.6, 0.3], [0.8, 0.5, 0.2, 0.1]) == pytest.approx(1 / 3)


def test_the_minimal_cost_of_the_sheet() -> None:
    rates = error_rates([0.9, 0.8, 0.7, 0.4, 0.6, 0.3, 0.2, 0.1], [True] * 4 + [False] * 4)
    assert min_dcf(rates) == pytest.approx(0.25)
    assert min_dcf(rates, p_target=0.5) == pytest.approx(0.25)  # equal costs: a miss in four
    assert min_dcf(rates, p_target=0.99) == pytest.approx(0.25)  # now the false alarm in four is cheap


@given(same=SCORES, different=SCORES)
def test_the_rates_are_scikit_learns(same: list[float], different: list[float]) -> None:
    scores, truth = [*same, *different], [1] * len(same) + [0] * len(different)
    rates = error_rates(scores, truth)
    false_alarm, hit, _ = roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(rates.false_alarm, false_alarm)
    np.testing.assert_allclose(rates.miss, 1 - hit)
    expected = brentq(lambda x: 1 - x - interp1d(np.append(false_alarm, 2), np.append(hit, 1))(x), 0, 1)
    if len(set(false_alarm)) == len(false_alarm):  # on a vertical step scipy reads either end
        assert equal_error_rate(rates) == pytest.approx(expected, abs=1e-9)
    assert 0 <= equal_error_rate(rates) <= 1
    assert 0 <= min_dcf(rates) <= 1


def test_two_normal_distributions_have_their_own_rate() -> None:
    """N(0, 1) and N(d, 1) cross at d / 2: EER = Phi(-d / 2)."""
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(2.0, 1.0, 50_000), rng.normal(0.0, 1.0, 50_000)])
    rates = error_rates(scores, np.arange(100_000) < 50_000)
    assert equal_error_rate(rates) == pytest.approx(NormalDist().cdf(-1.0), abs=0.003)


def test_the_order_of_trials_and_the_scale_of_scores_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    scores, same = rng.normal(size=50), rng.random(50) < 0.4
    order = rng.permutation(50)
    one, other = error_rates(scores, same), error_rates(np.exp(3 * scores[order]), same[order])
    np.testing.assert_array_equal(one, other)


def test_a_weight_of_two_is_the_trial_twice() -> None:
    scores, same = [0.9, 0.4, 0.6, 0.1], [True, True, False, False]
    weighted = error_rates(scores, same, [2, 1, 1, 3])
    repeated = error_rates([0.9, 0.9, 0.4, 0.6, 0.1, 0.1, 0.1], [True] * 3 + [False] * 4)
    np.testing.assert_allclose(weighted, repeated)


def test_trials_of_one_kind_have_no_rate() -> None:
    assert math.isnan(eer([0.5, 0.3], []))
    assert math.isnan(min_dcf(error_rates([0.5], [False])))


@pytest.mark.parametrize(
    ("scores", "same"), [([0.1], [True, False]), ([np.nan], [True]), ([[0.1]], [[True]])]
)
def test_scores_that_do_not_fit_are_refused(scores: list[float], same: list[bool]) -> None:
    with pytest.raises(DataError, match="do not fit"):
        error_rates(scores, same)


def voices(speakers: int, recordings: int, *, spread: float, seed: int = 0) -> ScoredTrials:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((speakers, 8))
    names = [f"s{number}" for number in range(speakers) for _ in range(recordings)]
    rows = np.repeat(centres, recordings, axis=0) + spread * rng.standard_normal((len(names), 8))
    return all_pairs(rows, names)


def test_all_pairs_are_each_pair_once() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    trials = all_pairs(rows, ["a", "b", "a"])
    np.testing.assert_allclose(trials.scores, [0.0, 0.5**0.5, 0.5**0.5])
    assert trials.same.tolist() == [False, True, False]
    np.testing.assert_allclose(cosine(rows[0], rows), [1.0, 0.0, 0.5**0.5])
    assert cosine([0.0, 0.0], [1.0, 0.0]) == 0.0


def test_the_interval_is_over_speakers() -> None:
    trials = voices(12, 6, spread=0.7)
    found = estimate(equal_error_rate, trials, n_resamples=200)
    assert found.value == equal_error_rate(error_rates(trials.scores, trials.same))
    assert found.low < found.value < found.high
    assert 0.02 < found.high - found.low < 0.3
    again = estimate(equal_error_rate, trials, n_resamples=200)
    assert (again.low, again.high) == (found.low, found.high)
    more = estimate(equal_error_rate, voices(12, 24, spread=0.7), n_resamples=60)
    assert more.high - more.low > 0.5 * (found.high - found.low)  # more recordings are not more speakers


def test_a_trial_of_two_speakers_counts_as_often_as_both_were_drawn() -> None:
    """False alarms of a with b at 1, of a with c at 0: at the upper threshold b / (b + c) of them."""
    names = np.array(["a", "a", "a", "b", "c"]), np.array(["b", "c", "a", "b", "c"])
    trials = ScoredTrials(np.array([1.0, 0.0, 0.5, 0.5, 0.5]), *names)
    found = estimate(lambda rates: float(rates.false_alarm[1]), trials, n_resamples=300)
    assert (found.low, found.value, found.high) == (0.0, 0.5, 1.0)
    assert found.n_undefined == pytest.approx(300 * (8 + 1) / 27, abs=25)  # without a, or of a alone


def test_two_speakers_have_no_interval() -> None:
    found = estimate(min_dcf, voices(2, 5, spread=0.5), n_resamples=20)
    assert not math.isnan(found.value)
    assert math.isnan(found.low)
    assert found.reason is not None
    assert "three speakers" in found.reason


def test_a_list_of_trials_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trials.csv"
    path.write_text(
        "test,enrol,same\r\nb.wav,a.wav,1\r\nc.wav,a.wav,nontarget\r\nd.wav,a.wav,\r\n", "utf-8-sig"
    )
    assert read_trials(path) == [
        Trial("a.wav", "b.wav", True),
        Trial("a.wav", "c.wav", False),
        Trial("a.wav", "d.wav", None),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no list of trials"),
        ("enrol;test\na;b\n", "no list of trials"),
        ("enrol,test\n", "lists no trial"),
        ("enrol,test,same\na,b,perhaps\n", "line 2"),
        ("enrol,test,same\na,,1\n", "line 2"),
    ],
)
def test_a_bad_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trials.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_trials(path)
    with pytest.raises(DataError, match="cannot read"):
        read_trials(tmp_path / "absent.csv")
