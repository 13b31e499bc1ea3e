"""The ledger: what it keeps, whom it refuses, what it says when it is damaged."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tessera.core.data.case import Case, FileRef
from tessera.core.inference.case_json import case_from_json, case_to_json
from tessera.core.inference.ledger import LEDGER, Identity, Ledger, LedgerError, Row, discard

from .fakes import IDENTITY

CASE = Case(
    id="site/ä b",
    files={
        "audio": FileRef(Path("in/a.wav"), ("https://x/a.wav",), "0" * 64, 12),
        "extra": (FileRef(Path("b")), FileRef(sha256="1" * 64)),
    },
    select={"hdu": 1, "span": (0, 1.5)},
    targets={"label": "no", "tags": ("a", "b"), "number": 2.5, "mask": FileRef(Path("m.nii"))},
    group="g",
    split="1",
    meta={"site": "north"},
)


def test_a_case_survives_json() -> None:
    assert case_from_json(case_to_json(CASE)) == CASE


def test_a_row_survives_the_ledger(tmp_path: Path) -> None:
    row = Row(
        case=CASE, key="k", input_hash="h", stamp="[]", status="suspicious", flags=("silent",),
        duplicate_of="b", attempts=2, error="e", trace="t", seconds={"reading": 0.5}, peak_bytes=7,
        outputs={"a.json": "0"},
        rows='{"t": [{"p": 0.1}]}', code_version="1.0",
    )  # fmt: skip
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        ledger.record([row])
    with Ledger.read(tmp_path) as ledger:
        assert list(ledger.rows()) == [row]
        assert list(ledger.rows(full=False)) == [replace(row, trace="", rows="{}")]
        assert ledger.identity() == IDENTITY
        assert ledger.counts()["suspicious"] == 1


def test_a_closed_ledger_is_one_plain_file(tmp_path: Path) -> None:
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        ledger.record([Row(case=CASE)])
    assert [path.name for path in tmp_path.iterdir()] == [LEDGER]


def test_rows_come_sorted_by_case_as_python_sorts(tmp_path: Path) -> None:
    names = ["b", "a10", "a9", "Z", "é", "𝄞", "\uffee", "a"]
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        ledger.plan([Case(id=name, files={}, group="g") for name in names])
        assert [row.case.id for row in ledger.rows()] == sorted(names)


def test_a_file_name_that_is_no_text_can_be_recorded(tmp_path: Path) -> None:
    odd = Case(id="a\udcff", files={"data": FileRef(Path("a\udcff.wav"))}, group="g")
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        ledger.plan([odd])
        assert [row.case for row in ledger.rows()] == [odd]


def test_planning_keeps_results_and_forgets_unfinished_cases_that_are_gone(tmp_path: Path) -> None:
    def case(name: str, group: str = "g") -> Case:
        return Case(id=name, files={}, group=group)

    with Ledger.open(tmp_path, IDENTITY) as ledger:
        ledger.record([Row(case=case("done"), status="ok"), Row(case=case("bad"), status="failed")])
        ledger.plan([case("done", group="new"), case("more")])
        rows = {row.case.id: row for row in ledger.rows()}
        assert {name: row.status for name, row in rows.items()} == {"done": "ok", "more": "pending"}
        assert rows["done"].case.group == "new"
        ledger.plan([case("more")])
        assert "done" in {row.case.id for row in ledger.rows()}


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("bundle_digest", "another model"),
        ("config_digest", "another options"),
        ("code_version", "other versions"),
    ],
)
def test_results_of_another_kind_are_refused(tmp_path: Path, field: str, text: str) -> None:
    Ledger.open(tmp_path, IDENTITY).close()
    with pytest.raises(LedgerError, match=text) as caught:
        Ledger.open(tmp_path, replace(IDENTITY, **{field: "x" * 64}))
    assert "--restart" in str(caught.value)


def test_accept_version_accepts_the_version_alone(tmp_path: Path) -> None:
    Ledger.open(tmp_path, IDENTITY).close()
    newer = replace(IDENTITY, code_version="2.0")
    with Ledger.open(tmp_path, newer, accept_version=True) as ledger:
        assert ledger.identity().code_version == "2.0"
    with pytest.raises(LedgerError, match="another model"):
        Ledger.open(tmp_path, replace(newer, bundle_digest="x"), accept_version=True)


def test_the_key_depends_on_input_model_and_options() -> None:
    keys = {
        IDENTITY.key("a"),
        IDENTITY.key("b"),
        Identity("x", "y", "z").key("a"),
        Identity("x", "z", "z").key("a"),
    }
    assert len(keys) == 4
    assert replace(IDENTITY, code_version="2").key("a") == IDENTITY.key("a")


def test_a_second_driver_is_told_that_the_folder_is_in_use(tmp_path: Path) -> None:
    with Ledger.open(tmp_path, IDENTITY), pytest.raises(LedgerError, match="another process is writing"):
        Ledger.open(tmp_path, IDENTITY)
    with Ledger.open(tmp_path, IDENTITY), pytest.raises(LedgerError, match="another process is writing"):
        discard(tmp_path)


@pytest.mark.parametrize("damage", ["text", "middle", "foreign"])
def test_a_damaged_ledger_says_so(tmp_path: Path, damage: str) -> None:
    path = tmp_path / LEDGER
    with Ledger.open(tmp_path, IDENTITY) as ledger:
        ledger.plan([Case(id=f"case{i}", files={}, group="g" * 200) for i in range(200)])
    if damage == "text":
        path.write_text("this is no database, but long enough to look at")
    elif damage == "middle":
        content = bytearray(path.read_bytes())
        content[8192:20480] = bytes([7]) * 12288
        path.write_bytes(content)
    else:
        path.unlink()
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE cases (name TEXT)")
        other.close()
    with pytest.raises(LedgerError, match="damaged or was not written by this program") as caught:
        Ledger.open(tmp_path, IDENTITY)
    assert "--restart" in str(caught.value)
    with Ledger.open(tmp_path, IDENTITY, restart=True) as ledger:
        assert list(ledger.rows()) == []


def test_restart_removes_the_outputs_it_knows_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a.json", "mine.txt"):
        (out / name).write_text("x")
    (tmp_path / "outside.txt").write_text("x")
    with Ledger.open(out, IDENTITY) as ledger:
        ledger.record([Row(case=CASE, status="ok", outputs={"a.json": "0", "../outside.txt": "0"})])
    discard(out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    assert (tmp_path / "outside.txt").exists()


def test_the_first_of_equal_inputs_is_the_original(tmp_path: Path) -> None:
    def row(name: str, digest: str, status: Any = "ok", flags: tuple[str, ...] = ()) -> Row:
        return Row(case=Case(id=name, files={}, group="g"), input_hash=digest, status=status, flags=flags)

    with Ledger.open(tmp_path, IDENTITY) as ledger:
        ledger.record([row("c", "1"), row("a", "1"), row("b", "2"), row("d", "2", "failed"), row("e", "1")])
        ledger.mark_duplicates()
        found = {r.case.id: (r.status, r.duplicate_of) for r in ledger.rows()}
        assert found == {
            "a": ("ok", ""), "b": ("ok", ""), "c": ("suspicious", "a"), "d": ("failed", ""),
            "e": ("suspicious", "a"),
        }  # fmt: skip
        ledger.record([row("a", "9"), row("c", "1"), row("e", "8", "suspicious", ("silent",))])
        ledger.mark_duplicates()
        found = {r.case.id: (r.status, r.duplicate_of) for r in ledger.rows()}
        assert found["c"] == ("ok", "")
        assert found["e"] == ("suspicious", "")


def test_a_folder_without_ledger_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="holds no results"):
        Ledger.read(tmp_path)
