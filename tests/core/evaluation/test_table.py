"""The evaluation of one set of predictions as data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tessera.core.evaluation import (
    ClassPredictions,
    Estimate,
    Evaluation,
    ManyValuePredictions,
    ValuePredictions,
    evaluate,
    format_estimate,
    softmax,
)


def classes(n: int = 30, *, several: bool = False, seed: int = 0) -> ClassPredictions:
    rng = np.random.default_rng(seed)
    names = [f"case{i}" for i in range(n)]
    p = softmax(rng.normal(size=(n, 3)))
    target = rng.random((n, 3)) < 0.5 if several else rng.integers(0, 3, n)
    return ClassPredictions(names, [f"g{i // 2}" for i in range(n)], target, p, ["x", "y", "z"])


def test_one_label_a_case_has_every_table() -> None:
    subject = classes()
    result = evaluate(subject, n_resamples=50, seed=1)
    assert (result.task, result.n, result.n_groups) == ("multiclass", 30, 15)
    assert list(result.metrics) == [
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "auroc_macro",
        "average_precision_macro",
        "log_loss",
        "brier",
        "ece",
    ]
    matrix = np.array(result.confusion)
    assert matrix.trace() / 30 == pytest.approx(result.metrics["accuracy"].value)
    assert [row.n_positive for row in result.per_class] == matrix.sum(axis=1).tolist()
    assert np.mean([row.recall for row in result.per_class]) == pytest.approx(
        result.metrics["balanced_accuracy"].value
    )
    assert np.mean([row.auroc for row in result.per_class]) == pytest.approx(
        result.metrics["auroc_macro"].value
    )
    assert np.mean([row.average_precision for row in result.per_class]) == pytest.approx(
        result.metrics["average_precision_macro"].value
    )
    assert [row.precision for row in result.per_class] == pytest.approx(np.diag(matrix) / matrix.sum(axis=0))
    assert np.mean([row.f1 for row in result.per_class]) == pytest.approx(result.metrics["macro_f1"].value)
    assert sum(row.n for row in result.reliability) == 30


def test_any_number_of_labels_has_no_confusion_but_both_areas() -> None:
    result = evaluate(classes(several=True), n_resamples=50, seed=1)
    assert {"auroc_macro", "auroc_micro"} <= set(result.metrics)
    assert "accuracy" not in result.metrics
    assert result.confusion == ()
    assert sum(row.n for row in result.reliability) == 90


def test_a_regression_has_metrics_alone() -> None:
    names = [f"case{i}" for i in range(20)]
    target = np.arange(20.0)
    result = evaluate(ValuePredictions(names, names, target, target + 1, np.ones(20)), n_resamples=50, seed=1)
    assert list(result.metrics) == ["mae", "rmse", "r2", "gaussian_nll", "coverage_68", "coverage_95"]
    assert result.metrics["mae"].value == result.metrics["mae"].low == 1.0
    assert (result.per_class, result.confusion, result.reliability) == ((), (), ())


@pytest.mark.parametrize(
    "subject",
    [
        classes(),
        classes(several=True),
        classes(0),
        classes(0, several=True),
        classes(1),
        ValuePredictions([], [], np.zeros(0), np.zeros(0)),
        ValuePredictions(["a"], ["a"], np.ones(1), np.zeros(1)),
    ],
    ids=["multiclass", "multilabel", "no cases", "no cases, labels", "one case", "no values", "one value"],
)
def test_any_evaluation_survives_and_reads_back_the_same(
    subject: ClassPredictions | ValuePredictions,
) -> None:
    result = evaluate(subject, n_resamples=20, seed=2)
    again = Evaluation.from_json(result.to_json())
    assert repr(again) == repr(result)  # NaN differs from itself, its text does not
    json.loads(result.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    for estimate in result.metrics.values():
        assert estimate.reason or not np.isnan([estimate.value, estimate.low, estimate.high]).any()


def test_the_seed_alone_decides_the_evaluation() -> None:
    first, second, third = (evaluate(classes(), n_resamples=50, seed=seed) for seed in (3, 3, 4))
    assert first.to_json() == second.to_json()
    assert first.metrics["brier"] != third.metrics["brier"]


def test_an_estimate_is_written_with_its_interval_or_its_reason() -> None:
    assert format_estimate(Estimate(0.8531, 0.81, 0.8919, 0.95, 1000)) == "0.853 [0.810, 0.892]"
    assert format_estimate(Estimate(12.5, 10.0, 15.0, 0.95, 1000), digits=1) == "12.5 [10.0, 15.0]"
    undefined = Estimate(np.nan, np.nan, np.nan, 0.95, 1000, reason="no cases")
    assert format_estimate(undefined) == "undefined (no cases)"
    alone = Estimate(0.5, np.nan, np.nan, 0.95, 1000, reason="no interval from fewer than two groups")
    assert format_estimate(alone) == "0.500 (no interval from fewer than two groups)"


def test_several_numbers_are_measured_one_by_one_and_by_their_mean_r2() -> None:
    rng = np.random.default_rng(0)
    names, target = [f"c{i}" for i in range(20)], rng.normal(size=(20, 2))
    mean = target + rng.normal(size=(20, 2)) * [0.1, 0.5]
    subject = ManyValuePredictions(names, names, target, mean, ["x", "y"], np.full((20, 2), 0.3))
    found = evaluate(subject, n_resamples=50, seed=1).metrics
    assert found["rmse_x"] == evaluate(subject.of("x"), n_resamples=50, seed=1).metrics["rmse"]
    assert found["r2"].value == pytest.approx((found["r2_x"].value + found["r2_y"].value) / 2)
    assert found["r2"].low < found["r2"].value < found["r2"].high
    assert {"coverage_68_x", "coverage_95_y"} < set(found)
