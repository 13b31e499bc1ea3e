"""Predictions: what is refused, what is kept, and the table that reads back to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tessera.core.errors import DataError
from tessera.core.evaluation import (
    ClassPredictions,
    ManyValuePredictions,
    Task,
    ValuePredictions,
    pool,
    read_predictions,
    softmax,
    take,
    write_predictions,
)

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8)
LABEL = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0|"), min_size=1, max_size=8
)
IN_PLACE = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def valid(**changes: Any) -> ClassPredictions:
    fields: dict[str, Any] = {
        "case_id": ["a", "b"],
        "group": ["g", "g"],
        "target": np.array([0, 1]),
        "probabilities": np.array([[0.7, 0.3], [0.4, 0.6]]),
        "classes": ["cat", "dog"],
    }
    return ClassPredictions(**(fields | changes))


def test_task_follows_from_the_target() -> None:
    assert valid().task == "multiclass"
    assert valid(target=np.eye(2)).task == "multilabel"
    assert ValuePredictions(["a"], ["a"], np.ones(1), np.ones(1)).task == "regression"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"case_id": ["a", "a"]}, "more than once"),
        ({"group": ["g"]}, "group"),
        ({"fold": ["1", "2", "3"]}, "fold"),
        ({"classes": ["cat", "cat"]}, "same name"),
        ({"classes": ["cat|dog", "fox"]}, "cat|dog"),
        ({"classes": ["cat"]}, "shape"),
        ({"classes": [], "probabilities": np.zeros((2, 0))}, "no classes"),
        ({"target": np.array([0, 2])}, "'target' is not usable for 'b'"),
        ({"target": np.array([0, -1])}, "'target' is not usable for 'b'"),
        ({"target": np.array([0])}, "target"),
        ({"probabilities": np.array([[0.7, 0.3], [np.nan, 0.6]])}, "'b'"),
        ({"probabilities": np.array([[1.7, -0.7], [0.4, 0.6]])}, "'a'"),
        ({"probabilities": np.array([[0.7, 0.7], [0.4, 0.6]])}, "softmax"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(DataError) as caught:
        valid(**changes)
    assert named in str(caught.value)


@pytest.mark.parametrize("std", [[1.0, 0.0], [1.0, -1.0], [1.0, np.inf], [1.0]])
def test_a_std_that_is_no_std_is_refused(std: list[float]) -> None:
    with pytest.raises(DataError, match="std"):
        ValuePredictions(["a", "b"], ["a", "b"], np.zeros(2), np.zeros(2), np.array(std))


def test_float32_softmax_is_accepted_and_kept_in_double() -> None:
    p: Any = softmax(np.random.default_rng(0).normal(size=(50, 30))).astype(np.float32)
    names = [str(i) for i in range(50)]
    kept = ClassPredictions(names, names, np.zeros(50, dtype=int), p, names[:30])
    assert kept.probabilities.dtype == np.float64
    np.testing.assert_array_equal(kept.probabilities, p)


def test_predictions_do_not_share_the_arrays_they_were_made_from() -> None:
    p = np.array([[0.7, 0.3], [0.4, 0.6]])
    kept = valid(probabilities=p)
    p[0] = np.nan
    assert np.isfinite(kept.probabilities).all()


def test_cases_are_taken_in_the_order_asked_for() -> None:
    taken = take(valid(fold=["1", "2"]), [1, 0])
    assert (taken.case_id, taken.fold, taken.target.tolist()) == (("b", "a"), ("2", "1"), [1, 0])
    assert taken.probabilities[0].tolist() == [0.4, 0.6]


def test_pooling_needs_the_same_classes() -> None:
    with pytest.raises(DataError, match="different classes"):
        pool([valid(), valid(case_id=["c", "d"], classes=["cat", "fox"])])


def test_pooling_without_std_in_one_part_has_no_std() -> None:
    with_std = ValuePredictions(["a"], ["a"], np.zeros(1), np.zeros(1), np.ones(1))
    without = ValuePredictions(["b"], ["b"], np.zeros(1), np.zeros(1))
    assert pool([with_std, without]).std is None


@st.composite
def labelled(draw: st.DrawFn) -> ClassPredictions:
    names = draw(st.lists(TEXT, unique=True, max_size=5))
    classes = draw(st.lists(LABEL, unique=True, min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = len(names), len(classes)
    several = draw(st.booleans())
    target = rng.random(shape) < 0.5 if several else rng.integers(0, shape[1], shape[0])
    p = rng.random(shape) if several else softmax(rng.normal(0, 5, shape))
    column = st.lists(TEXT, min_size=len(names), max_size=len(names))
    return ClassPredictions(names, draw(column), target, p, classes, fold=draw(column))


@IN_PLACE
@given(before=labelled())
def test_class_predictions_read_back_to_the_same_bits(before: ClassPredictions, tmp_path: Path) -> None:
    write_predictions(before, tmp_path / "p.csv")
    after = read_predictions(tmp_path / "p.csv", task=before.task)
    assert isinstance(after, ClassPredictions)
    for name in ("case_id", "group", "fold", "classes"):
        assert getattr(after, name) == getattr(before, name)
    np.testing.assert_array_equal(after.target, before.target)
    assert after.probabilities.tobytes() == before.probabilities.tobytes()


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@IN_PLACE
@given(
    rows=st.lists(st.tuples(FINITE, FINITE, st.floats(5e-324, 1e308)), max_size=5),
    has_std=st.booleans(),
)
def test_values_read_back_to_the_same_bits(
    rows: list[tuple[float, float, float]], has_std: bool, tmp_path: Path
) -> None:
    columns = np.array(rows).reshape(-1, 3).T
    names = [str(i) for i in range(len(rows))]
    before = ValuePredictions(names, names, columns[0], columns[1], columns[2] if has_std else None)
    write_predictions(before, tmp_path / "p.csv")
    after = read_predictions(tmp_path / "p.csv", task="regression")
    assert isinstance(after, ValuePredictions)
    assert after.target.tobytes() == before.target.tobytes()
    assert after.mean.tobytes() == before.mean.tobytes()
    assert (after.std is None) == (not has_std)
    if after.std is not None and before.std is not None:
        assert after.std.tobytes() == before.std.tobytes()


def test_the_table_has_the_promised_columns(tmp_path: Path) -> None:
    write_predictions(valid(target=np.ones((2, 2)), fold=["1", "1"]), tmp_path / "p.csv")
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines == [
        "case_id,group,fold,target,p_cat,p_dog",
        "a,g,1,cat|dog,0.7,0.3",
        "b,g,1,cat|dog,0.4,0.6",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


@pytest.mark.parametrize(
    ("text", "task", "named"),
    [
        ("", "multiclass", "case_id"),
        ("case_id,group,fold,target\na,a,,x\n", "multiclass", "p_<class>"),
        ("case_id,group,fold,target,p_x\na,a,,y,1.0\n", "multiclass", "'y'"),
        ("case_id,group,fold,target,p_x\na,a,,,1.0\n", "multiclass", "''"),
        ("case_id,group,fold,target,p_x\na,a,,x,much\n", "multiclass", "p_x"),
        ("case_id,group,fold,target,p_x\na,a,,x\n", "multilabel", "row 1"),
        ("case_id,group,fold,target,p_x\na,a,,1.0,1.0\n", "regression", "mean"),
    ],
)
def test_a_damaged_table_is_refused_by_name(text: str, task: Task, named: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_predictions(path, task=task)
    assert named in str(caught.value)
    assert "p.csv" in str(caught.value)


def many(std: bool = True) -> ManyValuePredictions:
    target, mean = np.array([[0.1, 10.0], [0.3, 30.0]]), np.array([[0.2, 11.0], [0.3, 1 / 3]])
    spread = np.array([[0.1, 1.0], [0.2, 2.0]]) if std else None
    return ManyValuePredictions(["a", "b"], ["g", "h"], target, mean, ["x", "y_z"], spread, fold=["1", "2"])


@pytest.mark.parametrize("std", [True, False])
def test_several_numbers_survive_the_table_to_the_last_bit(std: bool, tmp_path: Path) -> None:
    subject = many(std)
    write_predictions(subject, tmp_path / "p.csv")
    found = read_predictions(tmp_path / "p.csv", task="regression")
    assert isinstance(found, ManyValuePredictions)
    assert (found.case_id, found.group, found.fold, found.names) == (
        ("a", "b"),
        ("g", "h"),
        ("1", "2"),
        ("x", "y_z"),
    )
    np.testing.assert_array_equal(found.mean, subject.mean)
    np.testing.assert_array_equal(found.target, subject.target)
    assert (found.std is None) is not std
    assert pool([take(found, [0]), take(found, [1])]).of("y_z").mean.tolist() == [11.0, 1 / 3]


def test_a_number_that_is_not_finite_is_named_by_its_case() -> None:
    with pytest.raises(DataError, match="'b'"):
        ManyValuePredictions(["a", "b"], ["a", "b"], np.ones((2, 2)), np.array([[1.0, 2], [3, np.nan]]), "xy")
