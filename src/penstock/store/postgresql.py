"""A store in PostgreSQL: one writer at a time, readers that wait for nobody, and a server to lose.

Every transaction that writes takes one advisory lock first, as SQLite locks its file: what it reads
stays true until it commits, so leases, fences, ids and moves need nothing more. Readers see one
snapshot. Transactions are short, so a lock for each user would save little and cost a proof.
"""

import os
import re
import socket
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from penstock.errors import StoreBusyError, StoreError
from penstock.store.dialect import Cursor, Raw
from penstock.store.refusal import LOST, at_connection, by_state

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
    from psycopg.pq import TransactionStatus
    from psycopg.types.numeric import FloatDumper, Int8BinaryDumper, Int8Dumper
    from psycopg.types.string import StrDumperUnknown

    from penstock.store import server
except ImportError as missing:
    raise StoreError(
        f"the store is in PostgreSQL, and psycopg is not here ({missing})",
        hint="pip install 'penstock[postgres]'",
    ) from missing

# One at a time for each schema; held until the end of the transaction.
LOCK = "SELECT pg_advisory_xact_lock(hashtext('penstock'), hashtext(current_schema()))"
_HOLDERS = (
    "SELECT a.pid, a.usename, a.application_name, extract(epoch FROM now() - a.xact_start)::int"
    " FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory'"
    " AND l.granted AND l.classid::bigint = hashtext('penstock')::bigint & 4294967295"
    " AND l.objid::bigint = hashtext(current_schema())::bigint & 4294967295"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_TABLES = (
    "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'"
    " AND relnamespace = current_schema()::regnamespace ORDER BY 1"
)
_REFERENCES = (
    "SELECT conrelid::regclass::text, attname, confrelid::regclass::text FROM pg_constraint"
    " JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]"
    " WHERE contype = 'f' AND connamespace = current_schema()::regnamespace ORDER BY conname"
)
# Tables whose ids the database gives: where a transaction reserves them the sequence rests.
SEQUENCES = (
    "SELECT t, pg_get_serial_sequence(t, 'id')"
    " FROM unnest(ARRAY['chunk', 'directive', 'evidence']) AS t"
)
# SET LOCAL: so a pool between us and the server (PgBouncer) hands nothing on. To compile one of our
# statements, or to start workers for it, takes longer than to run it; and whoever is suspended
# while it writes loses its transaction.
_EACH = (
    "SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0;"
    " SET LOCAL cursor_tuple_fraction = 1; SET LOCAL lock_timeout = {busy}"
)
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; " + _EACH
_WRITE = f"BEGIN; {_EACH}; SET LOCAL idle_in_transaction_session_timeout = 300000; {LOCK}"
# Else a host that goes away without a word is waited for by the hour.
_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "client_encoding": "UTF8",
}
_PLAIN_INSERT = re.compile(r"INSERT INTO (\w+) (\([^()]+\)) VALUES \(\?(?:, \?)*\)")
# One that says what becomes of rows that are there: with many rows in a statement.
_UPSERT = re.compile(
    r"(INSERT INTO \w+ \(([^()]+)\) VALUES )(\(.*\))( ON CONFLICT \(([^()]+)\)[^?]*)"
)
_ROWS = 100  # of such a statement; a greater one takes longer to be read than it saves
_FEW = 20  # rows; more are copied, which is some times as quick
_FETCH = 5000  # rows at a time


class _Float(FloatDumper):
    """A NaN is NULL, as in SQLite: else it would be greater than all numbers."""

    def dump(self, obj: float) -> Any:
        return None if obj != obj else super().dump(obj)  # noqa: PLR0124


class _Text(StrDumperUnknown):
    """PostgreSQL has no NUL: the sign for what cannot be shown stands for it."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


_DUMPERS = ((int, Int8Dumper), (int, Int8BinaryDumper), (float, _Float), (str, _Text))


@dataclass(frozen=True)
class _Count:
    """What statements without an answer came to."""

    rowcount: int = 0
    description: None = None

    def fetchone(self) -> None:
        return None

    def fetchall(self) -> list[Any]:
        return []

    def __iter__(self) -> Iterator[Any]:
        return iter(())


@lru_cache(maxsize=1024)
def placed(sql: str) -> str:
    """Return a statement with PostgreSQL's own marks for parameters.

    psycopg reads a statement with its marks again each time, where there are more than 50.
    """
    parts = sql.split("?")
    return parts[0] + "".join(f"${n}{part}" for n, part in enumerate(parts[1:], 1))


class Session:
    """A connection that looks like sqlite3's."""

    def __init__(self, raw: "psycopg.Connection[Any]") -> None:
        self.raw = raw
        raw.cursor_factory = psycopg.RawCursor
        self._streams = 0

    @property
    def in_transaction(self) -> bool:
        """Return whether there is something to roll back."""
        status = self.raw.info.transaction_status
        return status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Cursor:
        """Run a statement."""
        return self.raw.execute(placed(sql), params)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Cursor:
        """Run a statement for each row."""
        every = list(rows)
        if not every:
            return _Count()
        cursor = self.raw.cursor()
        plain = _PLAIN_INSERT.fullmatch(sql) if len(every) > _FEW else None
        if plain is None:
            upsert = _UPSERT.fullmatch(sql) if len(every) > _FEW else None
            if upsert is not None and _are_different(upsert, every):
                return self._upsert(upsert, every)
            cursor.executemany(placed(sql), every)
            return cursor
        with cursor.copy(f"COPY {plain[1]} {plain[2]} FROM STDIN") as copy:
            for row in every:
                copy.write_row(row)
        return cursor

    def _upsert(self, upsert: "re.Match[str]", every: list[Sequence[Any]]) -> Cursor:
        """Run a statement for many rows at once: a third of the time of one for each."""
        head, _, row, tail, _ = upsert.groups()
        count = 0
        for at in range(0, len(every), _ROWS):
            some = every[at : at + _ROWS]
            said = placed(f"{head}{', '.join([row] * len(some))}{tail}")
            count += self.raw.execute(said, list(chain.from_iterable(some))).rowcount
        return _Count(count)

    def stream(self, sql: str, params: Sequence[Any]) -> Generator[Any]:
        """Yield rows, some thousand at a time; the end of the transaction ends it too."""
        self._streams += 1
        name = f"stream{self._streams}"
        self.execute(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}", params)
        while rows := list(self.execute(f"FETCH {_FETCH} FROM {name}")):
            yield from rows
            if len(rows) < _FETCH:
                break
        self.execute(f"CLOSE {name}")

    def close(self) -> None:
        """Close it."""
        self.raw.close()


def _are_different(upsert: "re.Match[str]", every: list[Sequence[Any]]) -> bool:
    """Return whether no row meets another: one statement may change a row only once."""
    columns, keys = (upsert[n].replace(" ", "").split(",") for n in (2, 5))
    places = [columns.index(key) for key in keys]
    return len({tuple(row[place] for place in places) for row in every}) == len(every)


class PostgreSQL:
    """A store in a schema of a server's database."""

    now = "SELECT extract(epoch FROM clock_timestamp())::float8"
    error: type[Exception] = psycopg.Error
    path: Path | None = None

    def __init__(self, url: str, busy_s: float) -> None:
        self._conninfo = conninfo(url)
        self.name = name(self._conninfo)
        busy = f"{max(1, round(busy_s * 1000))}"  # 0 would be: for ever
        self._open = server.Open()
        self._begin = {True: _WRITE.format(busy=busy), False: _READ.format(busy=busy)}

    def identity(self) -> tuple[int, ...]:
        """Return that there is one: where it is away, a statement tells."""
        return ()

    def connect(self) -> Raw:
        """Return a connection outside of a transaction."""
        return Session(self.raw())

    def raw(self) -> "psycopg.Connection[Any]":
        """Return psycopg's connection. Raises StoreError."""
        who = f"penstock {os.getpid()} on {socket.gethostname()}"
        given = {**_PATIENCE, "fallback_application_name": who, **self._conninfo}
        try:
            raw = server.Raw.connect(**given, autocommit=True)
        except psycopg.Error as error:
            raise at_connection(self.name, self.clean(error)) from error
        # Whole numbers of one width, too, so that a statement is prepared once.
        for kind, dumper in _DUMPERS:
            raw.adapters.register_dumper(kind, dumper)
        self._open.add(raw)
        return raw

    def cut(self, after_s: float) -> bool:
        """End the waits of other threads for the server that have lasted for so long."""
        return self._open.cut(after_s)

    def libpq(self) -> tuple[str, dict[str, str]]:
        """Return what a program of PostgreSQL's is to be called with: words, and variables."""
        words = {key: value for key, value in self._conninfo.items() if key != "password"}
        password = self._conninfo.get("password")
        return make_conninfo("", **words), {"PGPASSWORD": str(password)} if password else {}

    def clean(self, error: Exception | str) -> str:
        """Return what was said on one line, without the password, should it ever be in it."""
        said = " ".join(str(error).split())
        secrets = (self._conninfo.get("password"), os.environ.get("PGPASSWORD"))
        for secret in filter(None, secrets):
            said = said.replace(str(secret), "***")
        return said

    def is_lost(self, raw: Raw) -> bool:
        """Return whether the connection is closed, by whomever."""
        return cast(Session, raw).raw.closed

    def begin(self, raw: Raw, *, writes: bool) -> None:
        """Begin a transaction: the only one that writes, or one that sees one state."""
        session = cast(Session, raw)
        try:
            session.raw.execute(self._begin[writes])
        except psycopg.errors.LockNotAvailable as error:
            session.raw.execute("ROLLBACK")
            raise StoreBusyError(
                f"the store {self.name} is held by another process", hint=_who(session)
            ) from error

    def commit(self, raw: Raw) -> None:
        """Make a transaction count. Raises StoreError where nobody can know whether it does."""
        session = cast(Session, raw)
        try:
            said = session.raw.execute("COMMIT").statusmessage
        except psycopg.OperationalError as error:
            if not session.raw.closed:
                raise
            raise StoreError(
                f"the connection to the store {self.name} was lost in the very moment of a commit "
                f"({self.clean(error)})",
                hint="look whether it counts (`penstock status`) before you ask the same again",
            ) from error
        if said != "COMMIT":
            raise StoreError(f"the store {self.name} took back a transaction in which an error was")

    def stream(self, raw: Raw, sql: str, params: Sequence[Any]) -> Generator[Any]:
        """Yield rows, some thousand at a time."""
        return cast(Session, raw).stream(sql, params)

    def insert(self, raw: Raw, into: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows; they are copied."""
        raw.executemany(
            f"INSERT INTO {into} VALUES ({', '.join('?' * (into.count(',') + 1))})", rows
        )

    def settle(self, raw: Raw) -> None:
        """Let the sequences go on behind the ids that are there."""
        for table, sequence in list(raw.execute(SEQUENCES)):
            top = f"(SELECT max(id) FROM {table})"
            raw.execute(f"SELECT setval('{sequence}', coalesce({top}, 1), {top} IS NOT NULL)")

    def version(self, raw: Raw) -> str | None:
        """Return the version of the tables; None: this is no store."""
        row = raw.execute("SELECT to_regclass('alembic_version')").fetchone()
        if row is None or row[0] is None:
            return None
        row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
        return row[0] if row else None

    def pages(self, raw: Raw, most: int) -> Iterator[str]:
        """Read each row of each table: so the server sees what its disk gives back."""
        tables = raw.execute(f"{_TABLES} LIMIT {most * 100}")
        for (table,) in list(tables):
            raw.execute(f"SELECT count(t::text) FROM {table} t")
        yield from ()

    def references(self, raw: Raw) -> Iterator[str]:
        """Yield what points to nothing, and sequences that would give an id again."""
        for table, column, parent in list(raw.execute(_REFERENCES)):
            sql = f"SELECT 1 FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM {parent} WHERE id = t."
            if raw.execute(f"{sql}{column}) LIMIT 1").fetchone():
                yield f"a row of {table} points to no row of {parent}"
        for table, sequence in list(raw.execute(SEQUENCES)):
            sql = f"SELECT 1 FROM {sequence} WHERE last_value < (SELECT max(id) FROM {table})"
            if raw.execute(sql).fetchone():
                yield f"the next row of {table} would have the id of another"

    def mapped(self, error: Exception) -> StoreError:
        """Return an error of psycopg as one of ours."""
        state = getattr(error, "sqlstate", None)
        if state is None and isinstance(error, psycopg.OperationalError):
            state = LOST
        return by_state(self.name, state or "no code", self.clean(error))


def _who(session: Session) -> str:
    """Return whom to look for when the store stays locked."""
    try:
        rows = list(session.execute(_HOLDERS))
    except psycopg.Error:
        rows = []
    if not rows:
        return "it was free a moment later: try again"
    named = [f"{who} ({program or 'no name'}, server process {pid}, for {since} s)"
             for pid, who, program, since in rows]  # fmt: skip
    return f"look at what these do, or end them: {', '.join(named)}"


# --- where it is ----------------------------------------------------------------------------------


def conninfo(url: str) -> dict[str, Any]:
    """Return what libpq takes. Raises StoreError, with nothing of the URL: it may have a password.

    Not even what libpq says of it: what it takes for a port may be half of a password.
    """
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    is_odd = not rest or authority.count("@") > 1 or "@" in rest[len(authority) :] or "#" in rest
    try:
        found = dict(conninfo_to_dict("(" if is_odd else f"postgresql://{rest}"))
        if not set(str(found.get("port", ""))) <= set("0123456789,"):
            raise psycopg.ProgrammingError("port")
        return found
    except psycopg.Error:
        raise StoreError(
            f"the URL of the store cannot be read: {scheme.split(':')[0]}://… (it may have a "
            "password, so it is not shown)",
            hint="postgresql+psycopg://USER@HOST:PORT/DATABASE; in a password and in a folder "
            "%40 stands for @, %2F for /, %3A for :, %23 for #, %25 for %",
        ) from None


def name(found: dict[str, Any]) -> str:
    """Return where a store is, for people: no password, and none of the options."""
    user = f"{quote(str(found['user']))}@" if found.get("user") else ""
    host = quote(str(found.get("host") or ""), safe="/:.,")
    port = f":{found['port']}" if str(found.get("port") or "").strip(",") else ""
    return f"postgresql://{user}{host}{port}/{quote(str(found.get('dbname') or ''))}"
