"""Regression metrics against scikit-learn, SciPy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as oracle

from tessera.core.evaluation import ValuePredictions
from tessera.core.evaluation import metrics as m

ALL = [
    m.mean_absolute_error,
    m.root_mean_squared_error,
    m.r_squared,
    m.gaussian_nll,
    m.coverage_68,
    m.coverage_95,
]


def predictions(target: np.ndarray, mean: np.ndarray, std: np.ndarray | None = None) -> ValuePredictions:
    names = [f"case{i}" for i in range(len(target))]
    return ValuePredictions(names, names, target, mean, std)


def random_values(n: int = 300, *, offset: float = 0.0) -> ValuePredictions:
    rng = np.random.default_rng(1)
    target = offset + rng.normal(size=n)
    return predictions(target, target + rng.normal(0, 0.5, n), rng.uniform(0.2, 1.0, n))


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_errors_agree_with_scikit_learn(offset: float) -> None:
    subject = random_values(offset=offset)
    pair = subject.target, subject.mean
    assert m.mean_absolute_error(subject).value == pytest.approx(oracle.mean_absolute_error(*pair))
    assert m.root_mean_squared_error(subject).value == pytest.approx(oracle.root_mean_squared_error(*pair))
    assert m.r_squared(subject).value == pytest.approx(oracle.r2_score(*pair))


def test_likelihood_agrees_with_scipy() -> None:
    subject = random_values()
    expected = -stats.norm.logpdf(subject.target, subject.mean, subject.std).mean()
    assert m.gaussian_nll(subject).value == pytest.approx(expected)


def test_coverage_counts_errors_within_the_quantile() -> None:
    # z is 0.9945 at 68 % and 1.9600 at 95 %.
    error = np.array([0.99, 1.0, 1.95, -1.97])
    subject = predictions(np.zeros(4), 2 * error, np.full(4, 2.0))
    assert m.coverage_68(subject).value == 0.25
    assert m.coverage_95(subject).value == 0.75


def test_true_normal_errors_are_covered_as_often_as_promised() -> None:
    n = 20_000
    error = np.random.default_rng(2).normal(0, 3, n)
    subject = predictions(np.zeros(n), error, np.full(n, 3.0))
    assert m.coverage_68(subject).value == pytest.approx(0.68, abs=4 * np.sqrt(0.68 * 0.32 / n))
    assert m.coverage_95(subject).value == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / n))


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.__name__)
def test_a_case_counted_twice_is_a_case_written_twice(metric: m.Metric[ValuePredictions]) -> None:
    subject = random_values(n=30, offset=100.0)
    counts = np.random.default_rng(3).integers(0, 4, (5, 30))
    values = metric(subject, counts.astype(np.float64)).values
    assert subject.std is not None
    for row, value in zip(counts, values, strict=True):
        repeated = [np.repeat(column, row) for column in (subject.target, subject.mean, subject.std)]
        assert value == pytest.approx(metric(predictions(*repeated)).value)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.__name__)
def test_no_cases_give_nan_with_a_reason(metric: m.Metric[ValuePredictions]) -> None:
    score = metric(predictions(np.zeros(0), np.zeros(0), np.zeros(0)))
    assert np.isnan(score.value)
    assert score.reason


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e9])
def test_a_constant_target_leaves_r_squared_undefined(constant: float) -> None:
    score = m.r_squared(predictions(np.full(7, constant), np.arange(7.0)))
    assert np.isnan(score.value)
    assert score.reason == "the target takes one value only"


def test_a_model_without_std_has_errors_but_no_likelihood() -> None:
    subject = predictions(np.array([1.0, 3.0]), np.array([2.0, 1.0]))
    assert m.mean_absolute_error(subject).value == 1.5
    for metric in (m.gaussian_nll, m.coverage_68, m.coverage_95):
        assert metric(subject).reason == "the model predicts no standard deviation"


def test_a_resample_of_one_target_value_leaves_r_squared_undefined() -> None:
    target = np.r_[np.full(6, 0.1), 7.3]
    counts = np.array(
        [[1.0, 1, 1, 1, 1, 2, 0], [3, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 7], [1, 0, 0, 0, 0, 0, 1]]
    )
    score = m.r_squared(predictions(target, target + 1), counts)
    assert np.isnan(score.values).tolist() == [True, True, True, False]
