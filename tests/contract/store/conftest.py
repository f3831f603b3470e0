"""The stores that the suite runs on. PostgreSQL joins by a URL of its own here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.store.connection import Store, open_store


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store once, to be copied: migrations take a while."""
    path = tmp_path_factory.mktemp("empty") / "penstock.db"
    open_store(f"sqlite:///{path}", create=True).close()
    return path


@pytest.fixture(params=["sqlite", "sqlite-wal"])
def url(request: pytest.FixtureRequest, tmp_path: Path, empty: Path) -> str:
    path = tmp_path / "penstock.db"
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
