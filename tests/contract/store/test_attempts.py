from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from penstock.errors import Fenced, StoreError
from penstock.model.evidence import Rest, Transition
from penstock.model.run import Intent, PlannedArray
from penstock.model.spec import Request
from penstock.model.state import FINAL, LIVE, MOVES, Cause, State
from penstock.store import attempts, directives, evidence, ingest, lease, waiting
from penstock.store.connection import Connection, Store
from tests.contract.store.making import (
    ME,
    NOW,
    move,
    opened,
    plan,
    ready,
    rows,
    seen,
    submit,
    take,
    written,
)


def states(store: Store) -> list[str]:
    return [state for (state,) in rows(store, "SELECT state FROM run ORDER BY id")]


def test_a_planned_array_is_intended_and_its_runs_are_queued(store: Store) -> None:
    submit(store, 3)
    array = plan(store, token="ps-x", size=2)
    (found,) = seen(store, attempts.arrays, **ME, intents=[Intent.INTENDED])
    assert found == array
    assert (array.token, array.size, array.throttle, array.request) == ("ps-x", 2, 4, Request(2))
    assert states(store) == ["queued", "queued", "ready"]
    known = seen(store, attempts.known, array.id)
    assert [(index, one.state, one.restart) for index, one in known.items()] == [
        (0, State.QUEUED, 0),
        (1, State.QUEUED, 0),
    ]


def test_elements_are_in_the_order_of_the_plan(store: Store) -> None:
    submit(store, 4)
    backwards = tuple(reversed(ready(store)))
    planned = PlannedArray(backwards[0].stage, Request(), backwards)
    array = written(store, attempts.insert_array, planned, token="ps-b", now=NOW, **ME)
    assert seen(store, attempts.elements, array.id) == list(backwards)


def test_a_run_is_not_planned_twice(store: Store) -> None:
    submit(store, 2)
    runs = tuple(ready(store))
    plan(store, size=1)
    planned = PlannedArray(runs[0].stage, Request(), runs)
    with pytest.raises(StoreError, match="1 runs"):
        written(store, attempts.insert_array, planned, token="ps-late", now=NOW, **ME)
    assert states(store) == ["queued", "ready"]
    assert rows(store, "SELECT count(*) FROM job_array") == [(1,)]


def test_an_array_changes_as_told(store: Store) -> None:
    submit(store, 1)
    array = plan(store)
    later = NOW + timedelta(minutes=1)
    written(
        store,
        attempts.update_array,
        array.id,
        intent=Intent.SENDING,
        sent_at=NOW,
        not_before=later,
        submit_at=NOW,
        job=1234,
        detail="x",
    )
    (found,) = seen(store, attempts.arrays, **ME, intents=[Intent.SENDING, Intent.ENDED])
    assert (found.job, found.sent_at, found.not_before, found.submit_at, found.detail) == (
        1234,
        NOW,
        later,
        NOW,
        "x",
    )
    assert seen(store, attempts.arrays, **ME, intents=[Intent.INTENDED]) == []
    assert seen(store, attempts.arrays, **{**ME, "user": "bob"}, intents=list(Intent)) == []


def test_an_array_has_no_other_column_to_change(store: Store) -> None:
    submit(store, 1)
    array = plan(store)
    with pytest.raises(TypeError, match="token"):
        written(store, attempts.update_array, array.id, token="other")


def test_an_array_that_is_not_there_cannot_change(store: Store) -> None:
    with pytest.raises(StoreError, match="no array 9"):
        written(store, attempts.update_array, 9, intent=Intent.SENDING)


def test_a_fenced_reconciler_changes_nothing(store: Store) -> None:
    submit(store, 1)
    array = plan(store)
    old = lease.take(store, **ME, holder="a:1", ttl_s=0)
    new = lease.take(store, **ME, holder="b:2", ttl_s=60)
    assert old is not None
    with pytest.raises(Fenced, match="b:2"):
        written(store, attempts.update_array, array.id, fence=old, intent=Intent.SENDING)
    written(store, attempts.update_array, array.id, fence=new, intent=Intent.SENDING)
    assert rows(store, "SELECT intent, fence FROM job_array") == [("sending", new)]


def test_dissolving_makes_runs_ready_again(store: Store) -> None:
    submit(store, 2)
    before = ready(store)
    array = plan(store)
    written(store, attempts.dissolve, array.id, NOW)
    assert ready(store) == before
    assert rows(store, "SELECT count(*) FROM attempt") == [(0,)]
    again = plan(store)
    assert [run.attempt for run in seen(store, attempts.elements, again.id)] == [1, 1]


@pytest.mark.parametrize("intent", [Intent.SENDING, Intent.ACCEPTED, Intent.ENDED])
def test_what_may_be_with_the_scheduler_is_not_dissolved(store: Store, intent: Intent) -> None:
    submit(store, 1)
    array = plan(store)
    written(store, attempts.update_array, array.id, intent=intent)
    with pytest.raises(StoreError, match="cannot be dissolved"):
        written(store, attempts.dissolve, array.id, NOW)
    assert states(store) == ["queued"]


def test_a_refused_array_fails_its_runs_with_the_reason(store: Store) -> None:
    submit(store, 2)
    array = plan(store)
    written(store, attempts.refuse, array.id, "no such partition", NOW)
    assert (
        rows(store, "SELECT state, cause, ended_at FROM run")
        == [("failed", "refused", NOW.timestamp())] * 2
    )
    assert rows(store, "SELECT detail FROM attempt") == [("no such partition",)] * 2


def test_apply_moves_the_attempt_and_the_copy_on_its_run(store: Store) -> None:
    submit(store, 2)
    array = plan(store)
    move(store, array, State.RUNNING, 0, started_at=NOW, node="n1", job="7_0", restart=1)
    move(store, array, State.FAILED, 0, cause=Cause.MEMORY, exit_code=137, peak_bytes=1 << 40)
    columns = "state, cause, started_at, node, job, exit_code, peak_bytes"
    assert rows(store, f"SELECT {columns} FROM attempt WHERE idx = 0") == [
        ("failed", "memory", NOW.timestamp(), "n1", "7_0", 137, 1 << 40)
    ]
    assert rows(store, "SELECT state, cause, started_at, ended_at FROM run WHERE id = 1") == [
        ("failed", "memory", NOW.timestamp(), NOW.timestamp() + 1)
    ]
    assert states(store) == ["failed", "queued"]
    assert list(seen(store, attempts.known, array.id)) == [1]


def test_a_requeue_takes_back_the_end(store: Store) -> None:
    submit(store, 1)
    array = plan(store)
    move(store, array, State.RUNNING, unknown_since=NOW, reason="x")
    move(store, array, State.QUEUED)
    (known,) = seen(store, attempts.known, array.id).values()
    assert (known.state, known.unknown_since, known.reason) == (State.QUEUED, None, "")
    assert rows(store, "SELECT state, ended_at FROM run") == [("queued", None)]


# A move into READY or WAITING is one of the run, not of an attempt.
ALL = [(old, new) for old in MOVES for new in MOVES if old in LIVE | FINAL]


@pytest.mark.parametrize("old,new", ALL)
def test_apply_allows_the_moves_of_the_table(store: Store, old: State, new: State) -> None:
    submit(store, 1)
    array = plan(store)
    (known,) = seen(store, attempts.known, array.id).values()
    if old is not State.QUEUED:
        move(store, array, old)
    is_allowed = new in LIVE | FINAL and (new in MOVES[old] or (new is old and old in LIVE))
    told = [Transition(known.attempt, new)]
    if is_allowed:
        written(store, attempts.apply, told, NOW)
    else:
        with pytest.raises(StoreError):
            written(store, attempts.apply, told, NOW)
    assert states(store) == [new if is_allowed else old]


def test_one_wrong_move_leaves_all_as_they_were(store: Store) -> None:
    submit(store, 2)
    array = plan(store)
    ids = [one.attempt for one in seen(store, attempts.known, array.id).values()]
    told = [Transition(ids[0], State.RUNNING), Transition(ids[1], State.READY)]
    with pytest.raises(StoreError):
        written(store, attempts.apply, told, NOW)
    assert states(store) == ["queued", "queued"]


def test_an_attempt_that_is_not_there_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match="no attempt 99"):
        written(store, attempts.apply, [Transition(99, State.RUNNING)], NOW)


def test_evidence_is_recorded_where_it_changes(store: Store) -> None:
    submit(store, 1)
    array = plan(store)
    pending = (("queue", "PENDING"),)
    move(store, array, State.QUEUED, why=pending, reason="Priority")
    move(store, array, State.QUEUED, why=pending, reason="Resources")
    move(store, array, State.RUNNING, why=(("runner", "open 0"),))
    move(store, array, State.QUEUED, why=pending)
    (attempt,) = [one.attempt for one in seen(store, attempts.known, array.id).values()]
    found = seen(store, evidence.of, attempt)
    assert [(one.source, one.word, one.detail) for one in found] == [
        ("queue", "PENDING", "queued"),
        ("runner", "open 0", "running"),
        ("queue", "PENDING", "queued"),
    ]


def test_an_array_is_finished_when_all_have_ended(store: Store) -> None:
    submit(store, 2)
    array = plan(store)

    def finished() -> list[int]:
        return [one.id for one in seen(store, attempts.finished_arrays, **ME)]

    written(store, attempts.update_array, array.id, intent=Intent.ACCEPTED)
    move(store, array, State.COMPLETED, 0)
    assert finished() == []
    counts = seen(store, attempts.live_counts, **ME)
    assert counts == {array.id: {State.QUEUED: 1}}
    move(store, array, State.COMPLETED, 1)
    assert finished() == [array.id]
    written(store, attempts.update_array, array.id, intent=Intent.ENDED)
    assert finished() == []


def test_known_tells_who_shall_be_cancelled(store: Store) -> None:
    submit(store, 2)
    array = plan(store)
    run = seen(store, attempts.elements, array.id)[1].id
    written(store, directives.insert, "cancel", [run], user="alice", now=NOW)
    known = seen(store, attempts.known, array.id)
    assert [one.cancel_asked for one in known.values()] == [False, True]


def test_sightings_are_of_the_highest_restart(store: Store) -> None:
    submit(store, 2)
    array = plan(store)
    take(store, array, opened(array, 0, 2, node="n9"), at=(0, 2, 0))
    take(store, array, opened(array, 0, 10, node="n10"), at=(0, 10, 0))
    take(store, array, opened(array, 1), at=(1, 0, 0))
    found = seen(store, attempts.sightings, array.id)
    assert {index: (one.restart, one.node) for index, one in found.items()} == {
        0: (10, "n10"),
        1: (0, "n1"),
    }
    assert list(seen(store, attempts.sightings, array.id, [1, 5])) == [1]
    assert list(seen(store, attempts.sightings, array.id, list(range(1, 900)))) == [1]


class Explained:
    """A transaction that asks how each statement would be run."""

    def __init__(self, tx: Connection, is_file: bool) -> None:
        self._tx = tx
        self._how, self._column = ("EXPLAIN QUERY PLAN ", 3) if is_file else ("EXPLAIN ", 0)
        self.steps: list[str] = []

    def execute(self, sql: str, params: Any = ()) -> Iterator[Any]:
        self.steps += [row[self._column] for row in self._tx.execute(self._how + sql, params)]
        return iter(())

    def stream(self, sql: str, params: Any = ()) -> Iterator[Any]:
        return self.execute(sql, params)

    def one(self, sql: str, params: Any = ()) -> None:
        self.execute(sql, params)

    def change(self, sql: str, params: Any = ()) -> int:
        self.execute(sql, params)
        return 1


REST = Rest("PENDING", State.QUEUED, "Priority", ((2, 9), (11, 20)))
CYCLE: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (attempts.has_ready, ME),
    (attempts.ready_stages, ME),
    (attempts.ready, ME),
    (attempts.has_live, {"user": "alice"}),
    (attempts.arrays, {**ME, "intents": [Intent.ACCEPTED, Intent.SENDING]}),
    (attempts.finished_arrays, ME),
    (attempts.live_counts, ME),
    (attempts.known, {"array_id": 1}),
    (attempts.known, {"array_id": 1, "indices": [1, 2], "but": [REST]}),
    (waiting.differs, {"array_id": 1, "rest": REST}),
    (waiting.write, {"array_id": 1, "rest": REST, "at": NOW}),
    (attempts.sightings, {"array_id": 1}),
    (attempts.elements, {"array_id": 1}),
    (attempts.dissolve, {"array_id": 1, "now": NOW}),
    (directives.cancel_unsent, {**ME, "now": NOW}),
    (directives.to_cancel, ME),
    (ingest.offsets, {"array_id": 1}),
]


@pytest.mark.parametrize("read,args", CYCLE)
def test_the_cycle_never_walks_over_what_has_ended(
    store: Store, read: Callable[..., Any], args: dict[str, Any]
) -> None:
    partial = ("run_ready", "directive_open")  # these hold only what is still to be done
    with store.read() as tx:
        if store.dialect.path is None:
            tx.execute("SET LOCAL enable_seqscan = off")  # few rows: an index would not be worth it
        explained = Explained(tx, is_file=store.dialect.path is not None)
        read(explained, **args)
    assert explained.steps
    scans = [step for step in explained.steps if step.startswith("SCAN") or "Seq Scan" in step]
    assert [step for step in scans if not step.endswith(partial)] == []
