"""Ensembles of finished predictions, and fusion learnt from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tessera.core.errors import ConfigError, DataError
from tessera.core.evaluation import ClassPredictions, ManyValuePredictions, ValuePredictions, take
from tessera.core.inference.member_fusion import class_features, fuse_members
from tessera.core.training.stacking import STRENGTH, align, cross_fused, fit_fusion, pooled

CLASSES = ("a", "b", "c")


def said(rows: Sequence[Sequence[float]], target: Sequence[int], **changes: Any) -> ClassPredictions:
    names = [f"case-{i}" for i in range(len(rows))]
    values: dict[str, Any] = {"case_id": names, "group": names, "classes": CLASSES, "fold": ["1"] * len(rows)}
    return ClassPredictions(target=np.array(target), probabilities=np.array(rows), **(values | changes))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def member(rng: np.random.Generator, target: NDArray[np.int64], *, skill: float) -> ClassPredictions:
    """Log-probabilities of the right class higher by the skill, with unit noise; three folds in turn."""
    logits = rng.normal(size=(len(target), 3)) + skill * np.eye(3)[target]
    folds = [str(i // 3 % 3) for i in range(len(target))]
    return said(softmax(logits).tolist(), target.tolist(), fold=folds)


def told(predictions: Any) -> NDArray[np.float64]:
    assert isinstance(predictions, ClassPredictions)
    return predictions.probabilities


def accuracy(predictions: Any) -> float:
    return float((predictions.probabilities.argmax(1) == predictions.target).mean())


def test_the_sum_rule_gives_the_sheets_example() -> None:
    members = [said([row], [1]) for row in ([0.6, 0.4, 0.0], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2])]
    assert told(pooled(members))[0].tolist() == pytest.approx([0.4, 0.5, 0.1])
    weighed = pooled(members, weights=(3, 0, 1))
    assert told(weighed)[0].tolist() == pytest.approx([2.3 / 4, 1.5 / 4, 0.2 / 4])
    assert told(pooled(members, rule="max"))[0].argmax() == 1


def test_members_are_matched_by_case_and_only_common_ones_count() -> None:
    one = said([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 1, 2])
    other = take(said([[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]], [0, 1, 2]), [2, 0])
    found = pooled([one, other])
    assert found.case_id == ("case-0", "case-2")
    assert found.target.tolist() == [0, 2]
    np.testing.assert_allclose(told(found), [[0.75, 0.25, 0], [0.25, 0, 0.75]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": np.array([1])}, "the same classes or targets"),
        ({"classes": ("a", "c", "b")}, "the same classes or targets"),
        ({"case_id": ["another"]}, "no case in common"),
    ],
)
def test_members_that_were_asked_something_else_are_refused(changes: dict[str, Any], message: str) -> None:
    one = said([[1, 0, 0]], [0])
    with pytest.raises(DataError, match=message):
        align([one, replace(one, **changes)])


def test_numbers_are_pooled_to_the_moments_of_the_mixture() -> None:
    """Means 1 and 3, variances 0.5 and 1.5: mean 2, variance 1 + 1."""
    members = [
        ValuePredictions(["x"], ["x"], np.array([2.0]), np.array([mean]), np.sqrt([variance]))
        for mean, variance in ((1.0, 0.5), (3.0, 1.5))
    ]
    found = pooled(members)
    assert isinstance(found, ValuePredictions)
    assert found.std is not None
    assert (found.mean[0], found.std[0]) == pytest.approx((2.0, np.sqrt(2.0)))
    with pytest.raises(ConfigError, match="plain means"):
        pooled(members, weights=(1, 1))
    with pytest.raises(ConfigError, match="only classes and tags"):
        cross_fused([in_two_folds(one) for one in members])


def in_two_folds(one: ValuePredictions) -> ValuePredictions:
    twice = take(one, [0])
    return ValuePredictions(
        ["x", "y"],
        ["x", "y"],
        np.repeat(twice.target, 2),
        np.repeat(twice.mean, 2),
        None if twice.std is None else np.repeat(twice.std, 2),
        fold=["1", "2"],
    )


def test_learnt_weights_are_where_the_penalised_likelihood_is_flat() -> None:
    """Sum over cases of (p - y) x, plus the weights over the strength, is zero; the bias has no penalty."""
    rng = np.random.default_rng(0)
    target = np.arange(90) % 3
    stack = np.stack([member(rng, target, skill=s).probabilities for s in (1.0, 0.3)])
    fusion = fit_fusion(stack, target, classes=CLASSES)
    excess = fuse_members(stack, fusion, task="class") - np.eye(3)[target]
    slope = excess.T @ class_features(stack) + np.array(fusion.matrix) / STRENGTH
    assert np.abs(slope).max() < 1e-2
    assert np.abs(excess.sum(0)).max() < 1e-2
    assert fusion.n == 90
    halves = fit_fusion(
        np.concatenate([stack, stack], axis=1),
        np.r_[target, target],
        classes=CLASSES,
        weight=np.full(180, 0.5),
    )
    np.testing.assert_allclose(halves.matrix, fusion.matrix, atol=1e-3)
    assert halves.n == 90


def test_learnt_fusion_leaves_out_a_member_that_guesses() -> None:
    """One member knows, two are sure of noise: the sum rule suffers, the learnt rule does not."""
    rng = np.random.default_rng(1)
    target = np.arange(300) % 3
    members = [member(rng, target, skill=3.0)]
    for _ in range(2):
        noise = softmax(4 * rng.normal(size=(300, 3)))
        members.append(replace(members[0], probabilities=noise))
    learned, mean = accuracy(cross_fused(members)), accuracy(pooled(members))
    assert learned > mean + 0.1
    assert learned > accuracy(members[0]) - 0.02


def test_what_is_said_of_a_fold_does_not_depend_on_its_labels() -> None:
    rng = np.random.default_rng(2)
    target = rng.integers(0, 3, 120)
    members = [member(rng, target, skill=s) for s in (1.0, 2.0)]
    inside = np.array([fold == "1" for fold in members[0].fold])
    other = np.where(inside, (target + 1) % 3, target)
    changed = [replace(m, target=other) for m in members]
    before, after = cross_fused(members), cross_fused(changed)
    assert before.case_id == members[0].case_id
    np.testing.assert_array_equal(told(before)[inside], told(after)[inside])
    assert np.abs(told(before)[~inside] - told(after)[~inside]).max() > 0.01


def test_two_classes_have_a_row_each() -> None:
    rng = np.random.default_rng(3)
    target = np.arange(80) % 2
    p = 1 / (1 + np.exp(-(rng.normal(size=80) + 2 * (2 * target - 1))))
    stack = np.stack([p, 1 - p], axis=-1)[None, :, ::-1]
    fusion = fit_fusion(stack, target, classes=("no", "yes"))
    assert np.shape(fusion.matrix) == (2, 2)
    fused = fuse_members(stack, fusion, task="class")
    assert ((fused.argmax(1) == target) == (stack[0].argmax(1) == target)).mean() > 0.95
    assert (fused.argmax(1) == target).mean() > 0.9


def test_tags_are_learnt_one_by_one_and_one_that_never_occurs_keeps_the_mean() -> None:
    rng = np.random.default_rng(4)
    target = np.stack([np.arange(60) % 2, np.zeros(60, dtype=np.int64)], axis=1)
    good = np.where(target > 0, 0.8, 0.3) + rng.uniform(-0.1, 0.1, (60, 2))
    stack = np.stack([good, rng.uniform(0.05, 0.95, (60, 2))])
    fusion = fit_fusion(stack, target, classes=("often", "never"))
    assert fusion.matrix[0][0] > 3 * abs(fusion.matrix[0][1])
    assert fusion.matrix[1] == (0.5, 0.5)
    assert fusion.bias[1] == 0.0


def test_too_few_folds_and_missing_classes_are_told() -> None:
    one = said([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], [0, 1])
    with pytest.raises(ConfigError, match="two folds or more"):
        cross_fused([one, one])
    with pytest.raises(DataError, match="every class") as caught:
        fit_fusion(one.probabilities[None], np.array([0, 1]), classes=CLASSES)
    assert "none of c" in str(caught.value)
    with pytest.raises(ConfigError, match="shares of a mean"):
        pooled([one, one], rule="max", weights=(1, 1))


def test_several_numbers_are_fused_one_by_one() -> None:
    rng = np.random.default_rng(0)
    names, target = ["a", "b", "c"], rng.normal(size=(3, 2))
    members = [
        ManyValuePredictions(
            names, names, target, rng.normal(size=(3, 2)), ["x", "y"], rng.uniform(1, 2, (3, 2))
        )
        for _ in range(2)
    ]
    fused = pooled(members)
    assert isinstance(fused, ManyValuePredictions)
    assert fused.std is not None
    for name in ("x", "y"):
        alone = pooled([member.of(name) for member in members])
        assert isinstance(alone, ValuePredictions)
        np.testing.assert_allclose(fused.of(name).mean, alone.mean)
        np.testing.assert_allclose(fused.of(name).std, alone.std)
    stds = np.stack([member.std for member in members if member.std is not None])
    means = np.stack([member.mean for member in members])
    np.testing.assert_allclose(fused.std**2, (stds**2).mean(axis=0) + means.var(axis=0))
