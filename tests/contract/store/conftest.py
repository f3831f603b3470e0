"""The stores that the suite runs on: SQLite with both journals, and PostgreSQL where it is here."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlmodel import SQLModel

from penstock.store import tables as _tables  # noqa: F401  imported for SQLModel's list of them
from penstock.store.connection import Store, open_store
from tests import postgresql
from tests.postgresql import Server


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store once, to be copied: migrations take a while."""
    path = tmp_path_factory.mktemp("empty") / "penstock.db"
    open_store(f"sqlite:///{path}", create=True).close()
    return path


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Run a PostgreSQL, where there is one."""
    if postgresql.programs() is None:
        pytest.skip(postgresql.MISSING)
    with postgresql.running() as server:
        yield server


@pytest.fixture(scope="session")
def whole(server: Server) -> str:
    """Make a store in it once: to empty one is quicker than to make one."""
    server.sql("CREATE DATABASE whole")
    open_store(server.url("whole"), create=True).close()
    return server.url("whole")


@pytest.fixture
def emptied(whole: str) -> str:
    with psycopg.connect(whole.replace("+psycopg", ""), autocommit=True) as raw:
        deletes = "; ".join(f"DELETE FROM {table}" for table in SQLModel.metadata.tables)
        raw.execute(f"BEGIN; SET LOCAL session_replication_role = replica; {deletes}; COMMIT")
    return whole


@pytest.fixture(params=["sqlite", "sqlite-wal", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("emptied"))
    path = tmp_path / "penstock.db"
    empty: Path = request.getfixturevalue("empty")
    path.write_bytes(empty.read_bytes())
    url = f"sqlite:///{path}"
    if request.param == "sqlite-wal":
        open_store(url, journal="wal", create=True).close()
    return url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_store(url, busy_s=10)
    yield opened
    opened.close()
