"""Against scikit-learn, scipy, the sheet's worked numbers and closed forms."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import auc, roc_curve

from tessera.astronomy.metrics import (
    RocCurve,
    at_false_positive_rate,
    auc_within,
    average_roc,
    completeness_by_brightness,
    completeness_by_feature,
    false_discovery_rate,
    purity_at_prevalence,
    roc,
    roc_of_folds,
    scores_of,
    wilson,
)
from tessera.core.errors import DataError
from tessera.core.evaluation import ClassPredictions

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def drawn(seed: int, n: int = 200, *, shift: float = 1.0, levels: int = 0) -> tuple[Floats, Bools]:
    """Scores in 0 to 1 that tell a little; with ``levels`` many are equal."""
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.3
    scores = 1 / (1 + np.exp(-rng.normal(size=n) - shift * (2 * positive - 1)))
    return (np.round(scores * levels) / levels if levels else scores), positive


@pytest.mark.parametrize("levels", [0, 7])
def test_the_curve_and_its_area_are_those_of_scikit_learn(levels: int) -> None:
    scores, positive = drawn(0, levels=levels)
    found = roc(scores, positive)
    fpr, tpr, thresholds = roc_curve(positive, scores, drop_intermediate=False)
    assert np.allclose(found.false_positive_rate, fpr)
    assert np.allclose(found.true_positive_rate, tpr)
    assert np.array_equal(found.threshold, thresholds)
    assert found.auc == pytest.approx(auc(fpr, tpr))


def test_areas_in_closed_form() -> None:
    assert roc([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0]).auc == 1
    assert roc([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0]).auc == 0
    assert roc([0.5, 0.5, 0.5], [1, 0, 0]).auc == 0.5
    assert roc([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0]).auc == pytest.approx(3.5 / 4)


def test_areas_within_strata_count_pairs_of_one_stratum_only() -> None:
    """The scores tell the strata apart and nothing else."""
    scores, positive = drawn(3, 400, shift=0)
    late = np.arange(400) % 2 == 0
    positive = positive & late | (np.arange(400) % 20 == 1)
    shifted = scores + late
    assert roc(shifted, positive).auc > 0.6
    pairs = [
        (1.0 if a > b else 0.5 if a == b else 0.0)
        for kind in (late, ~late)
        for a in shifted[positive & kind]
        for b in shifted[~positive & kind]
    ]
    assert auc_within(shifted, positive, late.tolist()) == pytest.approx(np.mean(pairs))
    assert auc_within(scores, positive, ["all"] * 400) == pytest.approx(roc(scores, positive).auc)
    assert math.isnan(auc_within([0.1, 0.2], [True, False], ["a", "b"]))
    with pytest.raises(ValueError, match="1 strata"):
        auc_within([0.1, 0.2], [True, False], ["a"])


def test_the_average_of_equal_curves_is_the_curve() -> None:
    scores, positive = drawn(1)
    curve = roc(scores, positive)
    vertical = average_roc([curve, curve], average="vertical", points=201)
    assert vertical.auc == pytest.approx(curve.auc, abs=0.01)
    exact = average_roc([curve, curve], average="threshold")
    for rate, completeness, threshold in zip(
        exact.false_positive_rate, exact.true_positive_rate, exact.threshold, strict=True
    ):
        assert rate == pytest.approx((scores[~positive] >= threshold).mean())
        assert completeness == pytest.approx((scores[positive] >= threshold).mean())


def test_a_score_equal_to_the_threshold_is_found() -> None:
    found = average_roc([roc([0.75, 0.5, 0.5, 0.25], [1, 1, 0, 0])], average="threshold", points=5)
    assert found.threshold.tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert found.true_positive_rate.tolist() == [0, 0.5, 1, 1, 1]
    assert found.false_positive_rate.tolist() == [0, 0, 0.5, 1, 1]


def test_two_shifted_runs_tell_the_two_averages_apart() -> None:
    """Both runs rank perfectly, one with high scores, one with low ones: no common threshold serves both."""
    high = roc([0.95, 0.85, 0.75, 0.65], [1, 1, 0, 0])
    low = roc([0.35, 0.25, 0.15, 0.05], [1, 1, 0, 0])
    assert average_roc([high, low], average="vertical").auc == 1
    found = average_roc([high, low], average="threshold")
    # At 0.5 the first run takes all for tidal and the second none.
    middle = np.argmin(np.abs(found.threshold - 0.5))
    assert (found.false_positive_rate[middle], found.true_positive_rate[middle]) == (0.5, 0.5)
    assert found.auc == pytest.approx(0.75)


def test_vertical_averages_are_means_of_completeness_at_a_rate() -> None:
    one = RocCurve(np.array([0, 0, 1.0]), np.array([0, 0.5, 1]), np.array([np.inf, 0.7, 0]))
    two = RocCurve(np.array([0, 1.0]), np.array([0, 1.0]), np.array([np.inf, 0]))
    found = average_roc([one, two], average="vertical", points=5)
    assert found.true_positive_rate == pytest.approx([0.25, 0.4375, 0.625, 0.8125, 1])
    assert np.isnan(found.threshold).all()


def predictions(scores: Floats, positive: Bools, fold: list[str]) -> ClassPredictions:
    names = [f"g{i}" for i in range(len(scores))]
    probabilities = np.stack([1 - scores, scores], axis=1)
    target = positive.astype(np.int64)
    return ClassPredictions(names, names, target, probabilities, ("none", "tidal"), fold=fold)


def test_folds_are_averaged_and_not_pooled() -> None:
    scores = np.array([0.95, 0.75, 0.35, 0.15])
    positive = np.array([True, False, True, False])
    both = predictions(scores, positive, ["1", "1", "2", "2"])
    assert roc(*scores_of(both)).auc == 0.75
    assert roc_of_folds(both, average="vertical").auc == 1
    assert roc_of_folds(both, average="threshold").auc == pytest.approx(0.75)
    with pytest.raises(DataError, match="no class 'shell'"):
        scores_of(both, positive="shell")


@pytest.mark.parametrize(("prevalence", "expected"), [(0.5, 0.2083), (0.18, 0.5452), (0.12, 0.6587)])
def test_the_papers_point_in_false_discoveries(prevalence: float, expected: float) -> None:
    assert false_discovery_rate(0.76, 0.20, prevalence=prevalence) == pytest.approx(expected, abs=5e-5)
    assert purity_at_prevalence(0.76, 0.20, prevalence=prevalence) == pytest.approx(1 - expected, abs=5e-5)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 0.99), st.integers(1, 10**6))
def test_false_discoveries_are_bayes_theorem(tpr: float, fpr: float, p: float, n: int) -> None:
    found = false_discovery_rate(tpr, fpr, prevalence=p)
    true, false = tpr * p * n, fpr * (1 - p) * n
    if true + false > 1e-12 * n:
        assert found == pytest.approx(false / (true + false), abs=1e-9)
    assert math.isnan(false_discovery_rate(0, 0, prevalence=p))


def test_shares_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="prevalence 12"):
        purity_at_prevalence(0.76, 0.2, prevalence=12)


@pytest.mark.parametrize(("hits", "total"), [(0, 10), (10, 10), (3, 10), (1, 1), (76, 100), (999, 1000)])
@pytest.mark.parametrize("level", [0.68, 0.95])
def test_intervals_are_those_of_scipy(hits: int, total: int, level: float) -> None:
    found = wilson(hits, total, level=level)
    expected = binomtest(hits, total).proportion_ci(level, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_no_galaxies_have_no_share_and_the_widest_interval() -> None:
    found = wilson(0, 0)
    assert math.isnan(found.value) and (found.low, found.high) == (0, 1)


def test_completeness_at_a_rate_uses_the_lowest_threshold_allowed() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    positive = np.array([1, 0, 1, 1, 0, 0, 0, 0], dtype=bool)
    found = at_false_positive_rate(scores, positive, most=0.2)  # one of five
    assert found.threshold == 0.6
    assert (found.completeness.hits, found.completeness.total) == (3, 3)
    assert (found.false_positive_rate.hits, found.false_positive_rate.total) == (1, 5)
    assert found.purity(0.5) == pytest.approx(1 / 1.2)
    strict = at_false_positive_rate(scores, positive, most=0.1)
    assert (strict.threshold, strict.completeness.hits) == (0.9, 1)


def test_equal_scores_are_never_split_to_reach_a_rate() -> None:
    found = at_false_positive_rate([0.9, 0.5, 0.5, 0.5, 0.5], [1, 1, 0, 0, 0], most=0.5)
    assert (found.threshold, found.completeness.hits, found.false_positive_rate.hits) == (0.9, 1, 0)
    nothing = at_false_positive_rate([0.5, 0.5], [1, 0], most=0.2)
    assert (nothing.threshold, nothing.completeness.hits) == (math.inf, 0)


@given(st.integers(0, 500), st.floats(0, 1))
def test_the_rate_is_never_exceeded_and_the_next_threshold_would(seed: int, most: float) -> None:
    scores, positive = drawn(seed, 40, levels=9)
    point = at_false_positive_rate(scores, positive, most=most)
    assert point.false_positive_rate.value <= most + 1e-9
    lower = scores[scores < point.threshold]
    if lower.size:
        assert (scores[~positive] >= lower.max()).mean() > most or (
            (scores >= lower.max()) == (scores >= point.threshold)
        ).all()


def test_completeness_falls_into_ranges_of_brightness() -> None:
    mu = [25.0, 25.4, 25.5, 26.0, 26.5, 27.0, math.nan]
    found = [True, False, True, True, False, False, True]
    first, second, third = completeness_by_brightness(found, mu, edges=(25, 25.5, 26.5, 26.6))
    assert (first.completeness.hits, first.completeness.total) == (1, 2)
    assert (second.completeness.hits, second.completeness.total) == (2, 2)
    assert (third.completeness.hits, third.completeness.total) == (0, 1)
    assert (first.name, second.low, second.high) == ("25 to 25.5", 25.5, 26.5)
    (last,) = completeness_by_brightness(found, mu, edges=(26.5, 27))
    assert last.completeness.total == 2  # the last edge belongs to its range
    with pytest.raises(ValueError, match="do not rise"):
        completeness_by_brightness(found, mu, edges=(26, 25))


def test_completeness_by_feature() -> None:
    rows = completeness_by_feature([True, False, True, True], ["shell", "shell", "fan", "stream"])
    assert [(row.name, row.completeness.hits, row.completeness.total) for row in rows] == [
        ("fan", 1, 1),
        ("shell", 1, 2),
        ("stream", 1, 1),
    ]
    with pytest.raises(ValueError, match="1 features of 2"):
        completeness_by_feature([True, False], ["fan"])


@pytest.mark.parametrize(
    ("scores", "positive", "message"),
    [
        ([0.1, 0.2], [True, True], "2 tidal and 0 plain"),
        ([0.1, math.nan], [True, False], "1 of them"),
    ],
)
def test_what_has_no_curve_is_refused(scores: list[float], positive: list[bool], message: str) -> None:
    with pytest.raises(DataError, match=message):
        roc(scores, positive)
