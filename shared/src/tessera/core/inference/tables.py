"""Tables over all cases of an output folder, always made from the ledger alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case
from tessera.core.inference.interfaces import Outcome, OutcomeWriter, Writer, Written
from tessera.core.inference.ledger import Ledger, Row

FAILURES = "failures.csv"
REMARKS = "remarks.csv"


def write_tables(ledger: Ledger, writer: Writer, out: Path) -> tuple[str, ...]:
    """The writer's tables, ``failures.csv`` and ``remarks.csv`` (also when empty); returns their names."""
    ledger.mark_duplicates()
    names = writer.collect(_results(ledger), out)
    if isinstance(writer, OutcomeWriter):
        names += writer.collect_outcomes(_outcomes(ledger), out)
    heads = list(ledger.rows(full=False))
    _write(
        out / FAILURES,
        ("case_id", "path", "status", "error", "attempts"),
        ((r.case.id, _path(r.case), r.status, r.error, str(r.attempts)) for r in heads if _failed(r)),
    )
    _write(
        out / REMARKS,
        ("case_id", "path", "remark"),
        ((r.case.id, _path(r.case), remark) for r in heads if r.done for remark in remarks(r)),
    )
    return (*names, FAILURES, REMARKS)


def remarks(row: Row) -> tuple[str, ...]:
    """What a person should look at though the case has a result."""
    found = row.flags
    if row.status == "empty":
        found += ("nothing to predict in it",)
    if row.duplicate_of:
        found += (f"same content as {row.duplicate_of}",)
    return found


def _failed(row: Row) -> bool:
    return row.status in ("failed", "skipped")


def _results(ledger: Ledger) -> Iterator[tuple[Case, Written]]:
    for row in ledger.rows():
        if row.done and row.status != "empty":
            yield row.case, Written(tuple(row.outputs), json.loads(row.rows))


def _outcomes(ledger: Ledger) -> Iterator[Outcome]:
    for row in ledger.rows():
        reason = "; ".join(remarks(row)) if row.done else row.error
        yield Outcome(row.case, row.status, reason, Written(tuple(row.outputs), json.loads(row.rows)))


def _path(case: Case) -> str:
    return next((str(ref.path) for ref in case.all_files() if ref.path is not None), "")


def _write(path: Path, header: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(lines)
    write_atomic(path, text.getvalue().encode("utf-8", "backslashreplace").decode())
