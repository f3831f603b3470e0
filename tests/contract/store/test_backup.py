"""Copies of a store: whole, put back in one piece, with nothing doubled."""

import contextlib
import sqlite3
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from penstock.errors import Fenced, StoreBusyError, StoreError
from penstock.model.run import Intent
from penstock.model.state import State
from penstock.store import attempts, backup, check, lease, recovery
from penstock.store.connection import Store, open_store
from penstock.store.recovery import Found
from tests.contract.store.making import (
    ME,
    NOW,
    ended,
    move,
    opened,
    plan,
    points,
    rows,
    seen,
    submit,
    take,
    written,
)

FILES = pytest.mark.parametrize("url", ["sqlite", "sqlite-wal"], indirect=True)


def restored(store: Store, copy: Path, *found: Found) -> list[Found]:
    aside, keep = copy.with_name("aside"), copy.with_name("keep")
    given = recovery.fences(store)
    backup.prepare(copy, aside)
    new = Store(f"sqlite:///{aside}")
    left = recovery.renew(new, given, found, NOW)
    new.close()
    assert backup.put(aside, store.path, keep, busy_s=0.2)
    return left


@FILES
def test_copy_has_what_was_committed(store: Store, tmp_path: Path) -> None:
    submit(store, 3)
    copy = tmp_path / "deep" / "copy.db"
    size = backup.back_up(store, copy)
    submit(store, 2, experiment="later")
    other = open_store(f"sqlite:///{copy}")
    assert size == copy.stat().st_size
    assert rows(other, "SELECT count(*) FROM run") == [(3,)]
    assert check.check(other) == []
    assert [path.name for path in copy.parent.iterdir() if path.suffix == ".tmp"] == []
    other.close()


@FILES
def test_copy_takes_no_ones_name(store: Store, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("mine")
    with pytest.raises(StoreError, match="there already"):
        backup.back_up(store, copy)
    assert copy.read_text() == "mine"


@FILES
def test_damaged_store_is_not_copied(store: Store, tmp_path: Path) -> None:
    submit(store, 300)
    damage(store)
    with pytest.raises(StoreError, match="damaged"):
        backup.back_up(store, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
    assert any(line.startswith("damaged") for line in check.check(store))


def damage(store: Store) -> None:
    """Overwrite the pages behind those that are read first."""
    store.close()
    with sqlite3.connect(store.path) as raw:
        raw.execute("PRAGMA journal_mode = delete")
    raw.close()
    data = bytearray(store.path.read_bytes())
    data[len(data) // 2 :] = b"\xa5" * (len(data) - len(data) // 2)
    store.path.write_bytes(data)


@FILES
def test_restored_store_is_as_it_was_and_the_other_is_kept(store: Store, tmp_path: Path) -> None:
    submit(store, 3)
    backup.back_up(store, tmp_path / "copy.db")
    submit(store, 2, experiment="later")
    assert restored(store, tmp_path / "copy.db") == []
    assert rows(store, "SELECT count(*) FROM run") == [(3,)]
    kept = Store(f"sqlite:///{tmp_path / 'keep'}")
    assert rows(kept, "SELECT count(*) FROM run") == [(5,)]
    kept.close()


@FILES
def test_damaged_store_is_put_aside(store: Store, tmp_path: Path) -> None:
    submit(store, 300)
    backup.back_up(store, tmp_path / "copy.db")
    damage(store)
    damaged = store.path.read_bytes()
    backup.prepare(tmp_path / "copy.db", tmp_path / "aside")
    assert backup.put(tmp_path / "aside", store.path, tmp_path / "keep")
    assert (tmp_path / "keep").read_bytes() == damaged
    assert check.check(store) == []
    assert rows(store, "SELECT count(*) FROM run") == [(300,)]


@FILES
def test_held_store_is_not_replaced(store: Store, tmp_path: Path) -> None:
    submit(store, 3)
    backup.back_up(store, tmp_path / "copy.db")
    backup.prepare(tmp_path / "copy.db", tmp_path / "aside")
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store.write():
            inside.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(20)
    try:
        with pytest.raises(StoreBusyError):
            backup.put(tmp_path / "aside", store.path, tmp_path / "keep", busy_s=0.2)
    finally:
        done.set()
        thread.join()
    assert not (tmp_path / "keep").exists()


@FILES
def test_reconciler_of_before_is_fenced(store: Store, tmp_path: Path) -> None:
    submit(store, 1)
    backup.back_up(store, tmp_path / "copy.db")
    fence = lease.take(store, **ME, holder="a", ttl_s=60)
    assert fence is not None
    restored(store, tmp_path / "copy.db")
    with store.write() as tx, pytest.raises(Fenced):
        lease.check_fence(tx, **ME, fence=fence)
    again = lease.take(store, **ME, holder="b", ttl_s=60)
    assert again is not None
    assert again > fence + 1


@FILES
def test_spool_is_taken_in_again_once(store: Store, tmp_path: Path) -> None:
    submit(store, 1)
    array = plan(store)
    written(store, attempts.update_array, array.id, intent=Intent.ACCEPTED, job=7)
    first = opened(array) + points("loss", [1.0, 2.0])
    rest = points("loss", [3.0], first=2) + ended()
    take(store, array, first)
    backup.back_up(store, tmp_path / "copy.db")
    take(store, array, rest, at=(0, 0, len(first)), is_done=True)
    restored(store, tmp_path / "copy.db")
    take(store, array, first + rest, is_done=True)
    take(store, array, first + rest, is_done=True)
    assert rows(store, "SELECT last, count FROM metric") == [(3.0, 3)]


def found_of(store: Store, token: str) -> Found:
    runs = rows(store, "SELECT uid, attempt FROM run ORDER BY id")
    return Found(token, NOW, tuple((uid, max(attempt, 1)) for uid, attempt in runs))


@FILES
def test_array_that_was_sent_since_is_taken_up(store: Store, tmp_path: Path) -> None:
    submit(store, 3)
    backup.back_up(store, tmp_path / "copy.db")
    array = plan(store, token="ps-later")
    written(store, attempts.update_array, array.id, intent=Intent.ACCEPTED, job=7)
    assert restored(store, tmp_path / "copy.db", found_of(store, "ps-later")) == []
    (found,) = seen(store, attempts.arrays, **ME, intents=[*Intent])
    assert (found.token, found.intent, found.size) == ("ps-later", Intent.SENDING, 3)
    assert found.sent_at == NOW
    assert rows(store, "SELECT DISTINCT state, attempt FROM run") == [("queued", 1)]
    assert check.check(store) == []


@FILES
def test_array_that_was_planned_before_and_sent_since_is_looked_up(
    store: Store, tmp_path: Path
) -> None:
    submit(store, 3)
    plan(store, token="ps-planned")
    backup.back_up(store, tmp_path / "copy.db")
    assert restored(store, tmp_path / "copy.db", found_of(store, "ps-planned")) == []
    (found,) = seen(store, attempts.arrays, **ME, intents=[*Intent])
    assert found.intent is Intent.SENDING


@FILES
def test_of_two_plans_of_a_run_the_later_counts(store: Store, tmp_path: Path) -> None:
    submit(store, 3)
    backup.back_up(store, tmp_path / "copy.db")
    late = found_of(store, "ps-late")
    early = replace(late, token="ps-early", written_at=NOW.replace(year=2020))
    assert restored(store, tmp_path / "copy.db", early, late) == [early]
    assert rows(store, "SELECT token FROM job_array") == [("ps-late",)]


@FILES
def test_halves_of_an_array_count_that_was_planned_before(store: Store, tmp_path: Path) -> None:
    submit(store, 4)
    array = plan(store, token="ps-whole")
    whole = replace(found_of(store, "ps-whole"), written_at=NOW.replace(year=2020))
    backup.back_up(store, tmp_path / "copy.db")
    written(store, attempts.halve, array.id, token="ps-half", now=NOW)
    first = replace(whole, token="ps-half", written_at=NOW, elements=whole.elements[:2])
    second = replace(first, token="ps-other", elements=whole.elements[2:])
    assert restored(store, tmp_path / "copy.db", whole, first, second) == []
    live = seen(store, attempts.arrays, **ME, intents=[Intent.INTENDED, Intent.SENDING])
    assert {(one.token, one.intent) for one in live} == {
        ("ps-half", Intent.SENDING),
        ("ps-other", Intent.SENDING),
    }
    assert check.check(store) == []


@FILES
def test_halves_of_an_array_count_that_was_sent_before(store: Store, tmp_path: Path) -> None:
    """There was no room for it, in the newer store: so it is surely not with the scheduler."""
    submit(store, 4)
    array = plan(store, token="ps-whole")
    whole = replace(found_of(store, "ps-whole"), written_at=NOW.replace(year=2020))
    written(store, attempts.update_array, array.id, intent=Intent.SENDING, sent_at=NOW)
    backup.back_up(store, tmp_path / "copy.db")
    half = replace(whole, token="ps-half", written_at=NOW, elements=whole.elements[:2])
    assert restored(store, tmp_path / "copy.db", whole, half) == []
    (found,) = seen(store, attempts.arrays, **ME, intents=[Intent.INTENDED, Intent.SENDING])
    assert (found.token, found.intent, found.size) == ("ps-half", Intent.SENDING, 2)
    assert rows(store, "SELECT state FROM run ORDER BY id") == [
        ("queued",), ("queued",), ("ready",), ("ready",)
    ]  # fmt: skip
    assert check.check(store) == []


@FILES
def test_array_whose_runners_were_heard_of_is_not_taken_apart(store: Store, tmp_path: Path) -> None:
    submit(store, 3)
    array = plan(store, token="ps-here")
    written(store, attempts.update_array, array.id, intent=Intent.SENDING, sent_at=NOW)
    take(store, array, opened(array))
    backup.back_up(store, tmp_path / "copy.db")
    odd = found_of(store, "ps-odd")
    assert restored(store, tmp_path / "copy.db", odd) == [odd]
    assert rows(store, "SELECT token, intent FROM job_array") == [("ps-here", "sending")]


@FILES
def test_array_that_was_sent_again_since_is_absent_only_later(store: Store, tmp_path: Path) -> None:
    submit(store, 3)
    array = plan(store, token="ps-again")
    written(store, attempts.update_array, array.id, intent=Intent.SENDING, sent_at=NOW)
    backup.back_up(store, tmp_path / "copy.db")
    early = replace(found_of(store, "ps-again"), written_at=NOW - timedelta(seconds=1))
    again = replace(early, written_at=NOW + timedelta(hours=2))
    assert "ps-again" not in recovery.settled(store)
    for one, at in ((early, NOW), (again, again.written_at)):
        assert restored(store, tmp_path / "copy.db", one) == []
        (found,) = seen(store, attempts.arrays, **ME, intents=[Intent.SENDING])
        assert found.sent_at == at


@FILES
def test_array_of_unknown_runs_is_told(store: Store, tmp_path: Path) -> None:
    backup.back_up(store, tmp_path / "copy.db")
    submit(store, 3)
    lost = found_of(store, "ps-lost")
    assert restored(store, tmp_path / "copy.db", lost) == [lost]
    assert rows(store, "SELECT token FROM job_array") == []


def spoil(store: Store, sql: str) -> None:
    """Write what no program of ours may, with references unchecked."""
    if store.dialect.path is None:
        with psycopg.connect(store.url.replace("+psycopg", "")) as raw:
            raw.execute("SET session_replication_role = replica")
            raw.execute(sql)
    else:
        with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as file:
            file.execute(sql)


@pytest.mark.parametrize(
    "sql, words",
    [
        ("UPDATE run SET state = 'failed' WHERE number = 2", "sweep/2: failed, its attempt queued"),
        ("UPDATE run SET attempt = 9 WHERE number = 1", "sweep/1: attempt 9"),
        ("UPDATE run SET attempt = 0, state = 'ready' WHERE number = 1", "later than its run's"),
        ("UPDATE attempt SET state = 'odd' WHERE idx = 0", "odd"),
        ("UPDATE attempt SET ended_at = 1 WHERE idx = 0", "no end"),
        ("UPDATE job_array SET size = 4", "3 of 4"),
        ("UPDATE job_array SET intent = 'accepted'", "no job"),
        ("UPDATE job_array SET intent = 'folded'", "attempts that are not"),
        ("UPDATE experiment SET next_number = 2", "again (sweep)"),
        ("UPDATE spool SET idx = 7", "of no attempt"),
        ("UPDATE attempt SET run_id = 99 WHERE idx = 0", "no row of run"),
    ],
)
def test_check_finds_what_disagrees(store: Store, sql: str, words: str) -> None:
    submit(store, 3)
    array = plan(store)
    take(store, array, opened(array))
    assert check.check(store) == []
    spoil(store, sql)
    assert any(words in line for line in check.check(store)), check.check(store)


def test_check_is_content_with_what_has_ended(store: Store) -> None:
    submit(store, 3)
    array = plan(store)
    move(store, array, State.RUNNING)
    move(store, array, State.COMPLETED)
    assert check.check(store) == []


def test_on_a_cluster_elsewhere_nothing_is_done_until_it_was_searched(store: Store) -> None:
    submit(store, 3)
    given = {("alice", "gone"): 5, ("bob", "test"): 7}
    assert recovery.renew(store, given, [], NOW, elsewhere=["test"]) == []
    with store.read() as view:
        assert recovery.to_search(view, user="alice") == ["test"]
        assert recovery.to_search(view, user="bob") == ["test"]
    assert (
        recovery.holders(store, lambda _: False) == []
    )  # nobody is at work: one may restore again
    assert lease.take(store, **ME, holder="a", ttl_s=60) is None
    assert lease.take(store, user="alice", cluster="gone", holder="a", ttl_s=60) == 1006
    found = found_of(store, "ps-there")
    unknown = Found("ps-other", NOW, (("0123456789abcdef", 1),))
    assert recovery.search(store, [found, unknown], NOW, **ME, sent=3000) == [unknown]
    (array,) = seen(store, attempts.arrays, **ME, intents=[*Intent])
    assert (array.token, array.intent) == ("ps-there", Intent.SENDING)
    assert lease.take(store, **ME, holder="a", ttl_s=60, sent=3000) == 4001
    assert recovery.search(store, [found_of(store, "ps-late")], NOW, **ME) == []  # once is enough
    assert lease.holder(store, **ME) == "a"
    assert lease.take(store, user="bob", cluster="test", holder="b", ttl_s=60) is None
