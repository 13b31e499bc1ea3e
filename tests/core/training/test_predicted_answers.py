"""Answers written by a prediction, read back beside the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tessera.core.data.case import Case, FileRef
from tessera.core.data.hashing import InputHasher
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError
from tessera.core.evaluation import ClassPredictions, ManyValuePredictions, ValuePredictions
from tessera.core.evaluation.measures import FieldTable, read_measures, write_measures
from tessera.core.training import predicted_answers
from tessera.core.training.predicted_answers import read_answers

LABEL = TargetSpec(kind="class", classes=("no", "yes"))


class StoredRow:
    def __init__(self, case: Case, digest: str, error: str = "") -> None:
        self.case, self.input_hash, self.error = case, digest, error
        self.status = "failed" if error else "ok"


class StoredLedger:
    """Rows as a ledger gives them."""

    def __init__(self, rows: list[StoredRow]) -> None:
        self._rows = rows

    def __enter__(self) -> StoredLedger:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def rows(self, *, full: bool) -> Iterator[StoredRow]:
        assert not full
        yield from self._rows


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    found = []
    for name in "abc":
        path = tmp_path / f"{name}.bin"
        path.write_text(name, encoding="utf-8")
        found.append(Case(id=name, files={"file": FileRef(path=path)}, targets={"label": "yes"}, group=name))
    return found


def store(folder: Path, rows: list[StoredRow], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "predictions.csv").write_text(text, encoding="utf-8")

    class Ledger:
        @staticmethod
        def read(_: Path) -> StoredLedger:
            return StoredLedger(rows)

    monkeypatch.setattr(predicted_answers, "Ledger", Ledger)


def test_answers_are_found_by_content_then_by_id_and_failures_say_why(
    cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = cases
    renamed = replace(a, id="other name")
    rows = [
        StoredRow(renamed, InputHasher().hash(a.all_files(), a.select)),
        StoredRow(b, "hash of a cut-out"),
        StoredRow(c, "", error="cannot read c"),
    ]
    text = "case_id,p_yes,p_no\r\nother name,0.75,0.25\r\nb,0.5,0.5\r\n"
    store(tmp_path, rows, text, monkeypatch)
    lost = replace(c, id="d", files={"file": a.files["file"]}, select={"hdu": 9})
    found, failures = read_answers(tmp_path, LABEL, [*cases, lost], target_name="label")
    assert isinstance(found, ClassPredictions)
    assert found.case_id == ("a", "b")
    np.testing.assert_array_equal(found.probabilities, [[0.25, 0.75], [0.5, 0.5]])
    assert found.target.tolist() == [1, 1]
    assert failures == {"c": "cannot read c", "d": "it was not predicted"}


@pytest.mark.parametrize("several", [False, True])
def test_numbers_are_read_with_their_deviations(
    several: bool, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("x", "y") if several else ()
    spec = TargetSpec(kind="numbers" if several else "number", classes=names)
    case = replace(cases[0], targets={"label": (1.0, 2.0) if several else 1.0})
    heads = [f"{part}_{name}" for name in names for part in ("mean", "std")] or ["mean", "std"]
    text = f"case_id,{','.join(heads)}\r\na,{','.join(str(0.5 + i) for i in range(len(heads)))}\r\n"
    store(tmp_path, [StoredRow(case, "")], text, monkeypatch)
    found, _ = read_answers(tmp_path, spec, [case], target_name="label")
    if isinstance(found, ManyValuePredictions):
        assert (found.mean.tolist(), found.std is not None and found.std.tolist()) == (
            [[0.5, 2.5]],
            [[1.5, 3.5]],
        )
    else:
        assert isinstance(found, ValuePredictions)
        assert (found.mean.tolist(), found.target.tolist()) == ([0.5], [1.0])


def test_a_folder_without_a_fitting_answer_is_refused(
    cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path, [], "case_id,p_no,p_yes\r\n", monkeypatch)
    with pytest.raises(DataError, match=r"(?s)no answer.*it was not predicted"):
        read_answers(tmp_path, LABEL, cases, target_name="label")
    store(tmp_path, [StoredRow(cases[0], "")], "case_id,p_no\r\na,0.5\r\n", monkeypatch)
    with pytest.raises(DataError, match="lacks a number"):
        read_answers(tmp_path, LABEL, cases, target_name="label")


def test_tables_of_a_field_survive_their_file(tmp_path: Path) -> None:
    table = FieldTable("t", ("a", "b"), (("x", 0.5), ("y", float("nan"))), "n")
    write_measures(tmp_path, [table])
    assert read_measures(tmp_path) == (replace(table, rows=(("x", 0.5), ("y", None))),)
    assert read_measures(tmp_path / "elsewhere") == ()
