"""What a dry run says, and that it touches nothing."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tessera.core.data.case import Case
from tessera.core.errors import DataError
from tessera.core.inference.ledger import LedgerError
from tessera.core.inference.preview import preview
from tessera.core.inference.runner import run
from tessera.core.inference.shards import Shard

from .fakes import IDENTITY, make_files, make_steps


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    found = make_files(tmp_path / "in", n=5, extra=("badnan",))
    for case in found:
        os.utime(case.path("data"), (1_000_000_000, 1_000_000_000))
    return found


def plan(out: Path, cases: list[Case], **options: Any) -> dict[str, Any]:
    """Lines of the plan by case."""
    path = preview(IDENTITY, cases, out, **options).plan
    return {line["id"]: line for line in map(json.loads, path.read_text().splitlines())}


def test_before_a_run_everything_is_to_do_and_nothing_but_the_plan_is_written(
    tmp_path: Path, cases: list[Case]
) -> None:
    found = preview(IDENTITY, cases, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["plan.jsonl"]
    assert found.counts == {"to do": 6, "done": 0, "failed before": 0}
    assert found.bytes == sum(case.path("data").stat().st_size for case in cases)
    assert found.free_bytes > 0
    line = plan(tmp_path / "out", cases)["case000"]
    assert line["files"] == [str(cases[1].path("data"))]
    assert (line["bytes"], line["hash"]) == (cases[1].path("data").stat().st_size, None)


def test_after_a_run_it_says_what_would_happen_and_why(tmp_path: Path, cases: list[Case]) -> None:
    out = tmp_path / "out"
    run(make_steps(), cases, out)
    (out / "cases" / "case001.json").unlink()
    cases[3].path("data").write_bytes(b"new!")
    cases += make_files(tmp_path / "more", n=0, extra=("extra",))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    found = plan(out, cases)
    assert {name: line["status"] for name, line in found.items()} == {
        "badnan": "failed before", "case000": "done", "case001": "to do", "case002": "done",
        "case003": "done", "case004": "done", "extra": "to do",
    }  # fmt: skip
    assert "outputs are missing" in found["case001"]["reason"]
    assert "compared first" in found["case002"]["reason"]
    assert "not finite" in found["badnan"]["reason"]
    assert found["extra"]["reason"] == "not tried yet"
    assert found["case000"]["reason"] == ""
    assert len(found["case000"]["hash"]) == 64
    assert found["case002"]["hash"] is None
    (out / "plan.jsonl").unlink()
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_options_of_the_run_count(tmp_path: Path, cases: list[Case]) -> None:
    out = tmp_path / "out"
    run(make_steps(), cases, out)
    assert plan(out, cases, retry_failed=True)["badnan"]["status"] == "to do"
    assert plan(out, cases, only=["badnan"])["badnan"]["status"] == "to do"
    assert {line["status"] for line in plan(out, cases, restart=True).values()} == {"to do"}
    (out / "cases" / "case001.json").write_text("changed")
    assert plan(out, cases)["case001"]["status"] == "done"
    assert plan(out, cases, verify=True)["case001"]["status"] == "to do"
    with pytest.raises(DataError, match="names no case"):
        plan(out, cases, only=["nobody"])
    shards = [set(plan(out, cases, shard=Shard(i, 2))) for i in (1, 2)]
    assert shards[0] | shards[1] == {case.id for case in cases}
    assert not shards[0] & shards[1]


def test_results_of_another_model_are_refused_as_the_run_would(tmp_path: Path, cases: list[Case]) -> None:
    out = tmp_path / "out"
    run(make_steps(), cases, out)
    with pytest.raises(LedgerError, match="another model") as caught:
        preview(replace(IDENTITY, bundle_digest="x" * 64), cases, out)
    assert str(out) in caught.value.problem
    assert not (out / "plan.jsonl").exists()


def test_suspects_of_a_death_are_named(tmp_path: Path, cases: list[Case]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "in-flight.jsonl").write_text('["process", "p"]\n["begun", "case002"]\n')
    assert "tried alone" in plan(tmp_path / "out", cases)["case002"]["reason"]
