"""A thin layer over a database: transactions, the dialect, and foreign errors mapped.

Statements have ``?`` for parameters and no function that only one database knows; what differs
stands in ``Connection`` here. Nothing here, or on a hot path, imports SQLAlchemy.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from penstock.clock import Clock, stamp
from penstock.errors import StoreError
from penstock.store import fault

VERSION = "0001"  # of the tables: the newest migration; a test compares
SCHEME = "sqlite:///"
_CACHE = "PRAGMA cache_size = -16000"  # KiB


class Connection:
    """A transaction: statements, and the few things that databases say differently."""

    def __init__(self, raw: sqlite3.Connection, clock: Clock | None) -> None:
        self._raw = raw
        self._clock = clock

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Run a statement; yield its rows as they come."""
        return self._raw.execute(sql, params)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run a statement for each row; return how many rows it changed."""
        return self._raw.executemany(sql, rows).rowcount

    def change(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run a statement; return how many rows it changed."""
        return self._raw.execute(sql, params).rowcount

    def one(self, sql: str, params: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Return the first row, or None."""
        row: tuple[Any, ...] | None = self._raw.execute(sql, params).fetchone()
        return row

    def reserve(self, table: str) -> int:
        """Return an id from which on all are free, for as long as this transaction writes."""
        found = self._raw.execute(f"SELECT coalesce(max(id), 0) + 1 FROM {table}")
        first: int = found.fetchone()[0]
        return first

    def now(self) -> float:
        """Return the time by the store's clock."""
        if self._clock is not None:
            return stamp(self._clock.now())
        found = self._raw.execute("SELECT (julianday('now') - 2440587.5) * 86400.0")
        seconds: float = found.fetchone()[0]
        return seconds


class Store:
    """An open store. Each thread has a connection of its own; a transaction is short."""

    def __init__(self, url: str, *, busy_s: float = 30, clock: Clock | None = None) -> None:
        self.url = url
        self.path = sqlite_path(url)
        self.clock = clock  # in place of the store's own: for a simulation
        self._busy_s = busy_s
        self._local = threading.local()

    def write(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that writes: all of it counts, or nothing."""
        return self._transaction("BEGIN IMMEDIATE")

    def read(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that sees one state of the store; while it lasts nobody commits."""
        return self._transaction("BEGIN")

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        try:
            raw = self._begun(begin)
            try:
                yield Connection(raw, self.clock)
                raw.execute("COMMIT")
            except BaseException:
                if raw.in_transaction:  # a full disk, for one, has already rolled back
                    raw.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise fault.mapped(error, self.path) from error

    def _begun(self, begin: str) -> sqlite3.Connection:
        """Return a connection with a transaction begun, in the file that has the name then.

        While one waits for a lock the file may be replaced: a write to the old one would be lost.
        """
        while True:
            raw = self._connection()
            raw.execute(begin)
            if fault.identity(self.path) == self._local.identity[1:]:
                return raw
            raw.execute("ROLLBACK")

    def _connection(self) -> sqlite3.Connection:
        """Return this thread's connection, to the file that has the store's name now."""
        identity = (os.getpid(), *fault.identity(self.path))
        if getattr(self._local, "identity", None) != identity:
            self.close()
            self._local.raw = connect(self.path, self._busy_s)
            self._local.identity = identity
        raw: sqlite3.Connection = self._local.raw
        return raw

    def close(self) -> None:
        """Close this thread's connection. A child process leaves its parent's alone."""
        raw = getattr(self._local, "raw", None)
        if raw is not None and self._local.identity[0] == os.getpid():
            raw.close()
        self._local.raw = self._local.identity = None


def sqlite_path(url: str) -> Path:
    """Return the file of a URL. Raises StoreError for another database."""
    if not url.startswith(SCHEME) or url == SCHEME:
        kind = url.partition(":")[0]  # the rest may have a password
        raise StoreError(
            f"the store is of a kind that is not known here: {kind!r}",
            hint="`store` in penstock.toml takes sqlite:///path/to/penstock.db",
        )
    return Path(url.removeprefix(SCHEME))


def connect(path: Path, busy_s: float) -> sqlite3.Connection:
    """Return a connection to an existing file, with what every transaction of ours relies on."""
    quoted = str(path.absolute())
    for char in "%?#":
        quoted = quoted.replace(char, f"%{ord(char):02x}")
    raw = sqlite3.connect(f"file:{quoted}?mode=rw", uri=True, isolation_level=None, timeout=busy_s)
    try:
        raw.execute("PRAGMA synchronous = FULL")
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute(_CACHE)
    except BaseException:
        raw.close()
        raise
    return raw


def open_store(
    url: str,
    *,
    journal: str = "delete",
    create: bool = False,
    busy_s: float = 30,
    clock: Clock | None = None,
) -> Store:
    """Open a store whose tables are of this version.

    With ``create`` a missing one is made, and one of an older version is brought up to date.
    Raises StoreError where there is none, where it is none, or of another version.
    """
    store = Store(url, busy_s=busy_s, clock=clock)
    if create:
        from penstock.store.migrations import upgrade  # noqa: PLC0415  Alembic costs half a second

        upgrade.make(store.path)
    with store.read() as view:
        fault.check_version(view.execute, store.path, VERSION)
    if create:
        store.close()  # or its connection would hold the old kind for a while
        _set_journal(store, journal)
    return store


def _set_journal(store: Store, journal: str) -> None:
    """Write the kind of journal into the file: there it holds for all that open it."""
    raw = connect(store.path, busy_s=5)
    try:
        if raw.execute("PRAGMA journal_mode").fetchone()[0] != journal:
            raw.execute(f"PRAGMA journal_mode = {'wal' if journal == 'wal' else 'delete'}")
    except sqlite3.Error as error:
        raise fault.mapped(error, store.path) from error
    finally:
        raw.close()
