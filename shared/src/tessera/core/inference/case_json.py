"""A case as JSON text and back, so that the ledger can hand it to the writer again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tessera.core.data.case import Case, FileRef

_FILE = "$file"


def case_to_json(case: Case) -> str:
    """Canonical JSON; tuples become lists."""
    fields = {
        "id": case.id,
        "files": {role: _pack(value) for role, value in case.files.items()},
        "select": {name: _pack(value) for name, value in case.select.items()},
        "targets": {name: _pack(value) for name, value in case.targets.items()},
        "group": case.group,
        "split": case.split,
        "meta": dict(case.meta),
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def case_from_json(text: str) -> Case:
    """The case again; lists become tuples."""
    fields = json.loads(text)
    for name in ("files", "select", "targets"):
        fields[name] = {key: _unpack(value) for key, value in fields[name].items()}
    return Case(**fields)


def _pack(value: Any) -> Any:
    if isinstance(value, FileRef):
        path = None if value.path is None else str(value.path)
        return {_FILE: [path, list(value.urls), value.sha256, value.bytes]}
    if isinstance(value, tuple | list):
        return [_pack(item) for item in value]
    if isinstance(value, dict):
        return {key: _pack(item) for key, item in value.items()}
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_unpack(item) for item in value)
    if isinstance(value, dict):
        if _FILE in value:
            path, urls, sha256, n_bytes = value[_FILE]
            return FileRef(None if path is None else Path(path), tuple(urls), sha256, n_bytes)
        return {key: _unpack(item) for key, item in value.items()}
    return value
