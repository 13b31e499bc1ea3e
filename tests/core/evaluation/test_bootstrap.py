"""Bootstrap intervals against the normal interval, known ratios and exact zeros."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from tessera.core.errors import DataError
from tessera.core.evaluation import (
    ClassPredictions,
    ValuePredictions,
    bootstrap_interval,
    paired_difference,
    pool,
    take,
)
from tessera.core.evaluation.bootstrap import group_counts
from tessera.core.evaluation.metrics import Score, accuracy, auroc_macro, mean_absolute_error


def right_or_wrong(right: np.ndarray, group: list[str] | None = None) -> ClassPredictions:
    """Cases of class 0 that are decided right or wrong, as told."""
    names = [f"case{i}" for i in range(len(right))]
    p = np.stack([right, ~right], axis=1).astype(float)
    return ClassPredictions(names, group or names, np.zeros(len(right), dtype=int), p, ["yes", "no"])


def random_classes(n: int = 60, *, seed: int = 0, prefix: str = "case") -> ClassPredictions:
    rng = np.random.default_rng(seed)
    names = [f"{prefix}{i}" for i in range(n)]
    groups = [f"{prefix}{i // 3}" for i in range(n)]
    return ClassPredictions(names, groups, rng.integers(0, 4, n), rng.dirichlet(np.ones(4), n), list("abcd"))


def test_single_cases_give_the_binomial_interval() -> None:
    n, share = 400, 0.85
    estimate = bootstrap_interval(
        accuracy, right_or_wrong(np.arange(n) < n * share), n_resamples=20_000, seed=1
    )
    half = 1.96 * np.sqrt(share * (1 - share) / n)
    assert estimate.value == share
    assert estimate.low == pytest.approx(share - half, abs=0.04 * half + 0.5 / n)
    assert estimate.high == pytest.approx(share + half, abs=0.04 * half + 0.5 / n)


def test_level_sets_the_width() -> None:
    subject = right_or_wrong(np.arange(400) < 300)
    wide, narrow = (
        bootstrap_interval(accuracy, subject, n_resamples=10_000, level=level, seed=2)
        for level in (0.95, 0.68)
    )
    expected = stats.norm.ppf(0.975) / stats.norm.ppf(0.84)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("size", [4, 9])
def test_groups_of_equal_cases_widen_the_interval_by_the_root_of_their_size(size: int) -> None:
    n_groups = 200
    right = np.repeat(np.arange(n_groups) < 140, size)
    grouped = right_or_wrong(right, [f"site{i // size}" for i in range(right.size)])
    widths = [
        estimate.high - estimate.low
        for estimate in (
            bootstrap_interval(accuracy, subject, n_resamples=3000, seed=3)
            for subject in (grouped, right_or_wrong(right))
        )
    ]
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(size), rel=0.06)


def test_a_95_percent_interval_covers_the_truth_about_that_often() -> None:
    rng = np.random.default_rng(4)
    hits = 0
    for trial in range(300):
        right = rng.random(100) < 0.7
        estimate = bootstrap_interval(accuracy, right_or_wrong(right), n_resamples=200, seed=trial)
        hits += estimate.low <= 0.7 <= estimate.high
    assert hits / 300 == pytest.approx(0.94, abs=0.05)


def test_every_resample_draws_as_many_groups_as_there_are_and_whole_ones() -> None:
    subject = random_classes()
    counts = np.concatenate(list(group_counts(subject, n_resamples=50, seed=5)))
    assert counts.shape == (50, 60)
    np.testing.assert_array_equal(counts.sum(axis=1), 60)  # groups have three cases each
    np.testing.assert_array_equal(counts[:, 0::3], counts[:, 1::3])
    np.testing.assert_array_equal(counts[:, 0::3], counts[:, 2::3])


def test_the_seed_alone_decides_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = random_classes()
    first = bootstrap_interval(auroc_macro, subject, n_resamples=100, seed=6)
    np.random.default_rng(0).random(10)
    assert bootstrap_interval(auroc_macro, subject, n_resamples=100, seed=np.random.default_rng(6)) == first
    assert bootstrap_interval(auroc_macro, subject, n_resamples=100, seed=7) != first
    monkeypatch.setattr("tessera.core.evaluation.bootstrap._BLOCK", 500)
    assert bootstrap_interval(auroc_macro, subject, n_resamples=100, seed=6) == first


def test_the_order_of_the_cases_does_not_move_the_estimate() -> None:
    subject = random_classes()
    shuffled = take(subject, np.random.default_rng(8).permutation(60))
    first, second = (bootstrap_interval(accuracy, s, seed=9) for s in (subject, shuffled))
    assert first == second


def test_320_cases_with_1000_resamples_take_well_under_a_second() -> None:
    subject = random_classes(320)
    started = time.perf_counter()
    bootstrap_interval(accuracy, subject, seed=10)
    assert time.perf_counter() - started < 0.5


def test_one_group_has_a_value_but_no_interval() -> None:
    estimate = bootstrap_interval(accuracy, right_or_wrong(np.array([True, False]), ["one", "one"]), seed=11)
    assert estimate.value == 0.5
    assert np.isnan([estimate.low, estimate.high]).all()
    assert estimate.reason == "no interval from fewer than two groups"


def test_no_cases_have_neither_value_nor_interval() -> None:
    estimate = bootstrap_interval(accuracy, right_or_wrong(np.zeros(0, dtype=bool)), seed=12)
    assert np.isnan([estimate.value, estimate.low, estimate.high]).all()
    assert estimate.reason == "no cases"


def test_resamples_without_a_value_are_counted_and_left_out() -> None:
    # Of four groups one alone has the second class; it is missing from a resample with probability (3/4)^4.
    names = list("abcd")
    subject = ClassPredictions(
        names,
        names,
        np.array([0, 0, 0, 1]),
        np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.4, 0.6]]),
        ["x", "y"],
    )
    estimate = bootstrap_interval(auroc_macro, subject, n_resamples=4000, seed=13)
    only_one = (3 / 4) ** 4 + (1 / 4) ** 4
    assert estimate.n_undefined / 4000 == pytest.approx(only_one, abs=0.03)
    assert 0 <= estimate.low <= estimate.high <= 1
    assert estimate.reason is None


def test_identical_predictions_differ_by_exactly_zero() -> None:
    subject = random_classes()
    result = paired_difference(auroc_macro, subject, random_classes(), seed=14)
    assert (result.difference, result.low, result.high, result.fraction_not_above_zero) == (
        0.0,
        0.0,
        0.0,
        1.0,
    )


def test_a_constant_difference_has_an_interval_of_one_point() -> None:
    names = [f"case{i}" for i in range(30)]
    target = np.random.default_rng(15).normal(size=30)
    worse = ValuePredictions(names, names, target, target + 2.0)
    better = ValuePredictions(names, names, target, target - 0.5)
    result = paired_difference(mean_absolute_error, worse, better, seed=15)
    assert [result.difference, result.low, result.high] == pytest.approx([1.5] * 3)
    assert result.fraction_not_above_zero == 0.0


def test_paired_interval_agrees_with_the_normal_interval_of_the_differences() -> None:
    rng = np.random.default_rng(16)
    first, second = rng.random(500) < 0.8, rng.random(500) < 0.7
    result = paired_difference(
        accuracy, right_or_wrong(first), right_or_wrong(second), n_resamples=10_000, seed=16
    )
    difference = first.astype(float) - second
    half = 1.96 * difference.std() / np.sqrt(500)
    assert result.difference == pytest.approx(difference.mean())
    assert result.low == pytest.approx(difference.mean() - half, abs=0.06 * half)
    assert result.high == pytest.approx(difference.mean() + half, abs=0.06 * half)


def test_pairing_follows_the_names_not_the_order() -> None:
    subject = random_classes()
    result = paired_difference(accuracy, subject, take(subject, np.arange(60)[::-1]), seed=17)
    assert (result.difference, result.low, result.high) == (0.0, 0.0, 0.0)


def test_different_cases_are_refused_by_name() -> None:
    subject = random_classes()
    with pytest.raises(DataError) as caught:
        paired_difference(accuracy, take(subject, range(59)), take(subject, range(1, 60)), seed=18)
    assert "only in the first: 'case0'" in str(caught.value)
    assert "only in the second: 'case59'" in str(caught.value)


@pytest.mark.parametrize("changed", ["group", "target", "classes"])
def test_a_changed_column_is_refused_by_name(changed: str) -> None:
    subject = right_or_wrong(np.array([True, False, True]))
    columns = {"group": ("case0", "x", "case2"), "target": np.array([0, 1, 0]), "classes": ("yes", "maybe")}
    fields = {
        name: getattr(subject, name) for name in ("case_id", "group", "target", "probabilities", "classes")
    }
    other = ClassPredictions(**(fields | {changed: columns[changed]}))
    with pytest.raises(DataError, match=changed) as caught:
        paired_difference(accuracy, subject, other, seed=19)
    assert "maybe" in str(caught.value) if changed == "classes" else "'case1'" in str(caught.value)


def test_folds_pool_into_one_estimate() -> None:
    folds = [random_classes(30, seed=fold, prefix=f"fold{fold}-") for fold in range(3)]
    pooled = pool(folds)
    assert len(pooled) == 90
    assert bootstrap_interval(accuracy, pooled, seed=20).value == pytest.approx(
        np.mean([accuracy(fold).value for fold in folds])
    )
    with pytest.raises(DataError, match="more than once"):
        pool([folds[0], folds[0]])


def test_a_metric_of_ones_own_is_resampled_too() -> None:
    def wins(subject: ClassPredictions, counts: np.ndarray | None = None, /) -> Score:
        drawn = np.ones((1, len(subject))) if counts is None else counts
        return Score(drawn[:, 0] / drawn.sum(axis=1), np.zeros(len(drawn), dtype=np.int64))

    estimate = bootstrap_interval(wins, right_or_wrong(np.ones(4, dtype=bool)), n_resamples=2000, seed=21)
    assert estimate.value == 0.25
    assert (estimate.low, estimate.high) == (0.0, 0.75)  # binomial(4, 1/4) / 4: P(4 of 4) = 0.4 %
