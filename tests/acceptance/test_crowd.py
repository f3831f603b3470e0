"""Eight processes on one store lose nothing; `make bench NAME=eight` is the same for longer."""

from pathlib import Path

import pytest

from penstock.store.connection import Store
from penstock.testing import crowd
from penstock.testing.crowd import Outcome
from tests import postgresql


def assert_all_well(outcome: Outcome, killed: int) -> None:
    bad = (outcome.lost, outcome.doubled, outcome.wrong, outcome.errors)
    assert bad == ([], [], [], [])
    assert outcome.killed >= killed
    assert min(outcome.transactions, outcome.runs, outcome.points, outcome.looks) > 0


def test_eight_processes_lose_nothing_and_what_is_lost_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "crowd"
    assert_all_well(crowd.crowd(folder, lasts_s=7), 2)
    store = Store(f"sqlite:///{folder / 'penstock.db'}")
    first = "SELECT attempt_id FROM chunk ORDER BY id LIMIT 1"
    more = f"SELECT max(id) FROM chunk WHERE attempt_id <> ({first})"  # else the two make it even
    spoil(store, f"UPDATE chunk SET count = count + 1 WHERE id = ({more})")
    spoil(store, "DELETE FROM chunk WHERE id = (SELECT min(id) FROM chunk)")
    name = "(SELECT min(name) FROM experiment WHERE name LIKE 'submit-%')"
    other = "(SELECT max(name) FROM experiment WHERE name LIKE 'submit-%')"
    of = "(SELECT id FROM experiment WHERE name = {})"
    few = f"SELECT max(id) FROM run WHERE experiment_id = {of.format(name)}"
    spoil(store, f"DELETE FROM param WHERE run_id = ({few})")
    spoil(store, f"DELETE FROM run WHERE id = ({few})")
    columns = "stage_id, state, attempt, params"
    spoil(
        store,
        f"INSERT INTO run (id, uid, experiment_id, number, {columns})"
        f" SELECT (SELECT max(id) + 1 FROM run), 'twice', experiment_id, number + 1000, {columns}"
        f" FROM run WHERE experiment_id = {of.format(other)} LIMIT 1",
    )
    outcome = Outcome()
    crowd.judge(folder, store, outcome)
    assert [line.partition(":")[0].partition("-")[0] for line in outcome.lost] == ["submit", "ps"]
    assert len(outcome.doubled) == 2
    assert outcome.wrong == [line for line in outcome.wrong if "number again" in line] != []


def spoil(store: Store, sql: str) -> None:
    with store.write() as tx:
        assert tx.change(sql) > 0


@pytest.mark.long
def test_eight_processes_lose_nothing_in_a_minute(tmp_path: Path) -> None:
    assert_all_well(crowd.crowd(tmp_path / "crowd", lasts_s=60, seed=1), 15)


@pytest.mark.long
def test_eight_processes_lose_nothing_in_postgresql(tmp_path: Path) -> None:
    if postgresql.programs() is None:
        pytest.skip(postgresql.MISSING)
    with postgresql.running() as server:
        server.sql("CREATE DATABASE crowd")
        url = server.url("crowd")
        assert_all_well(crowd.crowd(tmp_path / "crowd", lasts_s=15, url=url), 3)
