"""A store that an older Penstock made: backed up, then brought up to date, or left as it is."""

import shutil
from pathlib import Path

import pytest

from penstock.clock import SystemClock
from penstock.errors import StoreError
from penstock.service import move
from penstock.settings import Settings
from penstock.store import connection, dump
from penstock.store.connection import Store, open_store
from penstock.store.migrations import upgrade
from tests.contract.store.making import rows, submit

NEXT = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None
def upgrade():
    with op.batch_alter_table("lease") as table:
        table.add_column(sa.Column("note", sa.Integer(), nullable=True))
    WHAT
"""


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A project whose store is of the first version, with runs in it."""
    url = f"sqlite:///{tmp_path / '.penstock' / 'penstock.db'}"
    if request.param == "postgresql":
        server = request.getfixturevalue("server")
        server.sql("DROP DATABASE IF EXISTS older WITH (FORCE)")
        server.sql("CREATE DATABASE older")
        url = server.url("older")
    store = open_store(url, create=True)
    submit(store, 3)
    store.close()
    return Settings(root=tmp_path, store=url)


BOTH = pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)


def later(monkeypatch: pytest.MonkeyPatch, folder: Path, what: str = "") -> None:
    """Let there be a migration more than the store has seen."""
    scripts = folder / "migrations"
    shutil.copytree(Path(upgrade.__file__).parent, scripts)
    (scripts / "versions" / "0002_next.py").write_text(NEXT.replace("WHAT", what))
    real = upgrade.config

    def config() -> object:
        found = real()
        found.set_main_option("script_location", str(scripts))
        return found

    monkeypatch.setattr(upgrade, "config", config)
    for module in (connection, move):
        monkeypatch.setattr(module, "VERSION", "0002")


@BOTH
def test_older_store_is_migrated_after_a_backup(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch, tmp_path)
    with pytest.raises(StoreError, match=r"older Penstock(.|\n)*store migrate"):
        open_store(settings.store_url)
    done = move.migrate(settings, SystemClock())
    assert done is not None
    assert done.before == "0001"
    assert done.backup is not None
    assert done.backup.stat().st_size > 1000
    store = open_store(settings.store_url)
    assert rows(store, "SELECT count(*), max(note) FROM run, lease") == [(0, None)]
    assert rows(store, "SELECT count(*) FROM run") == [(3,)]
    assert move.migrate(settings, SystemClock()) is None
    if done.backup.suffix == ".db":
        assert rows(Store(f"sqlite:///{done.backup}"), "SELECT count(*) FROM run") == [(3,)]
    if store.dialect.path is None:
        kind = "SELECT data_type FROM information_schema.columns WHERE column_name = 'note'"
        assert rows(store, kind) == [("bigint",)]


@BOTH
def test_migration_that_fails_leaves_the_store_as_it_was(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        later(patch, tmp_path, "op.execute('SELECT nothing FROM nowhere')")
        with pytest.raises(StoreError):
            move.migrate(settings, SystemClock())
    store = open_store(settings.store_url)
    assert rows(store, "SELECT count(*) FROM run") == [(3,)]


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_without_a_backup_nothing_is_migrated(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        later(patch, tmp_path)
        patch.setattr(dump, "why_not", lambda _: "pg_dump is not on PATH")
        with pytest.raises(StoreError, match=r"not on PATH(.|\n)*nothing was changed"):
            move.migrate(settings, SystemClock())
    open_store(settings.store_url)


@BOTH
def test_newer_store_is_not_migrated(settings: Settings) -> None:
    store = Store(settings.store_url)
    with store.write() as tx:
        tx.change("UPDATE alembic_version SET version_num = '0099'")
    with pytest.raises(StoreError, match="newer Penstock"):
        move.migrate(settings, SystemClock())
    assert not (settings.home / "backups").exists()
