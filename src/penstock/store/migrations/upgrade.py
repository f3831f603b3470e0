"""Make a store, or bring one up to date: all of it, or nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from penstock.errors import StoreError
from penstock.store.dialect import Dialect
from penstock.store.migrations import server
from penstock.store.sqlite import SQLite


def config() -> Config:
    """Return Alembic's configuration: there is no file of it."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return found


def head() -> str:
    """Return the newest version."""
    return ScriptDirectory.from_config(config()).get_current_head() or ""


def make(dialect: Dialect) -> None:
    """Make the store where there is none, else bring it up to date. Raises StoreError."""
    path = dialect.path
    try:
        if path is None or path.exists():
            _bring_up(dialect)
        else:
            _make_aside(path)
    except OSError as error:
        raise StoreError(
            f"the store {dialect.name} cannot be made: {error.strerror}",
            hint="its folder must be writable to you, and have space",
        ) from error
    except sqlalchemy.exc.DBAPIError as error:
        raise dialect.mapped(error.orig or error) from error.orig


def _make_aside(path: Path) -> None:
    """Make the file beside its place, and put it there when it is whole; the first one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        aside.touch()  # by the umask, as all else: SQLite's own files are never a group's to write
        with _connected(SQLite(aside, busy_s=30)) as connection:
            _upgrade(connection)
        os.link(aside, path)
    except FileExistsError:
        return
    finally:
        aside.unlink(missing_ok=True)


def _bring_up(dialect: Dialect) -> None:
    """Upgrade an older store; leave alone what is newer or no store at all.

    A file that has no version is another program's. A schema of a server may be empty, though.
    """
    with _connected(dialect) as connection:
        inspector = sqlalchemy.inspect(connection)
        if not inspector.has_table("alembic_version"):
            if dialect.path is None and not inspector.has_table("run"):
                _upgrade(connection)
            return
        version = MigrationContext.configure(connection).get_current_revision() or ""
        if version < head():
            _upgrade(connection)


def _upgrade(connection: sqlalchemy.Connection) -> None:
    alembic = config()
    alembic.attributes["connection"] = connection
    command.upgrade(alembic, "head")


@contextmanager
def _connected(dialect: Dialect) -> Iterator[sqlalchemy.Connection]:
    """Yield a transaction in which nobody else writes."""
    engine = _file(dialect.path) if dialect.path is not None else server.engine(dialect)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _file(path: Path) -> sqlalchemy.Engine:
    """Return the engine of a file. SQLite's driver would not begin by itself before a CREATE."""
    url = sqlalchemy.URL.create("sqlite", database=str(path))
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    sqlalchemy.event.listen(engine, "connect", _leave_transactions_to_us)
    sqlalchemy.event.listen(engine, "begin", _begin)
    return engine


def _leave_transactions_to_us(raw: object, _: object) -> None:
    raw.isolation_level = None  # type: ignore[attr-defined]


def _begin(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
