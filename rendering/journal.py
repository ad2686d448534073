"""The journal: a SQLite file that knows every job's state, attempts, times and reasons, for resuming and for the report.

The folder of results is the truth about what is done; the journal adds what no result tells. A corrupt one is put aside
and made again from the receipts. Knows nothing of workers.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import InputError, OutputError
from .plan import Plan
from .receipts import Receipt, read_receipt

VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    row INTEGER NOT NULL,
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    digest TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    seconds REAL,
    write_seconds REAL
) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the journal knows of one job."""

    id: str
    row: int
    task: str
    model: str
    digest: str
    state: str
    attempts: int
    reason: str | None
    seconds: float | None
    write_seconds: float | None


class Journal:
    """Open for one engine alone (the caller holds the lock of the folder). Raises OutputError when it cannot be
    written, the disk being full for instance."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rebuilt = False
        """Whether an unreadable journal was put aside."""
        try:
            self._database = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
                raise _output_error(path, error) from error
            self._put_aside()
            self._database = self._open()
            self.rebuilt = True

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, isolation_level=None, timeout=5)
        try:
            database.execute("PRAGMA locking_mode=EXCLUSIVE")
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            if version > VERSION:
                raise InputError(
                    f"{self.path} is of a newer acetate: use that, or another folder for the results"
                )
            database.execute(_SCHEMA)
            database.execute(f"PRAGMA user_version={VERSION}")
            database.execute("SELECT id, digest, state, attempts FROM jobs LIMIT 1").fetchone()
        except BaseException:
            database.close()
            raise
        return database

    def _put_aside(self) -> None:
        os.replace(self.path, self.path.with_suffix(".corrupt"))
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise _output_error(self.path, error) from error

    def adopt(self, plan: Plan) -> list[str]:
        """Bring the journal in line with the list and the folder; returns the ids of results that it did not know as
        done. Entries of jobs that are no longer in the list stay while their results do."""
        adopted = []
        with self._writing() as database:
            database.execute("UPDATE jobs SET state = 'waiting' WHERE state = 'failed'")
            for planned in plan.todo:
                _upsert(database, planned.job.id, planned.row, planned, "waiting")
            for planned, _ in plan.done:
                known = database.execute(
                    "SELECT state, digest FROM jobs WHERE id = ?", (planned.job.id,)
                ).fetchone()
                if known == ("done", planned.digest):
                    database.execute("UPDATE jobs SET row = ? WHERE id = ?", (planned.row, planned.job.id))
                else:
                    adopted.append(planned.job.id)
                    _upsert(database, planned.job.id, planned.row, planned, "done")
        return adopted

    def forget_missing(self, folder: Path, keep: Iterable[str]) -> None:
        """Drop entries whose job is in no list any more and whose result is gone."""
        kept = set(keep)
        with self._writing() as database:
            for (name,) in database.execute("SELECT id FROM jobs").fetchall():
                if name not in kept and not (folder / name).is_dir():
                    database.execute("DELETE FROM jobs WHERE id = ?", (name,))

    def rebuild(self, folder: Path) -> int:
        """Enter every result in ``folder`` as done; returns how many there are."""
        receipts = list(scan(folder))
        with self._writing() as database:
            for receipt in receipts:
                facts = receipt.facts.get("job", {})
                database.execute(
                    "INSERT OR REPLACE INTO jobs (id, row, task, model, digest, state) VALUES (?, 0, ?, ?, ?, 'done')",
                    (receipt.id, str(facts.get("task", "")), str(facts.get("model", "")), receipt.digest),
                )
        return len(receipts)

    def waiting(self, id: str, attempts: int, reason: str | None) -> None:
        with self._writing() as database:
            database.execute(
                "UPDATE jobs SET state = 'waiting', attempts = ?, reason = ? WHERE id = ?",
                (attempts, reason, id),
            )

    def done(self, id: str, digest: str, attempts: int, seconds: float, write_seconds: float) -> None:
        with self._writing() as database:
            database.execute(
                "UPDATE jobs SET state = 'done', digest = ?, attempts = ?, reason = NULL, seconds = ?, write_seconds = ? "
                "WHERE id = ?",
                (digest, attempts, seconds, write_seconds, id),
            )

    def failed(self, id: str, attempts: int, reason: str) -> None:
        with self._writing() as database:
            database.execute(
                "UPDATE jobs SET state = 'failed', attempts = ?, reason = ? WHERE id = ?",
                (attempts, reason, id),
            )

    def entries(self) -> list[Entry]:
        """Everything, in the order of the list."""
        names = ", ".join(Entry.__dataclass_fields__)
        rows = self._database.execute(f"SELECT {names} FROM jobs ORDER BY row, id").fetchall()
        return [Entry(**dict(zip(Entry.__dataclass_fields__, row, strict=True))) for row in rows]


def _upsert(database: sqlite3.Connection, id: str, row: int, planned: Any, state: str) -> None:
    database.execute(
        "INSERT INTO jobs (id, row, task, model, digest, state) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET row = excluded.row, task = excluded.task, model = excluded.model, "
        "digest = excluded.digest, state = excluded.state, attempts = 0, reason = NULL",
        (id, row, planned.job.task, planned.model, planned.digest, state),
    )


def scan(folder: Path) -> Iterator[Receipt]:
    """The receipts of all results in ``folder``; what is no result is passed over."""
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        if place.name.startswith(".") or not place.is_dir():
            continue
        try:
            receipt = read_receipt(place)
        except InputError:  # somebody else's folder
            continue
        if receipt is not None:
            yield receipt


def past_seconds(path: Path) -> dict[tuple[str, str], float]:
    """Median seconds of a job by task and model, as a journal that may be there tells; empty where it cannot."""
    if not path.is_file():
        return {}
    try:
        # Immutable: a mere look leaves no files of SQLite's beside the journal. What an engine writes meanwhile is missed.
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, timeout=0.2)
        try:
            rows = database.execute(
                "SELECT task, model, seconds FROM jobs WHERE seconds IS NOT NULL"
            ).fetchall()
        finally:
            database.close()
    except sqlite3.Error:  # in use by an engine, or corrupt: an estimate is all that is lost
        return {}
    found: dict[tuple[str, str], list[float]] = {}
    for task, model, seconds in rows:
        found.setdefault((task, model), []).append(seconds)
    return {key: median(values) for key, values in found.items()}


def _output_error(path: Path, error: sqlite3.Error) -> OutputError:
    return OutputError(f"cannot write {path}: {error}: free some space or choose another folder")
