"""Stores copied into other databases and back: nothing is lost, and nothing is doubled."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from penstock.errors import StoreError
from penstock.model.run import Intent
from penstock.model.state import State
from penstock.store import attempts, check, copy, directives, ingest, lease, recovery
from penstock.store import points as stored
from penstock.store.connection import Store, open_store
from tests.contract.store.making import (
    ME,
    NOW,
    ended,
    line,
    move,
    opened,
    plan,
    points,
    rows,
    seen,
    submit,
    take,
    written,
)  # fmt: skip


@pytest.fixture
def full(store: Store) -> Store:
    """A store with rows in every table, and values that are easily lost."""
    submit(store, 3, tags=(("team", "blé 'n' %s ?"), ("n", "1e3")))
    array = plan(store)
    told = opened(array) + points("loss", [0.1, math.nan, math.inf, -0.0, 1e-310, 0.1 + 0.2])
    told += line("output", path="model.pt", digest="ab", bytes=1 << 40)
    told += line("note", what="odd") + line("note", what="é'\\x%")
    take(store, array, told + ended(code=0))
    take(store, array, opened(array, 1) + points("loss", [1.0] * 3000), at=(1, 0, 0))
    move(store, array, State.RUNNING)
    written(store, directives.insert, "cancel", [2], user="alice", now=NOW)
    lease.take(store, **ME, holder="h:1", ttl_s=1)
    return store


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'target.db'}"
    if request.param == "postgresql":
        server = request.getfixturevalue("server")
        server.sql("DROP DATABASE IF EXISTS target WITH (FORCE)")
        server.sql("CREATE DATABASE target")
        url = server.url("target")
    made = open_store(url, create=True)
    yield made
    made.close()


def everything(store: Store) -> dict[str, list[object]]:
    return {table.name: list(map(repr, rows(store, table.select))) for table in copy.every()}


def test_every_table_is_copied() -> None:
    assert {table.name for table in copy.every()} == set(SQLModel.metadata.tables)


def test_copy_has_every_row(full: Store, target: Store) -> None:
    counts = copy.copy(full, target)
    assert min(counts.values()) > 0, counts
    ours, theirs = everything(full), everything(target)
    for name in ours:
        assert [row.replace("-0.0", "0.0") for row in map(str, ours[name])] == [
            row.replace("-0.0", "0.0") for row in map(str, theirs[name])
        ]
    assert check.check(target) == []
    assert recovery.fences(target) == recovery.fences(full)
    (run,) = [row for (row,) in rows(full, "SELECT id FROM run WHERE number = 1")]
    told = [seen(one, stored.points, run, "loss").values.tobytes() for one in (full, target)]
    assert told[0] == told[1]


def test_copy_goes_on_where_the_first_was(full: Store, target: Store) -> None:
    """Ids that the database gives follow those that were copied."""
    copy.copy(full, target)
    array = seen(target, attempts.arrays, **ME, intents=list(Intent))[0]
    offset = seen(target, ingest.offsets, array.id)[1, 0]
    take(target, array, points("loss", [2.0], first=3000), at=(1, 0, offset))
    written(target, directives.insert, "cancel", [3], user="alice", now=NOW)
    submit(target, 2)
    assert check.check(target) == []
    assert rows(target, "SELECT count(*) FROM run") == [(5,)]


def test_copy_into_a_store_with_rows_is_refused(full: Store, target: Store) -> None:
    submit(target, 1)
    before = everything(target)
    with pytest.raises(StoreError, match=r"not empty(.|\n)*nothing was copied"):
        copy.copy(full, target)
    assert everything(target) == before


def test_copy_that_replaces_leaves_nothing_of_before(full: Store, target: Store) -> None:
    submit(target, 7, experiment="other")
    copy.copy(full, target, replace=True)
    assert rows(target, "SELECT name FROM experiment") == [("sweep",)]
    assert check.check(target) == []


def test_copy_that_differs_does_not_count(
    full: Store, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = copy.every()
    lossy = [  # the last column of evidence is its detail
        replace(one, insert=one.insert[:-2] + "substr(?, 1, 1))") if one.name == "evidence" else one
        for one in real
    ]
    calls = iter([real, lossy, real])  # what is there, what goes, what is compared
    monkeypatch.setattr(copy, "every", lambda: next(calls))
    with pytest.raises(StoreError, match="evidence is not the same"):
        copy.copy(full, target)
    monkeypatch.undo()
    assert rows(target, "SELECT count(*) FROM run") == [(0,)]


def test_file_is_there_whole_or_not_at_all(full: Store, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    counts = copy.into_file(full, folder / "copy.db")
    assert counts["run"] == 3
    assert [path.name for path in folder.iterdir()] == ["copy.db"]
    assert check.check(open_store(f"sqlite:///{folder / 'copy.db'}")) == []
    with pytest.raises(StoreError, match="there already"):
        copy.into_file(full, folder / "copy.db")
