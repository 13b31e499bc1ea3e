"""What a writer remarks on a case stands in the ledger beside the remarks of reading."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from tessera.core.inference.interfaces import CaseResult, Written
from tessera.core.inference.ledger import Ledger
from tessera.core.inference.runner import run

from .fakes import FakeWriter, make_files, make_steps


class RemarkingWriter(FakeWriter):
    """Remarks on some cases, on one of them what is already known."""

    def write(self, result: CaseResult, out: Path) -> Written:
        flags = {"case001": ("odd",), "silent": ("odd", "silent")}
        return replace(super().write(result, out), flags=flags.get(result.case.id, ()))


def test_remarks_of_the_writer_make_a_case_suspicious(tmp_path: Path) -> None:
    cases = make_files(tmp_path / "in", n=3, extra=["silent"])
    out = tmp_path / "out"
    run(make_steps(writer=RemarkingWriter()), cases, out)
    with Ledger.read(out) as ledger:
        found = {row.case.id: (row.status, row.flags) for row in ledger.rows()}
    assert found == {
        "case000": ("ok", ()),
        "case001": ("suspicious", ("odd",)),
        "case002": ("ok", ()),
        "silent": ("suspicious", ("odd", "silent")),
    }
    with (out / "remarks.csv").open(newline="") as text:
        remarks = [(row["case_id"], row["remark"]) for row in csv.DictReader(text)]
    assert remarks == [("case001", "odd"), ("silent", "odd"), ("silent", "silent")]
