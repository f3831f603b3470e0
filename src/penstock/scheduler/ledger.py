"""What the local scheduler remembers: a small SQLite file, written by commands and by the keeper.

A task is PENDING, RUNNING, COMPLETING (it was told to end) or has an end's word. Commands insert
jobs, end what is PENDING, and set ``ask`` on what runs; all else is the keeper's.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.errors import SchedulerError
from penstock.scheduler.slots import Queued, Verdict, decide

PENDING, RUNNING, COMPLETING = "PENDING", "RUNNING", "COMPLETING"
BUSY_S = 30
FILE = "jobs.db"
SCHEMA = """
CREATE TABLE IF NOT EXISTS job (
    id INTEGER PRIMARY KEY, name TEXT, folder TEXT, log TEXT, size INT, throttle INT, cpus INT,
    time_s INT, uid INT, user TEXT, environment TEXT
);
CREATE TABLE IF NOT EXISTS task (
    job INT, idx INT, word TEXT, held INT DEFAULT 0, ask TEXT DEFAULT '', restart INT DEFAULT 0,
    submit_at REAL, start_at REAL, end_at REAL,
    process TEXT DEFAULT '', -- pid, its start and the boot, while it lives
    end_word TEXT DEFAULT '', kill_at REAL, -- of COMPLETING
    code INT, signal INT, peak INT,
    PRIMARY KEY (job, idx)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value INT);
CREATE INDEX IF NOT EXISTS task_word ON task (word, job, held);
CREATE INDEX IF NOT EXISTS task_ask ON task (ask) WHERE ask <> '';
"""
IS_LIVE = "word IN ('RUNNING', 'COMPLETING')"
UNFINISHED = f"{IS_LIVE} OR (word = 'PENDING' AND held = 0)"


@dataclass(frozen=True)
class Job:
    """A job as it was submitted."""

    id: int
    name: str
    folder: str
    log: str
    size: int
    throttle: int | None
    cpus: int
    time_s: int | None
    uid: int
    user: str
    environment: str  # JSON

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment that the submitter gave it."""
        return dict(json.loads(self.environment))


@dataclass(frozen=True)
class TaskRow:
    """A task as it stands."""

    job: int
    idx: int
    word: str
    held: int
    ask: str
    restart: int
    submit_at: float
    start_at: float | None
    end_at: float | None
    process: str
    end_word: str
    kill_at: float | None
    code: int | None
    signal: int | None
    peak: int | None


class Ledger:
    """One connection. ``write`` is a transaction that others wait for."""

    def __init__(self, folder: str) -> None:
        path = Path(folder)
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.connection = sqlite3.connect(path / FILE, timeout=BUSY_S, isolation_level=None)
            self.connection.execute("PRAGMA journal_mode = wal")
            self.connection.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from error
        self.path = path

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction; it is rolled back where the block raises."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                self.connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error

    def jobs(self) -> dict[int, Job]:
        """Return all jobs that are remembered."""
        return {row[0]: Job(*row) for row in self._rows("SELECT * FROM job")}

    def job(self, number: int) -> Job:
        """Return one job."""
        return Job(*next(iter(self._rows("SELECT * FROM job WHERE id = ?", number))))

    def tasks(self, where: str, *values: object) -> list[TaskRow]:
        """Return tasks, in order; ``where`` is a condition of this package."""
        sql = f"SELECT * FROM task WHERE {where} ORDER BY job, idx"  # noqa: S608
        return [TaskRow(*row) for row in self._rows(sql, *values)]

    def count(self, where: str, *values: object) -> int:
        """Return how many tasks there are."""
        sql = f"SELECT COUNT(*) FROM task WHERE {where}"  # noqa: S608
        return int(self._rows(sql, *values)[0][0])

    def verdicts(self) -> list[Verdict]:
        """Return for each job with tasks that wait what may start, and why the rest waits."""
        used = self._rows(
            "SELECT COALESCE(SUM(cpus), 0) FROM task JOIN job ON job.id = task.job"
            " WHERE word IN ('RUNNING', 'COMPLETING')"
        )
        rows = self._rows(
            "SELECT job.id, cpus, throttle, COUNT(*), (SELECT COUNT(*) FROM task AS live"
            " WHERE live.word IN ('RUNNING', 'COMPLETING') AND live.job = job.id)"
            " FROM task JOIN job ON job.id = task.job WHERE word = 'PENDING' AND held = 0"
            " GROUP BY job.id ORDER BY job.id"
        )
        return decide([Queued(*row) for row in rows], self.setting("cpus", 1) - int(used[0][0]))

    def setting(self, name: str, default: int) -> int:
        """Return a number that is kept."""
        rows = self._rows("SELECT value FROM setting WHERE name = ?", name)
        return int(rows[0][0]) if rows else default

    def forget(self, before: float) -> None:
        """Forget tasks that ended before a time, and jobs with no task left."""
        with self.write() as db:
            db.execute("DELETE FROM task WHERE end_at < ?", (before,))
            db.execute("DELETE FROM job WHERE id NOT IN (SELECT job FROM task)")

    def unfinished(self) -> int:
        """Return how many tasks the keeper has to see to; those held wait without it."""
        return self.count(UNFINISHED)

    def _rows(self, sql: str, *values: object) -> list[Any]:
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error


def _unusable(path: Path, error: Exception) -> SchedulerError:
    return SchedulerError(
        f"the local scheduler cannot use its files in {path}: {error}",
        hint="look at the permissions and the free space of that folder",
    )
