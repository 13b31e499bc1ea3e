"""Shards: a fair division, and a merge with the bytes of one run or a clear word on what is missing."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.data.case import Case, FileRef
from tessera.core.errors import DataError
from tessera.core.inference.ledger import LedgerError
from tessera.core.inference.runner import run
from tessera.core.inference.shards import Shard, assign, merge, sharded_identity

from .fakes import IDENTITY, FakeWriter, FileReader, make_files, make_steps, tree


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    make_files(tmp_path / "in", n=10, extra=("badopenfails", "silentone", "emptyone"))
    for i in range(3):
        shutil.copy(tmp_path / "in" / "case004.bin", tmp_path / "in" / f"copy{i}.bin")
    return list(FileReader().find(tmp_path / "in"))


def run_shards(cases: list[Case], out: Path, n: int = 3, *, skip: Sequence[int] = (), **options: Any) -> None:
    for index in range(1, n + 1):
        if index not in skip:
            run(make_steps(**options), cases, out, shard=Shard(index, n))


@pytest.mark.parametrize("n", [1, 3])
def test_shards_together_equal_a_single_run(tmp_path: Path, cases: list[Case], n: int) -> None:
    single = run(make_steps(), cases, tmp_path / "single")
    run_shards(cases, tmp_path / "out", n)
    summary = merge(tmp_path / "out", FakeWriter())
    assert tree(tmp_path / "out") == tree(tmp_path / "single")
    assert (summary.ok, summary.failed, summary.suspicious, summary.empty, summary.exit_code) == (
        single.ok, single.failed, single.suspicious, single.empty, single.exit_code,
    )  # fmt: skip


def test_more_shards_than_cases_leave_some_empty(tmp_path: Path, cases: list[Case]) -> None:
    run(make_steps(), cases[:2], tmp_path / "single")
    run_shards(cases[:2], tmp_path / "out", 4)
    merge(tmp_path / "out", FakeWriter())
    assert tree(tmp_path / "out") == tree(tmp_path / "single")


def test_a_merge_can_be_repeated_and_the_merged_folder_goes_on(tmp_path: Path, cases: list[Case]) -> None:
    run_shards(cases, tmp_path / "out")
    merge(tmp_path / "out", FakeWriter())
    first = tree(tmp_path / "out")
    merge(tmp_path / "out", FakeWriter())
    assert tree(tmp_path / "out") == first
    writer = FakeWriter()
    assert run(make_steps(writer=writer), cases, tmp_path / "out").computed == 0
    assert writer.written == []


def test_a_resumed_shard_does_nothing_twice(tmp_path: Path, cases: list[Case]) -> None:
    run_shards(cases, tmp_path / "out")
    writer = FakeWriter()
    run_shards(cases, tmp_path / "out", writer=writer)
    assert writer.written == []


def test_a_missing_shard_is_named(tmp_path: Path, cases: list[Case]) -> None:
    run_shards(cases, tmp_path / "out", skip=[2])
    with pytest.raises(LedgerError, match=r"1 of 3 shards .* missing(.|\n)*--shard 2/3"):
        merge(tmp_path / "out", FakeWriter())


def test_an_unfinished_shard_is_named_with_its_cases(tmp_path: Path, cases: list[Case]) -> None:
    run_shards(cases, tmp_path / "out", skip=[2])
    mine = sorted(name for name, index in assign(cases, 3).items() if index == 2)
    run(make_steps(), cases, tmp_path / "out", shard=Shard(2, 3), only=mine[1:])
    with pytest.raises(LedgerError, match=rf"1 of 16 cases were not tried(.|\n)*{mine[0]}(.|\n)*--shard 2/3"):
        merge(tmp_path / "out", FakeWriter())


@pytest.mark.parametrize("damage", ["changed", "deleted"])
def test_a_damaged_output_is_named_with_its_shard(tmp_path: Path, cases: list[Case], damage: str) -> None:
    run_shards(cases, tmp_path / "out")
    index = assign(cases, 3)["case003"]
    path = tmp_path / "out" / "shards" / f"{index}-of-3" / "cases" / "case003.json"
    path.write_text("{}") if damage == "changed" else path.unlink()
    with pytest.raises(LedgerError, match=rf"missing or were changed(.|\n)*case003(.|\n)*--shard {index}/3"):
        merge(tmp_path / "out", FakeWriter())
    run_shards(cases, tmp_path / "out")
    merge(tmp_path / "out", FakeWriter())


def test_shards_of_different_models_or_versions_do_not_mix(tmp_path: Path, cases: list[Case]) -> None:
    run_shards(cases, tmp_path / "out", skip=[3])
    run_shards(cases, tmp_path / "out", skip=[1, 2], identity=replace(IDENTITY, code_version="2.0"))
    with pytest.raises(LedgerError, match="1-of-3 and 3-of-3 differ in their code version"):
        merge(tmp_path / "out", FakeWriter())
    assert merge(tmp_path / "out", FakeWriter(), accept_version=True).ok == 10
    shutil.rmtree(tmp_path / "out" / "shards" / "3-of-3")
    run_shards(cases, tmp_path / "out", skip=[1, 2], identity=replace(IDENTITY, config_digest="x"))
    with pytest.raises(LedgerError, match="config digest"):
        merge(tmp_path / "out", FakeWriter(), accept_version=True)


def test_shards_given_different_cases_do_not_mix(tmp_path: Path, cases: list[Case]) -> None:
    run_shards(cases, tmp_path / "out", skip=[3])
    run_shards([case for case in cases if case.id != "copy2"], tmp_path / "out", skip=[1, 2])
    with pytest.raises(LedgerError, match=r"given different cases(.|\n)*copy2"):
        merge(tmp_path / "out", FakeWriter())


def test_two_divisions_in_one_folder_are_refused(tmp_path: Path, cases: list[Case]) -> None:
    run_shards(cases, tmp_path / "out", 2)
    run_shards(cases, tmp_path / "out", 3)
    with pytest.raises(LedgerError, match="2 different divisions"):
        merge(tmp_path / "out", FakeWriter())


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="holds no shards"):
        merge(tmp_path, FakeWriter())


def test_a_merge_can_find_the_model_again(tmp_path: Path, cases: list[Case]) -> None:
    run_shards(cases, tmp_path / "out", identity=replace(IDENTITY, bundle_path="models/a"))
    assert sharded_identity(tmp_path / "out").bundle_path == "models/a"


sizes = st.lists(st.integers(0, 10**9), max_size=30)


def sized(values: list[int]) -> list[Case]:
    return [
        Case(id=f"c{i}", files={"data": FileRef(Path(f"{i}"), bytes=size)}, group="g")
        for i, size in enumerate(values)
    ]


@given(sizes, st.integers(1, 7), st.randoms(use_true_random=False))
def test_the_division_is_fair_complete_and_the_same_everywhere(
    values: list[int], n: int, rng: random.Random
) -> None:
    cases = sized(values)
    plan = assign(cases, n)
    assert set(plan) == {case.id for case in cases}
    shuffled = list(cases)
    rng.shuffle(shuffled)
    assert assign(shuffled, n) == plan
    loads = [sum(size for i, size in enumerate(values) if plan[f"c{i}"] == k) for k in range(1, n + 1)]
    assert max(loads, default=0) <= min(loads, default=0) + max(values, default=0)


def test_files_of_equal_size_are_dealt_out_evenly() -> None:
    plan = assign(sized([0] * 10), 5)
    assert sorted(plan.values()) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/", "-1/3", "1/0"])
def test_a_shard_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        Shard.parse(text)
    assert Shard.parse("2/8") == Shard(2, 8)
