"""Classification metrics against scikit-learn, worked examples and repeated cases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from tessera.core.evaluation import ClassPredictions, softmax
from tessera.core.evaluation import metrics as m
from tessera.core.evaluation.metrics.classification import recall_of_classes

SINGLE = [
    m.accuracy,
    m.balanced_accuracy,
    m.macro_f1,
    m.auroc_macro,
    m.auroc_micro,
    m.average_precision_macro,
    m.log_loss,
    m.brier,
]


def predictions(target: np.ndarray, probabilities: np.ndarray) -> ClassPredictions:
    names = [f"case{i}" for i in range(len(target))]
    classes = [f"class{k}" for k in range(probabilities.shape[1])]
    return ClassPredictions(names, names, target, probabilities, classes)


def multiclass(n: int = 200, k: int = 5, *, seed: int = 0, ties: bool = False) -> ClassPredictions:
    rng = np.random.default_rng(seed)
    target = np.r_[np.arange(k), rng.integers(0, k, n - k)]
    p = softmax(rng.normal(size=(n, k)) + 1.5 * np.eye(k)[target])
    if ties:
        p = rng.multinomial(8, p) / 8
    return predictions(target, p)


def multilabel(n: int = 200, k: int = 4, *, seed: int = 0) -> ClassPredictions:
    rng = np.random.default_rng(seed)
    return predictions(rng.random((n, k)) < 0.3, np.round(rng.random((n, k)), 1))


def worked_tags() -> ClassPredictions:
    target = np.array([[1, 0], [0, 1], [1, 0], [0, 0]])
    scores = np.array([[0.9, 0.2], [0.8, 0.6], [0.7, 0.6], [0.1, 0.1]])
    return predictions(target, scores)


def test_worked_tags_have_the_published_areas() -> None:
    assert m.auroc_macro(worked_tags()).value == pytest.approx(0.791667, abs=1e-6)
    assert m.auroc_micro(worked_tags()).value == pytest.approx(0.833333, abs=1e-6)


def test_three_worked_cases_give_hand_computed_values() -> None:
    # Decided: 0, 1, 0; true: 0, 1, 1. Recalls 1 and 1/2; F1 of both 2/3.
    worked = predictions(np.array([0, 1, 1]), np.array([[0.8, 0.2], [0.4, 0.6], [0.7, 0.3]]))
    assert m.accuracy(worked).value == pytest.approx(2 / 3)
    assert m.balanced_accuracy(worked).value == pytest.approx(3 / 4)
    assert m.macro_f1(worked).value == pytest.approx(2 / 3)
    assert m.brier(worked).value == pytest.approx((0.04 + 0.16 + 0.49) / 3)
    assert m.log_loss(worked).value == pytest.approx(-np.log(0.8 * 0.6 * 0.3) / 3)
    assert m.confusion_matrix(worked).tolist() == [[1, 0], [1, 1]]


def test_all_scores_tied_give_an_area_of_one_half() -> None:
    tied = predictions(np.array([[1], [0], [0]]), np.full((3, 1), 0.4))
    assert m.auroc_macro(tied).value == 0.5


@pytest.mark.parametrize("ties", [False, True])
def test_multiclass_metrics_agree_with_scikit_learn(ties: bool) -> None:
    subject = multiclass(ties=ties)
    target, p = subject.target, subject.probabilities
    decided, onehot = p.argmax(axis=1), subject.positive
    expected = {
        m.accuracy: oracle.accuracy_score(target, decided),
        m.balanced_accuracy: oracle.balanced_accuracy_score(target, decided),
        m.macro_f1: oracle.f1_score(target, decided, average="macro"),
        m.auroc_macro: oracle.roc_auc_score(onehot, p, average="macro"),
        m.auroc_micro: oracle.roc_auc_score(onehot, p, average="micro"),
        m.average_precision_macro: oracle.average_precision_score(onehot, p, average="macro"),
        m.brier: oracle.brier_score_loss(target, p, scale_by_half=True),
        m.log_loss: oracle.log_loss(target, p),
    }
    for metric, value in expected.items():
        assert metric(subject).value == pytest.approx(value, abs=1e-12), metric.__name__
    np.testing.assert_array_equal(m.confusion_matrix(subject), oracle.confusion_matrix(target, decided))


def test_multilabel_metrics_agree_with_scikit_learn() -> None:
    subject = multilabel()
    truth, p = subject.positive, subject.probabilities
    expected = {
        m.accuracy: oracle.accuracy_score(truth, p >= 0.5),
        m.macro_f1: oracle.f1_score(truth, p >= 0.5, average="macro"),
        m.auroc_macro: oracle.roc_auc_score(truth, p, average="macro"),
        m.auroc_micro: oracle.roc_auc_score(truth, p, average="micro"),
        m.average_precision_macro: oracle.average_precision_score(truth, p, average="macro"),
        m.brier: oracle.brier_score_loss(truth.ravel(), p.ravel()),
        m.log_loss: oracle.log_loss(truth.ravel(), p.ravel()),
    }
    for metric, value in expected.items():
        assert metric(subject).value == pytest.approx(value, abs=1e-12), metric.__name__


def test_two_classes_have_the_binary_area() -> None:
    subject = multiclass(k=2)
    expected = oracle.roc_auc_score(subject.target, subject.probabilities[:, 1])
    assert m.auroc_macro(subject).value == pytest.approx(expected, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    labels=st.lists(st.booleans(), min_size=2, max_size=12).filter(lambda x: 0 < sum(x) < len(x)),
    seed=st.integers(0, 1000),
)
def test_area_is_the_share_of_pairs_ranked_right(labels: list[bool], seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 4, len(labels)) / 4
    wins = [
        (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2
        for i in range(len(labels))
        for j in range(len(labels))
        if labels[i] and not labels[j]
    ]
    subject = predictions(np.array(labels)[:, None], scores[:, None])
    assert m.auroc_macro(subject).value == pytest.approx(np.mean(wins))


@pytest.mark.parametrize("metric", SINGLE, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize("make", [multiclass, multilabel])
def test_a_case_counted_twice_is_a_case_written_twice(
    metric: m.Metric[ClassPredictions], make: Callable[..., ClassPredictions]
) -> None:
    subject = make(n=40, seed=3)
    counts = np.random.default_rng(4).integers(0, 4, (6, 40))
    together = metric(subject, counts.astype(np.float64))
    for row, value in zip(counts, together.values, strict=True):
        repeated = predictions(
            np.repeat(subject.target, row, axis=0), np.repeat(subject.probabilities, row, axis=0)
        )
        assert value == pytest.approx(metric(repeated).value, abs=1e-12)


def test_many_resamples_in_blocks_equal_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = multilabel(n=50)
    counts = np.random.default_rng(5).integers(0, 3, (30, 50)).astype(np.float64)
    whole = m.auroc_micro(subject, counts).values
    monkeypatch.setattr("tessera.core.evaluation.metrics._ranking._BLOCK", 700)
    np.testing.assert_array_equal(m.auroc_micro(subject, counts).values, whole)


def test_a_class_with_one_label_value_is_skipped_and_counted() -> None:
    truth = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]])
    subject = predictions(truth, np.array([[0.9, 0.1, 0.3], [0.2, 0.2, 0.4], [0.7, 0.3, 0.5]]))
    score = m.auroc_macro(subject)
    assert (score.value, score.n_skipped, score.reason) == (1.0, 2, None)
    precision = m.average_precision_macro(subject)
    assert (precision.value, precision.n_skipped) == (1.0, 1)  # only positives: every threshold is right


def test_a_class_absent_from_the_test_set_is_left_out_of_balanced_accuracy() -> None:
    subject = predictions(np.array([0, 0, 1, 1]), np.eye(3)[[0, 1, 1, 1]])
    score = m.balanced_accuracy(subject)
    assert (score.value, score.n_skipped) == (0.75, 1)
    assert np.isnan(recall_of_classes(subject)[0, 2])


def test_one_class_only_leaves_areas_undefined_with_a_reason() -> None:
    subject = predictions(np.zeros(3, dtype=int), np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]))
    score = m.auroc_macro(subject)
    assert np.isnan(score.value)
    assert score.reason == "no class has both positive and negative cases"
    assert m.accuracy(subject).value == pytest.approx(2 / 3)


def test_no_positives_at_all_leave_precision_undefined_with_a_reason() -> None:
    subject = predictions(np.zeros((3, 2), dtype=bool), np.full((3, 2), 0.2))
    assert m.average_precision_macro(subject).reason == "no class has a positive case"
    assert "all negative" in str(m.auroc_micro(subject).reason)
    assert np.isnan(m.macro_f1(subject).value)


@pytest.mark.parametrize("metric", SINGLE, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize("target", [np.zeros(0, dtype=int), np.zeros((0, 3), dtype=bool)])
def test_no_cases_give_nan_with_a_reason(metric: m.Metric[ClassPredictions], target: np.ndarray) -> None:
    score = metric(predictions(target, np.zeros((0, 3))))
    assert np.isnan(score.value)
    assert score.reason


def test_a_certain_mistake_has_a_finite_loss() -> None:
    assert 30 < m.log_loss(predictions(np.array([0]), np.array([[0.0, 1.0]]))).value < 40
