"""A store in SQLite: one file, which may be removed or replaced while it is used."""

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from penstock.errors import StoreError
from penstock.store import fault, journal
from penstock.store.dialect import Raw

SCHEME = "sqlite:///"
_AT_ONCE = 500  # rows of a statement
_CACHE = "PRAGMA cache_size = -16000"  # KiB


class SQLite:
    """A store in a file. Its connections are sqlite3's own."""

    now = "SELECT (julianday('now') - 2440587.5) * 86400.0"
    error: type[Exception] = sqlite3.Error

    def __init__(self, path: Path, busy_s: float) -> None:
        self.name = str(path)
        self.path: Path | None = path
        self._path = path
        self._busy_s = busy_s

    def identity(self) -> tuple[int, ...]:
        """Return device and inode: a file that was replaced is another store."""
        return fault.identity(self._path)

    def connect(self) -> Raw:
        """Return a connection to the file, which must exist."""
        return connect(self._path, self._busy_s)

    def is_lost(self, _raw: Raw) -> bool:
        """Return that a connection to a file is not lost."""
        return False

    def cut(self, _: float) -> bool:
        """Do nothing: there is no server, and a lock is waited for no longer than was said."""
        return False

    def begin(self, raw: Raw, *, writes: bool) -> None:
        """Begin a transaction; one that reads keeps others from a commit while it lasts."""
        raw.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    def commit(self, raw: Raw) -> None:
        """Make a transaction count."""
        raw.execute("COMMIT")

    def stream(self, raw: Raw, sql: str, params: Sequence[Any]) -> Generator[Any]:
        """Yield rows: SQLite always makes them as they are asked for."""
        cursor = cast(sqlite3.Connection, raw).execute(sql, params)
        with closing(cursor):
            yield from cursor

    def insert(self, raw: Raw, into: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows, many in a statement: that takes two thirds of the time of one for each."""
        marks = f"({', '.join('?' * (into.count(',') + 1))})"
        limit = cast(sqlite3.Connection, raw).getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        most = max(1, min(_AT_ONCE, limit // marks.count("?")))
        left = iter(rows)
        while batch := list(islice(left, most)):
            sql = f"INSERT INTO {into} VALUES {', '.join([marks] * len(batch))}"
            raw.execute(sql, list(chain.from_iterable(batch)))

    def settle(self, raw: Raw) -> None:
        """Do nothing: the next id always follows the greatest."""

    def version(self, raw: Raw) -> str | None:
        """Return the version of the tables; None: this is no store."""
        try:
            row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            row = None
        return row[0] if row else None

    def pages(self, raw: Raw, most: int) -> Iterator[str]:
        """Yield what is wrong with the file's pages."""
        for (line,) in raw.execute(f"PRAGMA integrity_check({most})"):
            if line != "ok":
                yield line

    def references(self, raw: Raw) -> Iterator[str]:
        """Yield what points to nothing."""
        for table, _, parent, _ in raw.execute("PRAGMA foreign_key_check"):
            yield f"a row of {table} points to no row of {parent}"

    def mapped(self, error: Exception) -> StoreError:
        """Return an error of sqlite3 as one of ours."""
        return fault.mapped(error, self._path)


def sqlite_path(url: str) -> Path:
    """Return the file of a URL. Raises StoreError for another database."""
    if not url.startswith(SCHEME) or url == SCHEME:
        kind = url.partition(":")[0]  # the rest may have a password
        raise StoreError(
            f"the store is of a kind that is not known here: {kind!r}",
            hint="`store` in penstock.toml takes sqlite:///path/to/penstock.db, or "
            "postgresql+psycopg://user@host/database",
        )
    return Path(url.removeprefix(SCHEME))


def connect(path: Path, busy_s: float) -> sqlite3.Connection:
    """Return a connection to an existing file, with what every transaction of ours relies on.

    Raises StoreError where the file is in WAL mode on another host.
    """
    journal.check(path)
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


def settle_journal(path: Path, wanted: str, *, is_new: bool, busy_s: float = 30) -> None:
    """Give a store that was just made its kind of journal; see to that of another."""
    try:
        with closing(connect(path, busy_s=5 if is_new else busy_s)) as raw:
            (journal.put if is_new else journal.keep)(raw, path, wanted)
    except sqlite3.Error as error:
        raise fault.mapped(error, path) from error
