"""Where each result comes from: ``provenance/<case>.json``, made from the ledger alone, without times."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from tessera.core.data.atomic import write_atomic
from tessera.core.inference.ledger import Identity, Ledger, Row
from tessera.core.inference.tables import remarks

PROVENANCE = "provenance"


def write_provenance(ledger: Ledger, out: Path) -> None:
    """One file a case that was tried: hashes of input, model, options and outputs, and versions.

    Equal results have equal files; seconds, memory, attempts and tracebacks are in the ledger, the first
    three also in ``run.json``.
    """
    identity = ledger.identity()
    for row in ledger.rows(full=False):
        if row.status not in ("pending", "skipped"):
            text = json.dumps(_facts(row, identity), indent=2, ensure_ascii=False) + "\n"
            write_atomic(_place(out, row), text.encode("utf-8", "backslashreplace").decode())


def measured(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """What differs from run to run, by case: seconds by stage, peak memory in bytes, attempts."""
    return {
        row.case.id: {"seconds": dict(row.seconds), "peak_bytes": row.peak_bytes, "attempts": row.attempts}
        for row in ledger.rows(full=False)
        if row.attempts
    }


def _facts(row: Row, identity: Identity) -> dict[str, Any]:
    return {
        "case_id": row.case.id,
        "files": [str(ref.path or (ref.urls or ("",))[0]) for ref in row.case.all_files()],
        "select": {name: str(value) for name, value in row.case.select.items()},
        "input_sha256": row.input_hash,
        "bundle_sha256": identity.bundle_digest,
        "options_sha256": identity.config_digest,
        "code_version": row.code_version,
        "status": row.status,
        "remarks": list(remarks(row)) if row.done else [],
        "error": row.error,
        "outputs": dict(row.outputs),
    }


def _place(out: Path, row: Row) -> Path:
    name = PurePosixPath(row.case.id)
    if name.is_absolute() or ".." in name.parts or len(name.name) > 200:
        name = PurePosixPath(row.input_hash or "unnamed")
    return out / PROVENANCE / f"{name}.json"
