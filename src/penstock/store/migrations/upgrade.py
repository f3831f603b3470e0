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


def config() -> Config:
    """Return Alembic's configuration: there is no file of it."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return found


def head() -> str:
    """Return the newest version."""
    return ScriptDirectory.from_config(config()).get_current_head() or ""


def make(path: Path) -> None:
    """Make the store where there is none, else bring it up to date. Raises StoreError."""
    try:
        if path.exists():
            _bring_up(path)
        else:
            _make_aside(path)
    except OSError as error:
        raise StoreError(
            f"the store {path} cannot be made: {error.strerror}",
            hint="its folder must be writable to you, and have space",
        ) from error
    except sqlalchemy.exc.DBAPIError as error:
        from penstock.store import fault  # noqa: PLC0415

        raise fault.mapped(error.orig, path) from error  # type: ignore[arg-type]


def _make_aside(path: Path) -> None:
    """Make the file beside its place, and put it there when it is whole; the first one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        _upgrade(aside)
        os.link(aside, path)
    except FileExistsError:
        return
    finally:
        aside.unlink(missing_ok=True)


def _bring_up(path: Path) -> None:
    """Upgrade an older store; leave alone what is newer or no store at all."""
    with _connected(path) as connection:
        if not sqlalchemy.inspect(connection).has_table("alembic_version"):
            return
        version = MigrationContext.configure(connection).get_current_revision() or ""
    if version < head():
        _upgrade(path)


def _upgrade(path: Path) -> None:
    with _connected(path) as connection:
        alembic = config()
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "head")


@contextmanager
def _connected(path: Path) -> Iterator[sqlalchemy.Connection]:
    """Yield a transaction, which SQLite's driver would not begin by itself before a CREATE."""
    url = sqlalchemy.URL.create("sqlite", database=str(path))
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    sqlalchemy.event.listen(engine, "connect", _leave_transactions_to_us)
    sqlalchemy.event.listen(engine, "begin", _begin)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _leave_transactions_to_us(raw: object, _: object) -> None:
    raw.isolation_level = None  # type: ignore[attr-defined]


def _begin(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
