"""What a prediction would do, without doing it: one line a case in ``plan.jsonl``."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case
from tessera.core.inference.flight import read_flight
from tessera.core.inference.ledger import LEDGER, Identity, Ledger, LedgerError, Row
from tessera.core.inference.outputs import outputs_hold
from tessera.core.inference.runner import choose
from tessera.core.inference.shards import Shard, assign, shard_folder
from tessera.core.inference.stamps import stamp_of

PLAN = "plan.jsonl"
TO_DO, DONE, FAILED = "to do", "done", "failed before"


@dataclass(frozen=True)
class PlannedCase:
    """One line of the plan.

    Args:
        id: The case.
        files: Its input files.
        bytes: Their size; files that are missing count nothing.
        hash: Of the input, where an earlier run found it and sizes and times are still the same.
        status: ``to do``, ``done`` or ``failed before`` (and not tried again).
        reason: Why.
    """

    id: str
    files: tuple[str, ...]
    bytes: int
    hash: str | None
    status: str
    reason: str


@dataclass(frozen=True)
class Preview:
    """What a prediction would do.

    Args:
        plan: The file that lists it.
        counts: Cases by status.
        bytes: Size of what is to do.
        free_bytes: Room on the output folder's disk.
    """

    plan: Path
    counts: Mapping[str, int]
    bytes: int
    free_bytes: int


def preview(
    identity: Identity,
    cases: Sequence[Case],
    out: Path,
    *,
    retry_failed: bool = False,
    only: Sequence[str] = (),
    shard: Shard | None = None,
    verify: bool = False,
    restart: bool = False,
    accept_version: bool = False,
) -> Preview:
    """Write the plan of a prediction, and nothing else; the options are those of ``runner.run``.

    Outputs of earlier results are looked for, and hashed with ``verify`` only. Raises what the run itself
    would raise about a folder with other results.
    """
    chosen = choose(cases, only)
    if shard is not None:
        parts = assign(cases, shard.count)
        chosen = [case for case in chosen if parts[case.id] == shard.index]
        out = shard_folder(out, shard)
    suspects = read_flight(out).suspects
    earlier = {} if restart else _earlier(out, identity, accept_version=accept_version)
    planned = []
    for case in chosen:
        row = earlier.get(case.id, Row(case=case))
        status, reason = _look(row, case, out, retry=retry_failed or bool(only), verify=verify)
        if status == TO_DO and case.id in suspects:
            reason = "a process may have died of it; tried alone, before the others"
        planned.append(_line(case, row, status, reason))
    write_atomic(out / PLAN, "".join(json.dumps(asdict(line)) + "\n" for line in planned))
    counts = Counter(line.status for line in planned)
    return Preview(
        out / PLAN,
        {status: counts[status] for status in (TO_DO, DONE, FAILED)},
        sum(line.bytes for line in planned if line.status == TO_DO),
        shutil.disk_usage(out).free,
    )


def _earlier(out: Path, identity: Identity, *, accept_version: bool) -> Mapping[str, Row]:
    """The rows of an earlier run by case, from a copy: even reading a ledger changes its file."""
    if not (out / LEDGER).is_file():
        return {}
    with tempfile.TemporaryDirectory(prefix="tessera-plan-") as scratch:
        for name in (LEDGER, f"{LEDGER}-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(out / name, Path(scratch) / name)
        try:
            with Ledger.open(Path(scratch), identity, accept_version=accept_version) as ledger:
                return {row.case.id: row for row in ledger.rows(full=False)}
        except LedgerError as error:
            problem = error.problem.replace(scratch, str(out))
            raise LedgerError(problem, found=error.found, expected=error.expected, hint=error.hint) from None


def _look(row: Row, case: Case, out: Path, *, retry: bool, verify: bool) -> tuple[str, str]:
    """Status and reason of a case."""
    if row.status == "failed":
        return (TO_DO, f"is tried again: {row.error}") if retry else (FAILED, row.error)
    if not row.done:
        return TO_DO, row.error or "not tried yet"
    missing = [name for name in row.outputs if not (out / name).is_file()]
    if missing or (verify and not outputs_hold(out, row.outputs)):
        return TO_DO, "its outputs are missing or were changed"
    if verify or row.stamp != stamp_of(case):
        return DONE, "its content is compared first, and done again if it changed"
    return DONE, ""


def _line(case: Case, row: Row, status: str, reason: str) -> PlannedCase:
    paths = [ref.path for ref in case.all_files() if ref.path is not None]
    size = sum(path.stat().st_size for path in paths if path.is_file())
    known = row.input_hash if row.stamp and row.stamp == stamp_of(case) else ""
    return PlannedCase(case.id, tuple(map(str, paths)), size, known or None, status, reason)
