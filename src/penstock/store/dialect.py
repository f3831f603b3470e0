"""The seam to a database: what SQLite and PostgreSQL say differently, and nothing else.

Statements are the same for both: ``?`` for parameters, no function that only one of them knows.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from penstock.errors import StoreError


class Cursor(Protocol):
    """What a statement came to."""

    @property
    def rowcount(self) -> int: ...  # noqa: D102
    @property
    def description(self) -> Any: ...  # noqa: D102  None: no rows can come
    def fetchone(self) -> Any: ...  # noqa: D102
    def fetchall(self) -> list[Any]: ...  # noqa: D102
    def __iter__(self) -> Iterator[Any]: ...


class Raw(Protocol):
    """A connection: sqlite3's own, or one that looks like it."""

    @property
    def in_transaction(self) -> bool: ...  # noqa: D102
    def execute(self, sql: str, params: Sequence[Any] = (), /) -> Cursor: ...  # noqa: D102
    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Cursor: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Dialect(Protocol):
    """One store in one kind of database."""

    name: str  # of the store, for people: it has no password
    path: Path | None  # of a store that is a file
    now: str  # asks for the time by the store's clock: seconds since the epoch
    error: type[Exception]  # what the driver raises

    def identity(self) -> tuple[int, ...]:
        """Return what the store is now: another value is another one. Raises StoreError: none."""
        ...

    def connect(self) -> Raw:
        """Return a connection outside of a transaction."""
        ...

    def is_lost(self, raw: Raw) -> bool:
        """Return whether a connection is of no use any more."""
        ...

    def cut(self, after_s: float, /) -> bool:
        """End the waits of other threads for a server that have lasted for so long.

        Return whether there were any. A file is waited for no longer than was said at its opening.
        """
        ...

    def begin(self, raw: Raw, *, writes: bool) -> None:
        """Begin a transaction: the only one that writes, or one that sees one state."""
        ...

    def commit(self, raw: Raw) -> None:
        """Make a transaction count."""
        ...

    def stream(self, raw: Raw, sql: str, params: Sequence[Any]) -> Generator[Any]:
        """Yield rows of which there may be too many for memory."""
        ...

    def insert(self, raw: Raw, into: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert very many rows into ``table (columns)``."""
        ...

    def settle(self, raw: Raw) -> None:
        """Let ids that the database gives go on behind those that are there."""
        ...

    def version(self, raw: Raw) -> str | None:
        """Return the version of the tables; None: this is no store."""
        ...

    def pages(self, raw: Raw, most: int) -> Iterator[str]:
        """Read all; yield what the database itself finds damaged. Raises StoreError, too."""
        ...

    def references(self, raw: Raw) -> Iterator[str]:
        """Yield what points to nothing."""
        ...

    def mapped(self, error: Exception) -> StoreError:
        """Return an error of the driver as one of ours."""
        ...


def dialect_of(url: str, busy_s: float) -> Dialect:
    """Return the dialect of a URL. Raises StoreError for another database."""
    if url.startswith(("postgresql:", "postgresql+psycopg:")):
        from penstock.store.postgresql import PostgreSQL  # noqa: PLC0415  an extra, and slow

        return PostgreSQL(url, busy_s)
    from penstock.store.sqlite import SQLite, sqlite_path  # noqa: PLC0415

    return SQLite(sqlite_path(url), busy_s)
