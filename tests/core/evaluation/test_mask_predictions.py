from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tessera.core.data.targets import class_columns
from tessera.core.errors import DataError
from tessera.core.evaluation import (
    Evaluation,
    MaskPredictions,
    bootstrap_interval,
    evaluate,
    metrics_of,
    paired_difference,
    pool,
    read_predictions,
    take,
    write_predictions,
)

NAN = math.nan
COLUMNS = ("dice_left", "dice_right", "hd95_mm_left")
VALUES = [[0.9, NAN, 2.0], [0.7, 0.6, 4.0], [0.8, 1.0, NAN], [0.4, NAN, 8.0]]


def make(values: Any = VALUES, *, columns: tuple[str, ...] = COLUMNS, start: int = 0) -> MaskPredictions:
    n = len(values)
    names = [f"case{start + i}" for i in range(n)]
    return MaskPredictions(names, [f"g{i // 2}" for i in range(n)], np.array(values), columns, fold=["1"] * n)


def test_a_metric_is_the_mean_of_the_cases_that_have_it() -> None:
    metrics = {name: metric(make()).value for name, metric in metrics_of(make()).items()}
    assert metrics == pytest.approx(
        {
            "dice": (0.7 + 0.8) / 2,
            "dice_left": (0.9 + 0.7 + 0.8 + 0.4) / 4,
            "dice_right": (0.6 + 1.0) / 2,
            "hd95_mm_left": (2 + 4 + 8) / 3,
        }
    )
    assert next(iter(metrics)) == "dice"


def test_a_resample_counts_cases_as_often_as_it_drew_them() -> None:
    counts = np.array([[0.0, 3.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
    found = metrics_of(make())
    np.testing.assert_allclose(found["dice_right"](make(), counts).values, [(3 * 0.6 + 1.0) / 4, NAN])
    np.testing.assert_allclose(found["dice"](make(), counts).values, [(2.9 / 4 + 2.8 / 4) / 2, 0.65])


def test_a_class_no_case_has_is_left_out_of_the_mean_and_said_so() -> None:
    values = np.array(VALUES)
    values[:, 1] = NAN
    evaluation = evaluate(make(values), seed=0, n_resamples=50)
    assert evaluation.metrics["dice"].value == pytest.approx(0.7)
    assert evaluation.metrics["dice"].n_skipped == 1
    assert math.isnan(evaluation.metrics["dice_right"].value)
    assert "no case has a value" in str(evaluation.metrics["dice_right"].reason)


def test_an_evaluation_survives_its_json() -> None:
    evaluation = evaluate(make(), seed=0, n_resamples=50)
    again = Evaluation.from_json(evaluation.to_json())
    assert again == evaluation
    assert (again.task, again.n, again.n_groups) == ("segmentation", 4, 2)
    assert [again.per_class, again.confusion, again.reliability] == [(), (), ()]


def test_the_interval_is_that_of_resampled_groups() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(0.7, 0.1, 200), 2)[:, None]  # both cases of a group alike
    predictions = make(values, columns=("dice_left",))
    found = bootstrap_interval(metrics_of(predictions)["dice_left"], predictions, seed=1, n_resamples=2000)
    spread = values[::2].std() / np.sqrt(200)
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_two_models_are_compared_case_by_case() -> None:
    values = np.random.default_rng(0).uniform(0.4, 0.6, (60, 3))
    better, worse = make(values + 0.1), make(values)
    shuffled = take(worse, np.random.default_rng(1).permutation(60))
    found = paired_difference(metrics_of(better)["dice"], better, shuffled, seed=0)
    assert (found.difference, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    with pytest.raises(DataError, match="'columns' differs"):
        other = make(values, columns=("dice_a", "dice_b", "hd"))
        paired_difference(metrics_of(better)["dice"], better, other, seed=0)


def test_folds_are_pooled_and_other_columns_refused() -> None:
    pooled = pool([make(), make(start=10)])
    assert len(pooled) == 8
    np.testing.assert_array_equal(pooled.values, np.array(VALUES * 2))
    with pytest.raises(DataError, match="different columns"):
        pool([make(), make(columns=("a", "b", "c"), start=10)])
    with pytest.raises(DataError, match="more than once"):
        pool([make(), make()])


def test_a_table_reads_back_to_the_same_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((4, 3)) / 3
    values[1, 2] = NAN
    before = make(values)
    write_predictions(before, tmp_path / "p.csv")
    after = read_predictions(tmp_path / "p.csv", task="segmentation")
    assert isinstance(after, MaskPredictions)
    assert (after.case_id, after.group, after.fold, after.columns) == (
        before.case_id,
        before.group,
        before.fold,
        before.columns,
    )
    np.testing.assert_array_equal(after.values, before.values)


def test_rows_with_other_columns_are_filled_with_what_is_not_defined() -> None:
    found = MaskPredictions.of([{"dice_a": 1.0}, {"dice_b": 0.5}], case_id=["x", "y"], group=["x", "y"])
    assert found.columns == ("dice_a", "dice_b")
    np.testing.assert_array_equal(found.values, [[1.0, NAN], [NAN, 0.5]])


@pytest.mark.parametrize(
    ("values", "columns", "words"),
    [
        ([[math.inf, 0.0]], ("a", "b"), "never infinity"),
        ([[0.0, 0.0]], ("a", "group"), "names of their own"),
        ([[0.0, 0.0]], ("a", "a"), "names of their own"),
        ([[0.0, 0.0]], ("a",), "another shape"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(values: Any, columns: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError) as caught:
        make(values, columns=columns)
    assert words in str(caught.value)


def test_names_of_classes_become_names_of_columns() -> None:
    assert class_columns(("background", "left lung", "T12 (vertebra)")) == (
        "background",
        "left_lung",
        "T12_vertebra",
    )
    assert class_columns(("a b", "a-b", "Ä")) == ("a_b_0", "a_b_1", "2")
