from penstock.model.run import Intent
from penstock.model.state import State
from penstock.store import attempts, directives
from penstock.store.connection import Store
from tests.contract.store.making import ME, NOW, move, plan, ready, rows, seen, submit, written


def ask(store: Store, *runs: int) -> int:
    asked: int = written(store, directives.insert, directives.CANCEL, runs, user="alice", now=NOW)
    return asked


def unsent(store: Store) -> int:
    count: int = written(store, directives.cancel_unsent, **ME, now=NOW)
    return count


def accept(store: Store, array: int, job: int = 7) -> None:
    written(store, attempts.update_array, array, intent=Intent.ACCEPTED, job=job, sent_at=NOW)


def states(store: Store) -> list[str]:
    return [state for (state,) in rows(store, "SELECT state FROM run ORDER BY id")]


def test_a_run_is_asked_once_and_not_after_its_end(store: Store) -> None:
    submit(store, 3)
    array = plan(store)
    move(store, array, State.COMPLETED, 2)
    assert ask(store, 1, 2, 3) == 2
    assert ask(store, 1, 2, 3) == 0
    assert [one.run for one in seen(store, directives.open_, **ME)] == [1, 2]


def test_runs_that_wait_here_are_cancelled_at_once(store: Store) -> None:
    submit(store, 3)
    ask(store, 1, 3)
    assert unsent(store) == 2
    assert states(store) == ["cancelled", "ready", "cancelled"]
    assert seen(store, directives.open_, **ME) == []
    assert rows(store, "SELECT cause FROM run WHERE state = 'cancelled'") == [("user",)] * 2


def test_an_array_that_was_never_sent_is_planned_anew(store: Store) -> None:
    submit(store, 3)
    plan(store)
    ask(store, 2)
    assert unsent(store) == 1
    assert [run.number for run in ready(store)] == [1, 3]
    assert states(store) == ["ready", "cancelled", "ready"]


def test_an_array_that_may_be_with_the_scheduler_is_left_whole(store: Store) -> None:
    submit(store, 2)
    array = plan(store)
    written(store, attempts.update_array, array.id, intent=Intent.INTENDED, sent_at=NOW)
    ask(store, 1)
    assert unsent(store) == 0
    assert states(store) == ["queued", "queued"]
    assert seen(store, directives.to_cancel, **ME) == []


def test_what_is_with_the_scheduler_is_named_by_its_place(store: Store) -> None:
    submit(store, 4)
    first, second = plan(store, size=2), plan(store)
    accept(store, first.id, 7)
    accept(store, second.id, 8)
    ask(store, 2, 3, 4)
    found = seen(store, directives.to_cancel, **ME)
    assert [(one.run, one.array, one.job, one.index, one.is_whole) for one in found] == [
        (2, first.id, 7, 1, False),
        (3, second.id, 8, 0, True),
        (4, second.id, 8, 1, True),
    ]


def test_those_that_are_left_of_an_array_are_all_of_it(store: Store) -> None:
    submit(store, 2)
    array = plan(store)
    accept(store, array.id)
    move(store, array, State.COMPLETED, 0)
    ask(store, 1, 2)
    (place,) = seen(store, directives.to_cancel, **ME)
    assert (place.index, place.is_whole) == (1, True)


def test_a_directive_is_open_until_its_run_has_ended(store: Store) -> None:
    submit(store, 1)
    array = plan(store)
    accept(store, array.id)
    ask(store, 1)
    unsent(store)
    assert len(seen(store, directives.open_, **ME)) == 1
    move(store, array, State.CANCELLED)
    unsent(store)
    assert seen(store, directives.open_, **ME) == []
    assert rows(store, "SELECT done_at FROM directive") == [(NOW.timestamp(),)]


def test_a_directive_can_be_closed(store: Store) -> None:
    submit(store, 1)
    ask(store, 1)
    (one,) = seen(store, directives.open_, **ME)
    written(store, directives.close, [one.id], NOW)
    assert seen(store, directives.open_, **ME) == []


def test_others_runs_are_not_acted_on(store: Store) -> None:
    submit(store, 1, user="bob")
    ask(store, 1)
    assert unsent(store) == 0
    assert seen(store, directives.open_, **ME) == []
    assert states(store) == ["ready"]
