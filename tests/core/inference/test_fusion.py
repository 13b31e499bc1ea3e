"""Fusion against hand-worked numbers and sampling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from tessera.core.inference.fusion import FusionRule, Task, fuse, probabilities


def test_mean_of_two_is_half_their_sum() -> None:
    assert fuse([[0.2, 0.8], [0.6, 0.4]], task="class").tolist() == pytest.approx([0.4, 0.6])


def test_geometric_mean_of_two_classes_by_hand() -> None:
    # sqrt(.2 * .8) = .4 and sqrt(.8 * .2) = .4: equal, so one half each after normalising.
    assert fuse([[0.2, 0.8], [0.8, 0.2]], task="class", rule="geometric") == pytest.approx([0.5, 0.5])
    # sqrt(.9 * .4) = .6, sqrt(.1 * .6) = sqrt(.06)
    expected = 0.6 / (0.6 + 0.06**0.5)
    assert fuse([[0.9, 0.1], [0.4, 0.6]], task="class", rule="geometric")[0] == pytest.approx(expected)


def test_geometric_mean_of_tags_treats_each_as_its_own_question() -> None:
    # odds 9 and 1: geometric mean of the odds is 3, a probability of 3/4
    assert fuse([[0.9], [0.5]], task="tags", rule="geometric") == pytest.approx([0.75])


def test_max_is_renormalised_for_classes_only() -> None:
    stack = [[0.2, 0.8], [0.7, 0.3]]
    assert fuse(stack, task="class", rule="max") == pytest.approx([0.7 / 1.5, 0.8 / 1.5])
    assert fuse(stack, task="tags", rule="max") == pytest.approx([0.7, 0.8])


def test_certain_zero_does_not_break_the_geometric_mean() -> None:
    fused = fuse([[0.0, 1.0], [0.5, 0.5]], task="class", rule="geometric")
    assert fused == pytest.approx([0.0, 1.0], abs=1e-6)


def test_numbers_fuse_to_the_moments_of_the_mixture() -> None:
    # means 1 and 3, variances 0.5 and 1.5: mean 2, variance 1 + 1
    fused = fuse([[1.0, np.log(0.5)], [3.0, np.log(1.5)]], task="number")
    assert fused == pytest.approx([2.0, np.log(2.0)])


def test_mixture_moments_agree_with_sampling() -> None:
    rng = np.random.default_rng(0)
    means, variances = np.array([0.0, 2.0, 5.0]), np.array([0.3, 1.0, 2.0])
    samples = rng.normal(means, np.sqrt(variances), (200_000, 3))
    mean, log_variance = fuse(np.stack([means, np.log(variances)], axis=-1), task="number")
    assert mean == pytest.approx(samples.mean(), abs=0.02)
    assert np.exp(log_variance) == pytest.approx(samples.var(), rel=0.01)


@pytest.mark.parametrize("rule", ["mean", "geometric", "max"])
@pytest.mark.parametrize("task", ["class", "tags"])
def test_one_answer_is_left_as_it_is(rule: FusionRule, task: Task) -> None:
    answer = [0.1, 0.2, 0.7]
    assert fuse([answer], task=task, rule=rule) == pytest.approx(answer)


def test_probabilities_are_scipys_softmax_and_expit() -> None:
    logits = np.random.default_rng(1).normal(0, 30, (5, 4)).astype(np.float32)
    values = logits.astype(np.float64) / 1.7
    assert probabilities(logits, task="class", temperature=1.7) == pytest.approx(softmax(values, axis=-1))
    assert probabilities(logits, task="tags", temperature=1.7) == pytest.approx(expit(values))


def test_probabilities_of_extreme_logits_stay_finite() -> None:
    extreme = np.array([[1e30, -1e30, 0.0]], dtype=np.float32)
    for task in ("class", "tags"):
        assert np.isfinite(probabilities(extreme, task=task, temperature=0.5)).all()


def test_nothing_to_fuse_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to fuse"):
        fuse(np.zeros((0, 3)), task="class")
