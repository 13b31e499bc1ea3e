from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from tessera.core.data.case import Case, FileRef, Target
from tessera.core.data.group_folds import assign_groups, strata
from tessera.core.data.splits import (
    Split,
    check_classes,
    check_leaks,
    fold_names,
    load_or_make_split,
    make_split,
)
from tessera.core.errors import DataError


def case(
    name: str, group: str, label: Target | None = None, *, split: str = "", sha: str | None = None
) -> Case:
    files = {"file": FileRef(sha256=sha)} if sha else {}
    targets = {} if label is None else {"label": label}
    return Case(id=name, files=files, targets=targets, group=group, split=split)


def many(n_groups: int = 20, *, size: int = 2, classes: str = "ab") -> list[Case]:
    """Groups of equal size; all cases of a group have one class, classes alternate."""
    return [
        case(f"g{group:02d}-{number}", f"g{group:02d}", classes[group % len(classes)])
        for group in range(n_groups)
        for number in range(size)
    ]


def roles_of_groups(cases: Sequence[Case], split: Split) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for item in cases:
        found.setdefault(item.group, set()).add(split.roles[item.id])
    return found


labelled_groups = st.lists(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=8, max_size=25
).filter(lambda groups: len({label for group in groups for label in group}) > 1)


@settings(max_examples=60, deadline=None)
@given(
    groups=labelled_groups,
    n_folds=st.integers(2, 4),
    val_fraction=st.sampled_from([0.0, 0.15, 0.4]),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_every_case_has_one_role_and_no_group_two(
    groups: list[list[str]], n_folds: int, val_fraction: float, seed: int, data: st.DataObject
) -> None:
    cases = [
        case(f"{g}.{i}", str(g), label) for g, labels in enumerate(groups) for i, label in enumerate(labels)
    ]
    tested: list[str] = []
    for fold in fold_names(cases, n_folds):
        options = {"fold": fold, "n_folds": n_folds, "val_fraction": val_fraction, "seed": seed}
        try:
            split = make_split(cases, target="label", **options)  # type: ignore[arg-type]
        except DataError as error:
            assert "too few classes" in str(error)  # all but one class in the tested fold
            return
        assert set(split.roles) == {item.id for item in cases}
        assert set(split.roles.values()) == {"train", "test"} | ({"val"} if val_fraction else set())
        assert all(len(roles) == 1 for roles in roles_of_groups(cases, split).values())
        shuffled = data.draw(st.permutations(cases))
        assert make_split(shuffled, target="label", **options).roles == split.roles  # type: ignore[arg-type]
        tested += [item.id for item in split.cases(cases, "test")]
    assert sorted(tested) == sorted(item.id for item in cases)


def test_equal_groups_are_shared_out_exactly() -> None:
    cases = many(20)
    split = make_split(cases, fold="2", n_folds=5, val_fraction=0.25, seed=3, target="label")
    assert Counter(split.roles.values()) == {"train": 24, "val": 8, "test": 8}
    for role, count in (("train", 12), ("val", 4), ("test", 4)):
        labels = Counter(item.targets["label"] for item in split.cases(cases, role))  # type: ignore[arg-type]
        assert labels == {"a": count, "b": count}
    assert (split.fold, split.warnings) == ("2", ())


def test_the_seed_changes_the_folds_and_nothing_else_does() -> None:
    cases = many(30)
    first = make_split(cases, fold="1", seed=1, target="label")
    assert make_split(cases, fold="1", seed=1, target="label") == first
    assert make_split(cases, fold="1", seed=2, target="label").roles != first.roles
    assert make_split(cases, seed=1, target="label") == first  # the first fold is the default


def test_folds_balance_classes_about_as_well_as_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    labels = np.where(rng.random(60) < 0.3, "rare", "often")[groups]
    names = [str(group) for group in groups]

    def spread(folds: list[np.ndarray]) -> float:
        return float(np.std([np.mean(labels[rows] == "rare") for rows in folds]))

    oracle = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups)
    bins = assign_groups(names, strata(list(labels)), [0.2] * 5, np.random.default_rng(0))
    ours = [np.flatnonzero([bins[name] == number for name in names]) for number in range(5)]
    assert spread(ours) <= spread([test for _, test in oracle]) + 0.02
    assert max(map(len, ours)) - min(map(len, ours)) <= 5  # the largest group


def test_as_many_folds_as_groups_leave_one_group_out_each() -> None:
    sizes = {"george": 40, "theo": 3, "lucas": 1}
    cases = [case(f"{who}{i}", who, "ab"[i % 2]) for who, n in sizes.items() for i in range(n)]
    tested = [
        {
            item.group
            for item in make_split(cases, fold=fold, n_folds=3, val_fraction=0.0).cases(cases, "test")
        }
        for fold in fold_names(cases, 3)
    ]
    assert sorted(map(sorted, tested)) == [["george"], ["lucas"], ["theo"]]


@pytest.mark.parametrize("small", [0.01, 0.05, 0.3])
def test_no_part_stays_empty_however_small_its_share(small: float) -> None:
    groups = ["big"] * 50 + ["middle"] * 5 + ["tiny"]
    counts = strata([None] * len(groups))
    bins = assign_groups(groups, counts, [1.0 - small, small], np.random.default_rng(0))
    assert set(bins.values()) == {0, 1}
    assert bins["big"] == 0


def test_numbers_are_balanced_by_their_size() -> None:
    cases = [case(f"c{i:03d}", f"g{i:03d}", float(i)) for i in range(100)]
    split = make_split(cases, n_folds=5, val_fraction=0.2, target="label")
    means = [
        np.mean([float(str(c.targets["label"])) for c in split.cases(cases, role)])
        for role in ("test", "val")
    ]
    assert np.abs(np.asarray(means) - 49.5).max() < 6  # a random fifth misses by more in 1 of 3 draws


def test_several_numbers_are_balanced_each_by_its_size() -> None:
    rng = np.random.default_rng(0)
    values = rng.permuted(np.tile(np.arange(100.0), (2, 1)), axis=1).T
    cases = [case(f"c{i:03d}", f"g{i:03d}", tuple(row)) for i, row in enumerate(values.tolist())]
    test = make_split(cases, n_folds=5, val_fraction=0.2, target="label").cases(cases, "test")
    means = np.mean([item.targets["label"] for item in test], axis=0)  # type: ignore[arg-type]
    assert np.abs(means - 49.5).max() < 6


def test_tags_are_balanced_one_by_one() -> None:
    cases = [case(f"c{i:02d}", f"g{i:02d}", ("rain",) if i % 4 == 0 else ()) for i in range(40)]
    for fold in fold_names(cases, 5):
        split = make_split(cases, fold=fold, n_folds=5, target="label")
        assert sum(bool(item.targets["label"]) for item in split.cases(cases, "test")) == 2


def test_official_folds_are_obeyed_and_sorted_as_numbers() -> None:
    cases = [case(f"c{i}", f"g{i}", "ab"[i % 2], split=str(i % 11 + 1)) for i in range(44)]
    assert fold_names(cases, 5) == tuple(str(number) for number in range(1, 12))
    split = make_split(cases, fold="10", val_fraction=0.2, target="label")
    assert {item.id for item in split.cases(cases, "test")} == {c.id for c in cases if c.split == "10"}
    assert Counter(split.roles.values()) == {"train": 32, "val": 8, "test": 4}
    assert make_split(cases, target="label").fold == "1"
    with pytest.raises(DataError, match="no fold '12'"):
        make_split(cases, fold="12")


def test_official_parts_are_obeyed() -> None:
    parts = ["train"] * 6 + ["val"] * 2 + ["test"] * 2 + [""]
    cases = [case(f"c{i:02d}", f"g{i:02d}", "ab"[i % 2], split=part) for i, part in enumerate(parts)]
    split = make_split(cases, val_fraction=0.5, target="label")
    assert [split.roles[item.id] for item in cases] == [*parts[:-1], "unused"]
    assert fold_names(cases, 5) == ()
    with pytest.raises(DataError, match="no folds"):
        make_split(cases, fold="1")


def test_a_missing_official_validation_part_is_taken_from_training() -> None:
    parts = ["train"] * 8 + ["test"] * 2
    cases = [case(f"c{i}", f"g{i}", "ab"[i % 2], split=part) for i, part in enumerate(parts)]
    roles = make_split(cases, val_fraction=0.25, target="label").roles
    assert Counter(roles.values()) == {"train": 6, "val": 2, "test": 2}
    assert roles["c8"] == roles["c9"] == "test"


def test_cases_without_the_target_are_unused() -> None:
    cases = [*many(10), case("dark", "dark")]
    assert make_split(cases, target="label").roles["dark"] == "unused"
    assert make_split(cases).roles["dark"] != "unused"


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        (["train", "test", "1", "2"], "mixes parts and folds"),
        (["training", "testing"], "write test instead of testing; write train instead of training"),
        (["Validation", "train"], "write val instead of Validation"),
        (["1", "1"], "one fold only"),
        (["val", "test"], "no case is left for training"),
    ],
)
def test_an_unclear_official_split_is_refused(splits: list[str], words: str) -> None:
    cases = [case(f"c{i}", f"g{i}", "ab"[i % 2], split=name) for i, name in enumerate(splits * 2)]
    with pytest.raises(DataError, match=words):
        make_split(cases)


@pytest.mark.parametrize(
    ("n_groups", "n_folds", "words"), [(4, 5, "too few groups for 5 folds"), (5, 5, ""), (1, 2, "1 groups")]
)
def test_too_few_groups_are_refused(n_groups: int, n_folds: int, words: str) -> None:
    cases = many(n_groups, size=10)
    if not words:
        assert make_split(cases, n_folds=n_folds, target="label")
        return
    with pytest.raises(DataError, match=words):
        make_split(cases, n_folds=n_folds, target="label")


def test_one_group_is_not_enough_to_train_and_validate() -> None:
    with pytest.raises(DataError, match="training and validation"):
        make_split(many(2), n_folds=2, val_fraction=0.1)


def test_a_group_on_two_sides_of_an_official_split_is_refused() -> None:
    cases = [case(f"c{i}", f"g{i // 2}", "ab"[i % 2], split=str(i % 3)) for i in range(12)]
    with pytest.raises(DataError, match=r"groups lie on two sides.*\n.*g0: c0 in test, c1 in") as caught:
        make_split(cases, fold="0")
    assert "samples.csv" in str(caught.value)


def test_a_content_on_two_sides_is_refused_and_named() -> None:
    cases = [case("x", "g1", "a", sha="1" * 64), case("y", "g2", "a", sha="1" * 64)]
    groups = {"x": "g1", "y": "g2"}
    with pytest.raises(DataError, match="x in train, y in test"):
        check_leaks(cases, Split({"x": "train", "y": "test"}, groups))
    check_leaks(cases, Split({"x": "train", "y": "train"}, groups))
    check_leaks(cases, Split({"x": "train", "y": "unused"}, groups))


def test_a_training_part_of_one_class_is_refused() -> None:
    cases = [case(f"c{i}", f"g{i}", "call" if i < 3 else "no", split="1" if i < 3 else "2") for i in range(8)]
    with pytest.raises(DataError, match="too few classes of label") as caught:
        make_split(cases, fold="1", target="label")
    assert "call, no" in str(caught.value)


def test_a_training_part_without_a_positive_is_refused() -> None:
    cases = [case(f"c{i}", f"g{i}", ("rain",) if i < 2 else (), split="12"[i > 3]) for i in range(8)]
    with pytest.raises(DataError, match="no positive case"):
        make_split(cases, fold="1", target="label")


def test_parts_that_lack_a_class_are_named() -> None:
    labels = "aabbc"
    cases = [case(f"{i}", f"g{i}", label) for i, label in enumerate(labels)]
    split = Split({"0": "train", "2": "train", "4": "test", "1": "val", "3": "val"}, {})
    assert check_classes(cases, split, "label") == [
        "the training part of fold '' has no case of c",
        "the validation part of fold '' has no case of c",
        "the test part of fold '' has no case of a, b",
    ]


def test_a_split_survives_its_file(tmp_path: Path) -> None:
    cases = many(20)
    cases[0] = case('odd, "name"', "g00", "a")
    split = make_split(cases, fold="3", val_fraction=0.25, target="label")
    split.write(tmp_path / "splits.csv")
    assert Split.read(tmp_path / "splits.csv") == split
    text = (tmp_path / "splits.csv").read_text(encoding="utf-8")
    assert text.startswith("case,group,role,fold\n")
    assert len(text.splitlines()) == len(cases) + 1


def test_a_split_that_is_there_is_never_made_again(tmp_path: Path) -> None:
    cases, path = many(10), tmp_path / "splits.csv"
    first = load_or_make_split(path, cases, fold="1", seed=1, target="label")
    before = path.read_bytes()
    again = load_or_make_split(path, cases, fold="2", seed=9, target="label")
    assert again.roles == first.roles
    assert path.read_bytes() == before


def test_a_split_of_other_cases_is_refused(tmp_path: Path) -> None:
    cases, path = many(10), tmp_path / "splits.csv"
    load_or_make_split(path, cases, target="label")
    with pytest.raises(DataError, match="made for other cases"):
        load_or_make_split(path, cases[1:], target="label")
    with pytest.raises(DataError, match="g00-0"):
        load_or_make_split(path, [case("g00-0", "moved", "a"), *cases[1:]], target="label")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case,role\nx,train\n", "wrong columns"),
        ("case,group,role,fold\nx,g,trian,1\n", "line 2: unknown role"),
        ("case,group,role,fold\nx,g,train,1\nx,g,test,1\n", "listed twice"),
        ("case,group,role,fold\nx,g,train,1\ny,g,test,2\n", "one fold"),
        ("case,group,role,fold\n", "no rows"),
    ],
)
def test_a_damaged_split_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "splits.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        Split.read(path)
