"""Tables of a search for tidal features, from scores whose shares can be counted."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.astronomy.measures import auroc_within, tidal_measures
from tessera.astronomy.metrics import auc_within
from tessera.core.data.case import Case
from tessera.core.errors import ConfigError
from tessera.core.evaluation import ClassPredictions

# Ten plain galaxies with scores 0.05, 0.15, ..., 0.95, and four tidal ones.
PLAIN = [0.05 + 0.1 * i for i in range(10)]
TIDAL = {0.9: ("24.5", "tail"), 0.8: ("25.2", "shell"), 0.76: ("26.7", "stream"), 0.3: ("26.9", "stream")}


def subject() -> tuple[ClassPredictions, list[Case]]:
    scores = np.array([*PLAIN, *TIDAL])
    metas: list[dict[str, str]] = [{} for _ in PLAIN] + [
        {"mu": mu, "feature": name} for mu, name in TIDAL.values()
    ]
    cases = [Case(id=f"g{i}", files={}, group=f"g{i}", meta=meta) for i, meta in enumerate(metas)]
    names = [case.id for case in cases]
    p = np.stack([1 - scores, scores], axis=1)
    target = np.array([0] * 10 + [1] * 4)
    return ClassPredictions(names, names, target, p, ["none", "tidal"]), cases


def test_completeness_and_both_contaminations_are_those_counted_by_hand() -> None:
    predictions, cases = subject()
    points, _, _ = tidal_measures(
        predictions, cases, values={"false_positive_rates": [0.2], "prevalence": [0.5]}
    )
    ((threshold, completeness, false_positives, false_discoveries, purity),) = points.rows
    assert threshold == pytest.approx(
        0.76
    )  # above it two plain galaxies, 0.85 and 0.95, and three tidal ones
    assert str(completeness).startswith("0.750 [")
    assert str(false_positives).startswith("0.200 [")
    assert false_discoveries == pytest.approx(2 / 5)
    assert purity == pytest.approx(0.75 / (0.75 + 0.2))


def test_completeness_is_told_by_brightness_and_by_feature() -> None:
    predictions, cases = subject()
    _, brightness, feature = tidal_measures(predictions, cases, values={"brightness_edges": [24, 26, 27]})
    assert [(row[0], row[1], str(row[2])[:5]) for row in brightness.rows] == [
        ("24 to 26", 2, "1.000"),
        ("26 to 27", 2, "0.500"),
    ]
    assert [(row[0], row[1], str(row[2])[:5]) for row in feature.rows] == [
        ("shell", 1, "1.000"),
        ("stream", 2, "0.500"),
        ("tail", 1, "1.000"),
    ]


def test_scores_that_know_the_type_alone_are_worth_nothing_within_it() -> None:
    # Late types are perturbed more often and get 0.8, early ones 0.2.
    rows = [("-5", 0, 0.2)] * 9 + [("-5", 1, 0.2)] * 5 + [("10", 0, 0.8)] * 5 + [("10", 1, 0.8)] * 9
    rows += [("2", 0, 0.2)] * 4 + [("2", 1, 0.2)] * 9 + [("", 0, 0.5)]  # four are too few for a line of T = 2
    cases = [
        Case(id=f"g{i}", files={}, group=f"g{i}", meta={"T": kind} if kind else {})
        for i, (kind, _, _) in enumerate(rows)
    ]
    names, scores = [case.id for case in cases], np.array([row[2] for row in rows])
    target = np.array([row[1] for row in rows])
    predictions = ClassPredictions(
        names, names, target, np.stack([1 - scores, scores], axis=1), ["none", "tidal"]
    )
    *_, table = tidal_measures(predictions, cases, values={})
    assert table.title == "Within one morphological type"
    assert [row[:3] for row in table.rows] == [
        ("all", 23, 19),
        ("within one type", 23, 19),
        ("-5", 5, 9),
        ("10", 9, 5),
    ]
    shown = [str(row[3]).split()[0] for row in table.rows]
    above = sum((a > b) + 0.5 * (a == b) for a in scores[target == 1] for b in scores[target == 0])
    assert shown == [f"{above / (23 * 19):.3f}", "0.500", "0.500", "0.500"]


def test_the_resampled_area_within_strata_is_that_of_the_cases_drawn() -> None:
    rng = np.random.default_rng(0)
    scores, target = rng.integers(0, 5, 60) / 5, rng.random(60) < 0.4
    strata = rng.choice(["a", "b", "c"], 60).tolist()
    names = [f"g{i}" for i in range(60)]
    predictions = ClassPredictions(
        names, names, target.astype(int), np.stack([1 - scores, scores], axis=1), ["none", "tidal"]
    )
    counts = rng.integers(0, 3, (4, 60)).astype(float)
    found = auroc_within(strata)(predictions, counts).values
    for row, value in zip(counts.astype(int), found, strict=True):
        drawn = np.repeat(np.arange(60), row)
        expected = auc_within(scores[drawn], target[drawn], [strata[i] for i in drawn])
        assert value == pytest.approx(expected)
    assert auroc_within(strata)(predictions).value == pytest.approx(auc_within(scores, target, strata))
    alone = auroc_within(names)(predictions)
    assert np.isnan(alone.value) and alone.reason is not None


def test_a_mistyped_option_is_refused_and_other_classes_have_no_such_measures() -> None:
    predictions, cases = subject()
    with pytest.raises(ConfigError, match="prevalance"):
        tidal_measures(predictions, cases, values={"prevalance": [0.1]})
    other = ClassPredictions(["a"], ["a"], np.array([0]), np.array([[0.4, 0.6]]), ["x", "y"])
    assert tidal_measures(other, cases[:1], values={}) == ()
