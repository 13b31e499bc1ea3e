"""Calibration against worked examples, closed forms and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve

from tessera.core.errors import DataError
from tessera.core.evaluation import (
    ClassPredictions,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    fit_temperature_per_class,
    reliability_table,
    sigmoid,
    softmax,
    threshold_for_precision,
    thresholds_for_precision,
)


def predictions(target: np.ndarray, probabilities: np.ndarray) -> ClassPredictions:
    names = [f"case{i}" for i in range(len(target))]
    return ClassPredictions(
        names, names, target, probabilities, [f"k{i}" for i in range(probabilities.shape[1])]
    )


def worked() -> ClassPredictions:
    """Confidence 0.95 ten times with 8 right, 0.55 ten times with 6 right."""
    sure = np.repeat([0.95, 0.55], 10)
    target = np.r_[np.zeros(8), np.ones(2), np.zeros(6), np.ones(4)].astype(int)
    return predictions(target, np.stack([sure, 1 - sure], axis=1))


def test_worked_example_has_an_error_of_one_tenth() -> None:
    assert expected_calibration_error(worked()).value == pytest.approx(0.10)


def test_worked_example_as_one_label_has_the_same_error() -> None:
    single = worked()
    labels = predictions(single.positive[:, :1], single.probabilities[:, :1])
    assert expected_calibration_error(labels).value == pytest.approx(0.10)


def test_error_equals_the_sum_over_the_reliability_table() -> None:
    rng = np.random.default_rng(0)
    p, truth = rng.random((300, 4)), rng.random((300, 4)) < 0.4
    rows = reliability_table(p.ravel(), truth.ravel())
    expected = sum(row.n * abs(row.confidence - row.correct) for row in rows) / 1200
    assert expected_calibration_error(predictions(truth, p)).value == pytest.approx(expected)


def test_reliability_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(500)
    truth = rng.random(500) < p
    rows = reliability_table(p, truth)
    correct, confidence = calibration_curve(truth, p, n_bins=10)
    np.testing.assert_allclose([row.correct for row in rows], correct)
    np.testing.assert_allclose([row.confidence for row in rows], confidence)
    assert sum(row.n for row in rows) == 500


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    edges = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    rows = reliability_table(edges, np.ones(11))
    assert [row.n for row in rows] == [2, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert np.isnan(reliability_table([0.5], [1])[0].confidence)


def test_error_of_counted_cases_is_that_of_repeated_cases() -> None:
    subject = worked()
    row = np.random.default_rng(2).integers(0, 3, 20)
    repeated = predictions(np.repeat(subject.target, row), np.repeat(subject.probabilities, row, axis=0))
    value = expected_calibration_error(subject, row[None].astype(float)).value
    assert value == pytest.approx(expected_calibration_error(repeated).value)


@pytest.mark.parametrize("target", [np.zeros(0, dtype=int), np.zeros((0, 2), dtype=bool)])
def test_no_cases_have_no_calibration_error(target: np.ndarray) -> None:
    score = expected_calibration_error(predictions(target, np.zeros((0, 2))))
    assert np.isnan(score.value)
    assert score.reason == "no cases"


@pytest.mark.parametrize("share", [0.6, 0.8, 0.95])
def test_two_equal_margins_have_the_temperature_in_closed_form(share: float) -> None:
    # Every case has margin 3 and 8 of 10 are right: softmax(3 / T) must be 0.8.
    right = np.arange(100) >= 100 * share
    logits = np.tile([3.0, 0.0], (100, 1))
    expected = 3.0 / np.log(share / (1 - share))
    assert fit_temperature(logits, right.astype(int)) == pytest.approx(expected, rel=1e-4)
    labels = (~right)[:, None]
    assert fit_temperature(logits[:, :1], labels) == pytest.approx(expected, rel=1e-4)
    assert fit_temperature_per_class(logits[:, :1], labels) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (20_000, 6))
    target = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # a draw from softmax(logits)
    assert fit_temperature(logits * temperature, target) == pytest.approx(temperature, rel=0.03)


def test_each_label_gets_its_own_temperature_back() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, (20_000, 3))
    truth = rng.random(logits.shape) < special.expit(logits)
    known = np.array([0.5, 1.0, 4.0])
    np.testing.assert_allclose(fit_temperature_per_class(logits * known, truth), known, rtol=0.05)
    assert 0.5 < fit_temperature(logits * known, truth) < 4.0


def test_the_fitted_temperature_lowers_the_calibration_error() -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 2, (5000, 4))
    target = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    sharp = 4 * logits
    calmed = apply_temperature(sharp, fit_temperature(sharp, target))
    before = expected_calibration_error(predictions(target, softmax(sharp))).value
    after = expected_calibration_error(predictions(target, softmax(calmed))).value
    assert after < 0.02
    assert before > 0.1


@pytest.mark.parametrize(
    ("logits", "target"),
    [
        ([[2.0, 0.0], [0.0, 1.0]], [0, 1]),
        ([[2.0, -1.0], [-1.0, 1.0]], [[1, 0], [0, 1]]),
        (np.zeros((0, 3)), np.zeros(0, dtype=int)),
        ([[1.0], [2.0]], [0, 0]),
    ],
)
def test_without_a_mistake_the_temperature_stays_one(logits: object, target: object) -> None:
    assert fit_temperature(np.array(logits), np.array(target)) == 1.0


def test_a_label_that_is_never_there_keeps_temperature_one() -> None:
    logits = np.array([[1.0, 1.0], [-1.0, 2.0], [1.0, -1.0]])
    fitted = fit_temperature_per_class(logits, np.array([[1, 0], [0, 0], [0, 0]]))
    assert fitted[1] == 1.0 != fitted[0]


def test_softmax_and_sigmoid_agree_with_scipy_without_overflow() -> None:
    logits = np.array([[1000.0, 0.0, -1000.0], [0.3, -0.2, 5.0]])
    np.testing.assert_allclose(softmax(logits), special.softmax(logits, axis=1))
    np.testing.assert_allclose(sigmoid(logits), special.expit(logits))


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_an_impossible_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(DataError, match="temperature"):
        apply_temperature(np.zeros((2, 2)), temperature)


def test_logits_that_do_not_fit_the_target_are_refused() -> None:
    with pytest.raises(DataError, match="do not fit"):
        fit_temperature(np.zeros((3, 2)), np.zeros(4, dtype=int))
    with pytest.raises(DataError, match="not finite"):
        fit_temperature(np.full((3, 2), np.nan), np.zeros(3, dtype=int))
    for target in (np.array([0, -1]), np.array([0, 2]), np.array([[0, 1], [2, 0]])):
        with pytest.raises(DataError, match="does not fit"):
            fit_temperature(np.zeros((2, 2)), target)


def test_the_threshold_is_the_lowest_that_keeps_the_precision() -> None:
    # Ranked: 1 1 0 1 0 -> precision 1, 1, 2/3, 3/4, 3/5.
    scores, truth = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([1, 1, 0, 1, 0])
    point = threshold_for_precision(scores, truth, precision=0.7)
    assert (point.threshold, point.precision, point.recall, point.n_positive) == (0.6, 0.75, 1.0, 3)
    strict = threshold_for_precision(scores, truth, precision=1.0)
    assert [strict.threshold, strict.recall] == pytest.approx([0.8, 2 / 3])


@pytest.mark.parametrize("wanted", [0.3, 0.5, 0.7])
def test_the_threshold_agrees_with_the_precision_recall_curve(wanted: float) -> None:
    rng = np.random.default_rng(6)
    scores = np.round(rng.random(300), 2)
    truth = rng.random(300) < scores**2
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    first = np.flatnonzero(precision[:-1] >= wanted)[0]
    point = threshold_for_precision(scores, truth, precision=wanted)
    expected = [thresholds[first], precision[first], recall[first]]
    assert [point.threshold, point.precision, point.recall] == pytest.approx(expected)


def test_a_precision_out_of_reach_has_no_threshold() -> None:
    never = threshold_for_precision([0.9, 0.1], [0, 1], precision=0.9)
    assert np.isnan(never.threshold)
    assert np.isnan(threshold_for_precision([], [], precision=0.5).threshold)
    absent = threshold_for_precision([0.9], [0], precision=0.0)
    assert (np.isnan(absent.threshold), absent.n_positive) == (True, 0)


def test_every_class_has_its_threshold() -> None:
    points = thresholds_for_precision(worked(), precision=0.7)
    assert points["k0"].precision == 0.7
    assert points["k0"].threshold == 0.55
    assert np.isnan(points["k1"].threshold)
