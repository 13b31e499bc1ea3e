"""One prediction split over several machines that share nothing but a folder, and its merge."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tessera.core.data.atomic import replacing
from tessera.core.data.case import Case
from tessera.core.inference.interfaces import Writer
from tessera.core.inference.ledger import LEDGER, Identity, Ledger, LedgerError, Row
from tessera.core.inference.outputs import outputs_hold
from tessera.core.inference.provenance import measured, write_provenance
from tessera.core.inference.shard import SHARDS, Shard, shard_folder
from tessera.core.inference.summary import RunSummary
from tessera.core.inference.tables import write_tables

__all__ = ["SHARDS", "Shard", "assign", "merge", "shard_folder", "sharded_identity"]

_NAMED = 5  # cases named in an error; the rest are counted


def assign(cases: Sequence[Case], count: int) -> dict[str, int]:
    """Shard (from 1) of each case id: the largest case first, always to the shard with fewest bytes.

    It follows from the ids and sizes alone, so every machine finds the same.
    """
    load = [(0, 0, index) for index in range(1, count + 1)]  # bytes, cases, shard
    plan = {}
    for n_bytes, case_id in sorted((-_size(case), case.id) for case in cases):
        lightest = min(range(count), key=load.__getitem__)
        total, number, index = load[lightest]
        load[lightest] = (total - n_bytes, number + 1, index)
        plan[case_id] = index
    return plan


def sharded_identity(out: Path) -> Identity:
    """Whose results the shards below ``out`` hold; ``bundle_path`` is where the model was."""
    with Ledger.read(_folders(out)[0]) as ledger:
        return ledger.identity()


def merge(out: Path, writer: Writer, *, accept_version: bool = False, provenance: bool = False) -> RunSummary:
    """Check that all shards below ``out`` are complete and put them together as one run's folder.

    Outputs are linked where the disk allows it, else copied; the shards stay until they are deleted.

    Args:
        out: The folder given to all shards.
        writer: Writes the tables.
        accept_version: Merge shards although they were computed with different versions.
        provenance: Write ``provenance/<case>.json`` too.
    """
    folders = _folders(out)
    summary = RunSummary(out)
    with ExitStack() as stack:
        shards = {folder: stack.enter_context(Ledger.read(folder)) for folder in folders}
        identity = _check_alike(shards, accept_version=accept_version)
        rows = _check_complete(shards)
        for folder, row in rows:
            for name in row.outputs:
                _bring(folder / name, out / name)
        with Ledger.open(out, identity, accept_version=accept_version) as merged, summary.stage("tables"):
            merged.plan([row.case for _, row in rows])
            merged.record(row for ledger in shards.values() for row in ledger.rows())
            summary.tables = write_tables(merged, writer, out)
            if provenance:
                write_provenance(merged, out)
                summary.cases = measured(merged)
            summary.count(merged.counts())
    return summary


def _folders(out: Path) -> list[Path]:
    """The folders of all n shards, in order."""
    found = sorted(folder.name for folder in (out / SHARDS).glob("*-of-*") if folder.is_dir())
    counts = {int(name.partition("-of-")[2]) for name in found if name.partition("-of-")[2].isdecimal()}
    if len(counts) != 1:
        raise LedgerError(
            f"{out} holds shards of {len(counts)} different divisions"
            if counts
            else f"{out} holds no shards",
            found=", ".join(found) or "nothing",
            expected=f"{SHARDS}/1-of-n to n-of-n",
            hint="delete the folders of the other division"
            if counts
            else "run predict with --shard i/n first",
        )
    count = counts.pop()
    folders = [shard_folder(out, Shard(index, count)) for index in range(1, count + 1)]
    missing = [folder.name for folder in folders if not (folder / LEDGER).is_file()]
    if missing:
        raise LedgerError(
            f"{len(missing)} of {count} shards of {out} are missing",
            found=", ".join(found),
            expected=f"also {', '.join(missing)}",
            hint="run them: " + ", ".join(f"--shard {name.replace('-of-', '/')}" for name in missing),
        )
    return folders


def _check_alike(shards: Mapping[Path, Ledger], *, accept_version: bool) -> Identity:
    identities = {folder: ledger.identity() for folder, ledger in shards.items()}
    first_folder, first = next(iter(identities.items()))
    plan = _shard_fact(shards[first_folder])["plan"]
    for folder, other in identities.items():
        for what in ("bundle_digest", "config_digest", "code_version"):
            if getattr(other, what) != getattr(first, what) and not (
                accept_version and what == "code_version"
            ):
                raise LedgerError(
                    f"shards {first_folder.name} and {folder.name} differ in their {what.replace('_', ' ')}",
                    found=getattr(other, what),
                    expected=getattr(first, what),
                    hint="--accept-version merges them all the same (last digits may differ)"
                    if what == "code_version"
                    else f"run --shard {folder.name.replace('-of-', '/')} again with --restart",
                )
        odd = set(plan.items()) ^ set(_shard_fact(shards[folder])["plan"].items())
        if odd:
            raise LedgerError(
                f"shards {first_folder.name} and {folder.name} were given different cases",
                found=f"they differ in {_names(sorted({case_id for case_id, _ in odd}))}",
                hint="run all shards again over the same inputs; what is done is kept",
            )
    return first


def _shard_fact(ledger: Ledger) -> dict[str, Any]:
    fact = ledger.fact("shard")
    if fact is None:
        raise LedgerError(f"{ledger.path.parent} has not begun", hint="run this shard again")
    return fact


def _check_complete(shards: Mapping[Path, Ledger]) -> list[tuple[Path, Row]]:
    """Every planned case exactly once, tried, and with its outputs as they were written."""
    rows = [(folder, row) for folder, ledger in shards.items() for row in ledger.rows(full=False)]
    home = {row.case.id: folder for folder, row in rows}
    if len(home) != len(rows):
        twice = sorted(row.case.id for folder, row in rows if home[row.case.id] != folder)
        raise LedgerError(f"{len(twice)} cases are in more than one shard", found=_names(twice))
    plan: dict[str, int] = _shard_fact(next(iter(shards.values())))["plan"]
    tried = {row.case.id for _, row in rows if row.status not in ("pending", "skipped")}
    wanting = sorted(set(plan) - tried)
    if wanting:
        at_fault = sorted({plan[case_id] for case_id in wanting})
        raise LedgerError(
            f"{len(wanting)} of {len(plan)} cases were not tried yet",
            found=_names(wanting),
            hint="run again: " + ", ".join(f"--shard {index}/{len(shards)}" for index in at_fault),
        )
    changed = [(folder, row) for folder, row in rows if not outputs_hold(folder, row.outputs)]
    if changed:
        at_fault_folders = sorted({folder.name.replace("-of-", "/") for folder, _ in changed})
        raise LedgerError(
            f"outputs of {len(changed)} cases are missing or were changed",
            found=_names([row.case.id for _, row in changed]),
            hint="run again: " + ", ".join(f"--shard {name}" for name in at_fault_folders),
        )
    return rows


def _bring(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _size(case: Case) -> int:
    total = 0
    for ref in case.all_files():
        if ref.bytes is not None:
            total += ref.bytes
        elif ref.path is not None and ref.path.exists():
            total += ref.path.stat().st_size
    return total


def _names(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more
