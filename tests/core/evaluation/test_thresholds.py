"""Threshold curves against scikit-learn, and what is chosen from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from tessera.core.bundle.card import Calibration, ThresholdCurve
from tessera.core.evaluation import ClassPredictions
from tessera.core.evaluation.thresholds import precision_curve
from tessera.core.training.bundling import with_thresholds


def curve_of(scores: np.ndarray, positive: np.ndarray) -> ThresholdCurve:
    points = precision_curve(scores, positive)
    return ThresholdCurve(
        n_positive=int(positive.sum()),
        threshold=tuple(p.threshold for p in points),
        precision=tuple(p.precision for p in points),
        recall=tuple(p.recall for p in points),
    )


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_wish_is_answered_as_scikit_learn_answers_it(data: st.DataObject) -> None:
    """The lowest of scikit-learn's thresholds with the precision; ours lies just below it."""
    n = data.draw(st.integers(1, 60))
    levels = data.draw(st.integers(1, 40))  # few levels: many ties
    scores = np.array(data.draw(st.lists(st.integers(1, levels), min_size=n, max_size=n))) / levels
    positive = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    positive[data.draw(st.integers(0, n - 1))] = True
    wanted = data.draw(st.integers(1, 100)) / 100
    precision, recall, thresholds = precision_recall_curve(positive, scores, drop_intermediate=False)
    precision, recall = precision[:-1], recall[:-1]  # its last point has no threshold
    reached = np.flatnonzero((precision >= wanted) & (recall > 0))
    best = reached[0] if reached.size else np.flatnonzero(precision == precision[recall > 0].max())[0]
    chosen = curve_of(scores, positive).choose(wanted)
    assert (chosen.precision, chosen.recall) == (
        pytest.approx(precision[best], abs=1e-12),
        pytest.approx(recall[best], abs=1e-12),
    )
    assert chosen.threshold <= thresholds[best]
    assert best == 0 or chosen.threshold > thresholds[best - 1]
    assert np.array_equal(scores >= chosen.threshold, scores >= thresholds[best])
    assert ("was not reached" in chosen.remark) == (reached.size == 0)


def test_a_worked_example() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.2])
    positive = np.array([True, False, True, True, False, False])
    curve = curve_of(scores, positive)
    # at or above .9: 1/1; .8: 1/2; .7: 2/3; .6: 3/4; .4: 3/5; .2: 3/6
    assert curve.threshold == pytest.approx((0.2 * (1 - 1e-6), 0.3, 0.5, 0.85))
    assert curve.precision == pytest.approx((3 / 6, 3 / 5, 3 / 4, 1.0))
    assert curve.recall == pytest.approx((1, 1, 1, 1 / 3))
    assert curve.choose(0.7).threshold == pytest.approx(0.5)
    assert curve.choose(0.76).threshold == pytest.approx(0.85)
    assert "rough: chosen from 3 validation cases" in curve.choose(0.7).remark


def test_an_unreachable_precision_gives_the_greatest_there_is_and_says_so() -> None:
    curve = curve_of(np.array([0.9, 0.8, 0.1]), np.array([False, True, False]))
    chosen = curve.choose(0.9)
    assert (chosen.precision, chosen.threshold) == (0.5, pytest.approx(0.45))
    assert "precision 0.9 was not reached" in chosen.remark
    assert "greatest is 0.50" in chosen.remark


def test_the_greatest_precision_is_kept_though_it_is_less_than_one_percent_better() -> None:
    scores = np.repeat([0.9, 0.5], [91, 51])
    positive = np.r_[np.arange(91) > 0, np.arange(51) > 0]  # 90 of 91, then 140 of 142
    chosen = curve_of(scores, positive).choose(0.995)
    assert (chosen.threshold, chosen.precision) == (pytest.approx(0.7), pytest.approx(90 / 91))


def test_a_class_without_cases_keeps_one_half_and_says_that_it_is_a_guess() -> None:
    curve = curve_of(np.array([0.9, 0.2]), np.array([False, False]))
    assert curve.threshold == ()
    assert curve.choose(0.9)[:3] == (0.5, None, None)
    assert "guess" in curve.choose(0.9).remark


def test_a_curve_stays_small_however_many_cases_there_are() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(50_000) < 0.3
    scores = np.clip(0.5 * positive + 0.7 * rng.random(50_000), 0, 1)
    assert 10 < len(precision_curve(scores, positive)) <= 101
    assert len(precision_curve(positive + rng.random(50_000), positive)) <= 101


@pytest.mark.parametrize("kind", ["class", "tags"])
def test_calibration_keeps_thresholds_curves_and_remarks_of_every_class(kind: str) -> None:
    rng = np.random.default_rng(1)
    index = rng.integers(0, 2, 400)  # the third class has no case
    p = rng.dirichlet((1, 1, 1), 400)
    p[np.arange(400), index] += 1
    p /= p.sum(axis=1, keepdims=True)
    target = index if kind == "class" else np.eye(3)[index]
    names = [f"case{i}" for i in range(400)]
    made = with_thresholds(Calibration(n=400), ClassPredictions(names, names, target, p, ("a", "b", "c")))
    assert (made.precision, made.n) == (0.9, 400)
    assert made.thresholds["c"] == 0.5
    assert set(made.remarks) == {"c"}
    for name, k in (("a", 0), ("b", 1)):
        found = p[:, k] >= made.thresholds[name]
        assert (index[found] == k).mean() >= 0.9
        assert made.for_precision(0.9)[name].threshold == made.thresholds[name]
        assert made.for_precision(0.5)[name].recall >= made.for_precision(0.9)[name].recall  # type: ignore[operator]
    assert Calibration.model_validate_json(made.model_dump_json()) == made
