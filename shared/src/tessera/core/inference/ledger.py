"""What happened to each case, in one SQLite file that only the driver writes."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from tessera.core.data.case import Case
from tessera.core.errors import TesseraError
from tessera.core.inference.case_json import case_from_json, case_to_json
from tessera.core.inference.outputs import remove_outputs

LEDGER = "ledger.sqlite"
Status = Literal["pending", "ok", "failed", "skipped", "empty", "suspicious"]
DONE: tuple[Status, ...] = ("ok", "empty", "suspicious")

_FORMAT = 1
_SCHEMA = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE cases (
    case_id TEXT PRIMARY KEY, case_json TEXT NOT NULL, key TEXT NOT NULL, input_hash TEXT NOT NULL,
    stamp TEXT NOT NULL, status TEXT NOT NULL CHECK (status IN {get_args(Status)}), flags TEXT NOT NULL,
    duplicate_of TEXT NOT NULL, attempts INTEGER NOT NULL, error TEXT NOT NULL, trace TEXT NOT NULL,
    seconds TEXT NOT NULL, peak_bytes INTEGER NOT NULL, outputs TEXT NOT NULL, rows TEXT NOT NULL,
    code_version TEXT NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = {_FORMAT};
"""


class LedgerError(TesseraError):
    """The output folder's ledger cannot be used for this run."""


@dataclass(frozen=True)
class Identity:
    """What must be equal for old results to stand beside new ones.

    Args:
        bundle_digest: The model.
        config_digest: The options of the prediction.
        code_version: Versions and kind of machine.
        bundle_path: Where the model was, for a later merge; not compared.
        output: The options of the outputs as JSON, for a later merge; ``config_digest`` covers them.
    """

    bundle_digest: str
    config_digest: str
    code_version: str
    bundle_path: str = ""
    output: str = ""

    def key(self, input_hash: str) -> str:
        """Key of a result, 64 hex digits."""
        return hashlib.sha256(
            "\n".join((input_hash, self.bundle_digest, self.config_digest)).encode()
        ).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case in the ledger.

    Args:
        case: The case.
        key: Of input, bundle and options; empty before the input was hashed.
        input_hash: Empty before the input was hashed.
        stamp: Sizes and times of change of the input files as JSON; empty when they prove nothing.
        status: How it ended.
        flags: Remarks, for instance ``silent``.
        duplicate_of: Id of the first case with the same content, or empty.
        attempts: Times it was tried to the end.
        error: One line.
        trace: The traceback.
        seconds: By stage.
        peak_bytes: Most memory of the process so far.
        outputs: SHA-256 of each file, by its name relative to the folder.
        rows: The writer's rows, canonical JSON.
        code_version: Versions it was computed with.
    """

    case: Case
    key: str = ""
    input_hash: str = ""
    stamp: str = ""
    status: Status = "pending"
    flags: tuple[str, ...] = ()
    duplicate_of: str = ""
    attempts: int = 0
    error: str = ""
    trace: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    outputs: Mapping[str, str] = field(default_factory=dict)
    rows: str = "{}"
    code_version: str = ""

    @property
    def done(self) -> bool:
        """Whether it has a result."""
        return self.status in DONE


class Ledger:
    """An open ledger; holds the file locked until it is closed. Use ``open`` or ``read``."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def open(
        cls, folder: Path, identity: Identity, *, restart: bool = False, accept_version: bool = False
    ) -> Ledger:
        """Open or begin the ledger of an output folder; refuses one of another model or other options."""
        path = folder / LEDGER
        if restart:
            discard(folder)
        folder.mkdir(parents=True, exist_ok=True)
        ledger = cls(path, _connect(path, begin=True))
        try:
            ledger._check_identity(identity, accept_version=accept_version)
        except BaseException:
            ledger.close()
            raise
        return ledger

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """Open the ledger that must already be in a folder."""
        if not (folder / LEDGER).is_file():
            raise LedgerError(
                f"{folder} holds no results", expected=f"a file {LEDGER}", hint="run tessera predict first"
            )
        return cls(folder / LEDGER, _connect(folder / LEDGER, begin=False))

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file; everything recorded is already on disk."""
        with suppress(sqlite3.Error):  # at rest one plain file, also readable where nothing can be written
            self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()

    def identity(self) -> Identity:
        """Whose results these are."""
        return Identity(**self.fact("identity"))

    def fact(self, name: str) -> Any:
        """A value set by ``set_fact``, or ``None``."""
        found = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    def set_fact(self, name: str, value: Any) -> None:
        """Remember a value for the whole ledger."""
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def plan(self, cases: Sequence[Case]) -> None:
        """Add new cases as pending, renew what is known of the others, forget unfinished ones not listed."""
        with self._db:
            self._db.execute("CREATE TEMP TABLE IF NOT EXISTS listed (case_id TEXT PRIMARY KEY)")
            self._db.execute("DELETE FROM listed")
            self._db.executemany("INSERT INTO listed VALUES (?)", [(_text(case.id),) for case in cases])
            self._db.execute(
                "DELETE FROM cases WHERE status IN ('pending', 'failed', 'skipped')"
                " AND case_id NOT IN (SELECT case_id FROM listed)"
            )
            self._db.executemany(
                f"INSERT INTO cases VALUES ({', '.join('?' * 16)})"
                " ON CONFLICT (case_id) DO UPDATE SET case_json = excluded.case_json",
                (_to_sql(Row(case=case)) for case in cases),
            )

    def record(self, rows: Iterable[Row]) -> None:
        """Write the outcome of cases; on disk when this returns."""
        with self._db:
            self._db.executemany(
                f"INSERT OR REPLACE INTO cases VALUES ({', '.join('?' * 16)})", (_to_sql(row) for row in rows)
            )

    def set_stamp(self, case_id: str, stamp: str) -> None:
        """Renew what is known of the input files' times."""
        with self._db:
            self._db.execute("UPDATE cases SET stamp = ? WHERE case_id = ?", (stamp, _text(case_id)))

    def rows(self, *, full: bool = True) -> Iterator[Row]:
        """All rows, sorted by case id; ``full=False`` leaves out the writer's rows and tracebacks."""
        heavy = "rows, code_version" if full else "'{}', code_version"
        trace = "trace" if full else "''"
        cursor = self._db.execute(
            "SELECT case_json, key, input_hash, stamp, status, flags, duplicate_of, attempts, error, "
            f"{trace}, seconds, peak_bytes, outputs, {heavy} FROM cases ORDER BY case_id"
        )
        return (_from_sql(values) for values in cursor)

    def counts(self) -> dict[Status, int]:
        """How many cases have each status."""
        found = dict(self._db.execute("SELECT status, count(*) FROM cases GROUP BY status"))
        return {status: found.get(status, 0) for status in get_args(Status)}

    def mark_duplicates(self) -> None:
        """Point each done case at the first one (by id) with the same content; that makes it suspicious."""
        first: dict[str, str] = {}
        changed: list[tuple[str, Status, str]] = []
        for row in self.rows(full=False):
            if not row.done or not row.input_hash:
                continue
            original = first.setdefault(row.input_hash, row.case.id)
            duplicate_of = "" if original == row.case.id else original
            status: Status = row.status
            if status != "empty":
                status = "suspicious" if row.flags or duplicate_of else "ok"
            if (duplicate_of, status) != (row.duplicate_of, row.status):
                changed.append((_text(duplicate_of), status, _text(row.case.id)))
        with self._db:
            self._db.executemany("UPDATE cases SET duplicate_of = ?, status = ? WHERE case_id = ?", changed)

    def _check_identity(self, identity: Identity, *, accept_version: bool) -> None:
        stored = self.fact("identity")
        if stored is None:
            self.set_fact("identity", identity.__dict__)
            return
        old = Identity(**stored)
        for what, found, wanted in (
            ("model", old.bundle_digest, identity.bundle_digest),
            ("options", old.config_digest, identity.config_digest),
        ):
            if found != wanted:
                raise LedgerError(
                    f"{self.path.parent} holds results made with another {what}",
                    found=f"{what} {found[:12]}",
                    expected=f"{what} {wanted[:12]}",
                    hint="give another output folder, or --restart to throw the old results away",
                )
        if old.code_version != identity.code_version and not accept_version:
            raise LedgerError(
                f"{self.path.parent} holds results made with other versions",
                found=old.code_version,
                expected=identity.code_version,
                hint="--accept-version goes on (last digits may differ), --restart computes all anew",
            )
        self.set_fact("identity", identity.__dict__)


def discard(folder: Path) -> None:
    """Remove a ledger and the output files it names, whatever state it is in."""
    path = folder / LEDGER
    if not path.exists():
        return
    try:
        with Ledger.read(folder) as ledger:
            names = [name for row in ledger.rows(full=False) for name in row.outputs]
    except LedgerError as error:
        if "another process" in error.problem:
            raise
        names = []
    remove_outputs(folder, names)
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _connect(path: Path, *, begin: bool) -> sqlite3.Connection:
    """Connect and lock: write-ahead log, so that a kill at any moment leaves a whole ledger.

    Exclusive locking keeps a second driver out and needs no shared memory, which network disks lack.
    """
    connection = sqlite3.connect(path, timeout=0.5)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        form = connection.execute("PRAGMA user_version").fetchone()[0]
        empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if begin and empty:
            connection.executescript(f"BEGIN EXCLUSIVE;{_SCHEMA}COMMIT;")
            form = _FORMAT
        check = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _explain(path, error) from None
    if check != "ok" or form != _FORMAT:
        connection.close()
        raise _damaged(path, check if check != "ok" else f"format {form}")
    return connection


def _explain(path: Path, error: sqlite3.DatabaseError) -> LedgerError:
    if "locked" in str(error):
        return LedgerError(
            f"another process is writing to {path.parent}",
            found=error,
            hint="wait until it has finished, or stop it; several machines share work with --shard i/n",
        )
    if "unable to open" in str(error) or "readonly" in str(error):
        return LedgerError(f"cannot write to {path.parent}", found=error, hint="give another output folder")
    if "full" in str(error):
        return LedgerError(
            f"the disk of {path.parent} is full", found=error, hint="free some space, run again"
        )
    return _damaged(path, str(error))


def _damaged(path: Path, found: str) -> LedgerError:
    return LedgerError(
        f"{path} is damaged or was not written by this program",
        found=found,
        expected=f"a ledger of format {_FORMAT}",
        hint="put back a copy of the file, or --restart to compute everything anew",
    )


def _text(name: str) -> str:
    """File names may hold bytes that are no text; SQLite wants text."""
    return name.encode("utf-8", "backslashreplace").decode()


def _to_sql(row: Row) -> tuple[object, ...]:
    return (
        _text(row.case.id), case_to_json(row.case), row.key, row.input_hash, row.stamp, row.status,
        json.dumps(row.flags), row.duplicate_of, row.attempts, _text(row.error), _text(row.trace),
        json.dumps(row.seconds), row.peak_bytes, json.dumps(row.outputs), row.rows, row.code_version,
    )  # fmt: skip


def _from_sql(values: Sequence[Any]) -> Row:
    case, key, input_hash, stamp, status, flags, duplicate_of, *rest = values
    attempts, error, trace, seconds, peak_bytes, outputs, rows, code_version = rest
    return Row(
        case=case_from_json(case), key=key, input_hash=input_hash, stamp=stamp, status=status,
        flags=tuple(json.loads(flags)), duplicate_of=duplicate_of, attempts=attempts, error=error,
        trace=trace, seconds=json.loads(seconds), peak_bytes=peak_bytes, outputs=json.loads(outputs),
        rows=rows, code_version=code_version,
    )  # fmt: skip
