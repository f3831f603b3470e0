import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from penstock.errors import StoreError
from penstock.store import connection, tables
from penstock.store.connection import open_store
from penstock.store.migrations import upgrade
from penstock.store.sqlite import SQLite


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "penstock.db"
    upgrade.make(SQLite(path, busy_s=5))
    return path


def schema(path: Path) -> dict[str, list[str]]:
    with sqlite3.connect(path) as raw:
        found = raw.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
            " AND tbl_name <> 'alembic_version'"
        ).fetchall()
    raw.close()
    return {name: parts(sql) for name, sql in found}


def parts(sql: str) -> list[str]:
    """Return what a CREATE TABLE lists, in no order."""
    head, _, rest = re.sub(r"\s", "", sql).partition("(")
    body, _, tail = rest.rpartition(")")
    return [head, tail, *sorted(re.split(r",(?![^(]*\))", body))]


def test_the_version_that_is_compared_is_the_newest() -> None:
    assert upgrade.head() == connection.VERSION


def test_migrations_make_the_tables(migrated: Path, tmp_path: Path) -> None:
    """Partial indexes and tables without row ids too, which Alembic does not compare."""
    path = tmp_path / "modelled.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", poolclass=sqlalchemy.NullPool)
    SQLModel.metadata.create_all(engine)
    assert schema(migrated) == schema(path)
    assert tables.Run.__tablename__ in schema(path)


def test_nothing_is_left_to_migrate(migrated: Path) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{migrated}", poolclass=sqlalchemy.NullPool)
    with engine.connect() as raw:
        context = MigrationContext.configure(raw, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_a_made_store_is_whole_and_nothing_lies_beside_it(migrated: Path) -> None:
    assert [path.name for path in migrated.parent.iterdir()] == ["penstock.db"]
    with sqlite3.connect(migrated) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    raw.close()


def test_a_group_may_write_to_it_where_the_umask_lets_it(tmp_path: Path) -> None:
    """SQLite makes files that only their owner may write to: then no project could be shared."""
    before = os.umask(0o002)
    try:
        upgrade.make(SQLite(tmp_path / "penstock.db", busy_s=5))
    finally:
        os.umask(before)
    assert (tmp_path / "penstock.db").stat().st_mode & 0o777 == 0o664


def test_making_a_store_again_changes_nothing(migrated: Path) -> None:
    before = migrated.read_bytes()
    upgrade.make(SQLite(migrated, busy_s=5))
    assert migrated.read_bytes() == before


def test_a_migration_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "upgrade", fail)
    with pytest.raises(StoreError, match="No space left"):
        upgrade.make(SQLite(tmp_path / "penstock.db", busy_s=5))
    assert list(tmp_path.iterdir()) == []


MAKE = """
import sys
from penstock.store.connection import open_store
open_store(sys.argv[1], create=True)
"""


def test_two_that_make_a_store_at_once_make_one(tmp_path: Path) -> None:
    """The later one finds the name taken, and uses what is there."""
    path = tmp_path / "penstock.db"
    argv = [sys.executable, "-c", MAKE, f"sqlite:///{path}"]
    programs = [subprocess.Popen(argv) for _ in range(3)]
    assert [program.wait() for program in programs] == [0, 0, 0]
    assert [found.name for found in tmp_path.iterdir()] == ["penstock.db"]


def test_an_older_store_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "penstock.db"
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    raw.execute("INSERT INTO alembic_version VALUES ('')")
    raw.commit()
    raw.close()
    with pytest.raises(StoreError, match="older Penstock"):
        open_store(f"sqlite:///{path}")


HOT = """
import sys
from penstock.store import (attempts, detail, directives, evidence, ingest, lease, points, search,
                            submissions)
from penstock.store.connection import open_store
with open_store(sys.argv[1]).read() as view:
    search.runs(view, "state = failed", project="demo")
heavy = {"sqlmodel", "sqlalchemy", "alembic", "pydantic", "psycopg"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


def test_nothing_heavy_is_imported_to_read_or_write(migrated: Path) -> None:
    argv = [sys.executable, "-c", HOT, f"sqlite:///{migrated}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
