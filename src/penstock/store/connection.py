"""A thin layer over a database: transactions, a connection for each thread, errors mapped.

Statements have ``?`` for parameters and no function that only one database knows; what differs
stands behind ``dialect``. Nothing here, or on a hot path, imports SQLAlchemy.
"""

import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from penstock.clock import Clock, stamp
from penstock.store import fault
from penstock.store.dialect import Dialect, Raw, dialect_of
from penstock.store.sqlite import settle_journal, sqlite_path

VERSION = "0001"  # of the tables: the newest migration; a test compares
_stores: "weakref.WeakSet[Store]" = weakref.WeakSet()  # of this process
_noting = threading.Lock()


class Connection:
    """A transaction: statements, and the few things that databases say differently."""

    def __init__(self, raw: Raw, dialect: Dialect, clock: Clock | None) -> None:
        self._raw = raw
        self._dialect = dialect
        self._clock = clock
        self._streams: list[Generator[tuple[Any, ...]]] = []

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Run a statement; return its rows, all of which are read by then."""
        cursor = self._raw.execute(sql, params)
        return iter(() if cursor.description is None else cursor.fetchall())

    def stream(self, sql: str, params: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Run a statement of very many rows; yield them as they come, in this transaction only."""
        self._streams.append(self._dialect.stream(self._raw, sql, params))
        return self._streams[-1]

    def end_streams(self) -> None:
        """End what was not read to its end: SQLite keeps its lock for it, and nobody commits."""
        while self._streams:
            self._streams.pop().close()

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run a statement for each row; return how many rows it changed."""
        return self._raw.executemany(sql, rows).rowcount

    def insert(self, into: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert very many rows into ``table (columns)``."""
        self._dialect.insert(self._raw, into, rows)

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
        seconds: float = self._raw.execute(self._dialect.now).fetchone()[0]
        return seconds

    def settle(self) -> None:
        """Let ids that the database gives go on behind those that are there."""
        self._dialect.settle(self._raw)

    def damaged(self, most: int) -> list[str]:
        """Read all; return what the database itself finds damaged. Raises StoreError, too."""
        return list(self._dialect.pages(self._raw, most))

    def loose(self) -> list[str]:
        """Return what points to nothing."""
        return list(self._dialect.references(self._raw))

    def version(self) -> str | None:
        """Return the version of the tables; None: this is no store."""
        return self._dialect.version(self._raw)


class Store:
    """An open store. Each thread has a connection of its own; a transaction is short.

    One transaction writes at a time, whatever the database: what was read in it stays true in it.
    """

    def __init__(self, url: str, *, busy_s: float = 30, clock: Clock | None = None) -> None:
        self.url = url
        self.dialect = dialect_of(url, busy_s)
        self.clock = clock  # in place of the store's own: for a simulation
        self.admit: Callable[[], None] = lambda: None  # raises where this host may not write
        self._local = threading.local()
        with _noting:
            _stores.add(self)

    @property
    def name(self) -> str:
        """Return the store's name for people: without a password."""
        return self.dialect.name

    @property
    def path(self) -> Path:
        """Return the file. Raises StoreError where it is none."""
        return sqlite_path(self.url)

    def write(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that writes: all of it counts, or nothing."""
        return self._transaction(writes=True)

    def read(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that sees one state. SQLite: while it lasts nobody commits."""
        return self._transaction(writes=False)

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        dialect = self.dialect
        if writes:
            self.admit()
        try:
            raw = self._begun(writes=writes)
            try:
                tx = Connection(raw, dialect, self.clock)
                try:
                    yield tx
                finally:
                    tx.end_streams()
                dialect.commit(raw)
            except BaseException:
                if raw.in_transaction:  # a full disk, for one, has already rolled back
                    raw.execute("ROLLBACK")
                raise
        except dialect.error as error:
            raise dialect.mapped(error) from error

    def _begun(self, *, writes: bool) -> Raw:
        """Return a connection with a transaction begun, in the store that has the name then.

        While one waits for a lock a file may be replaced: a write to the old one would be lost.
        A server may have been started anew since: then a connection that was idle is made again.
        """
        while True:
            known = getattr(self._local, "raw", None)
            raw = self._connection()
            try:
                self.dialect.begin(raw, writes=writes)
            except self.dialect.error:
                if raw is known and self.dialect.is_lost(raw):
                    continue
                raise
            is_same = False
            try:
                is_same = self.dialect.identity() == self._local.identity[1:]
            finally:
                if not is_same:  # or it is away: the lock must not outlive this
                    raw.execute("ROLLBACK")
            if is_same:
                return raw

    def _connection(self) -> Raw:
        """Return this thread's connection, to what has the store's name now."""
        identity = (os.getpid(), *self.dialect.identity())
        known: Raw | None = getattr(self._local, "raw", None)
        is_ours = known is not None and self._local.identity == identity
        if known is None or not is_ours or self.dialect.is_lost(known):
            self.close()
            self._local.raw = known = self.dialect.connect()
            self._local.identity = identity
        return known

    def close(self) -> None:
        """Close this thread's connection. A child process leaves its parent's alone."""
        raw = getattr(self._local, "raw", None)
        if raw is not None and self._local.identity[0] == os.getpid():
            raw.close()
        self._local.raw = self._local.identity = None


def cut(after_s: float) -> bool:
    """End all waits of other threads for a server that have lasted for so long.

    Return whether there were any. To who waited the connection is lost, as when the server ends.
    """
    with _noting:
        every = list(_stores)
    return True in [store.dialect.cut(after_s) for store in every]


def open_store(
    url: str,
    *,
    journal: str | None = None,
    create: bool = False,
    busy_s: float = 30,
    clock: Clock | None = None,
) -> Store:
    """Open a store whose tables are of this version.

    With ``create`` a missing one is made, and one of an older version is brought up to date. The
    kind of ``journal`` is only a file's.
    Raises StoreError where there is none, where it is none, or of another version.
    """
    store = Store(url, busy_s=busy_s, clock=clock)
    path = store.dialect.path if journal is not None else None
    if create:
        from penstock.store.migrations import upgrade  # noqa: PLC0415  Alembic costs half a second

        upgrade.make(store.dialect)
    with store.read() as view:
        fault.check_version(view.version(), store.name, VERSION)
        # One with a rollback journal stays as it is: that takes no second connection.
        is_wal = path is not None and view.one("PRAGMA journal_mode") == ("wal",)
    if path is not None and journal is not None and (create or is_wal):
        store.close()  # or its connection would hold the old kind for a while
        settle_journal(path, journal, is_new=create, busy_s=busy_s)
    return store
