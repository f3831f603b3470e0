"""Attempts that wait alike are compared and written at once, as each alone would be."""

import contextlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from penstock.model.evidence import Rest, Transition
from penstock.model.run import Array
from penstock.model.state import State
from penstock.store import attempts, waiting
from penstock.store.connection import Store
from tests.contract.store.making import NOW, move, opened, plan, rows, seen, submit, take, written

REST = Rest("PENDING", State.QUEUED, "Priority", ((2, 9),))
WHOLE = "SELECT * FROM attempt ORDER BY id"
WHY = ("queue", "PENDING")
SAID = "SELECT attempt_id, source, at, word, detail FROM evidence ORDER BY attempt_id, id"


class Undone(Exception):
    """What was written shall not count."""


@pytest.fixture
def array(store: Store) -> Array:
    """Ten attempts: some wait as is recorded, one for something else, one each runs, was heard."""
    submit(store, 10)
    array = plan(store)
    move(store, array, State.QUEUED, reason="Priority")
    move(store, array, State.QUEUED, 3, reason="Resources")
    move(store, array, State.RUNNING, 4)
    move(store, array, State.QUEUED, 5, reason="Priority", unknown_since=NOW)
    move(store, array, State.COMPLETED, 6)
    take(store, array, opened(array, 7), at=(7, 0, 0))
    return array


def known(store: Store, array: Array, *but: Rest) -> list[int]:
    return list(seen(store, attempts.known, array.id, but=but))


def test_known_leaves_out_those_that_wait_just_so(store: Store, array: Array) -> None:
    assert known(store, array) == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    assert known(store, array, REST) == [0, 1, 3, 4, 5, 7]  # 0 and 1 it does not tell of
    assert known(store, array, REST, replace(REST, ranges=((0, 0),))) == [1, 3, 4, 5, 7]
    held = replace(REST, state=State.HELD)
    assert known(store, array, held) == known(store, array)


def test_known_of_some_indices_is_of_these_only(store: Store, array: Array) -> None:
    assert list(seen(store, attempts.known, array.id, {0, 6, 8})) == [0, 8]
    assert list(seen(store, attempts.known, array.id, set(range(8, 900)))) == [8, 9]
    assert list(seen(store, attempts.known, array.id, {0, 8}, but=[REST])) == [0]
    assert seen(store, attempts.known, array.id, set()) == {}
    assert seen(store, attempts.sightings, array.id, set()) == {}


def test_of_many_ranges_the_largest_are_left_out_and_no_other(store: Store, array: Array) -> None:
    small = tuple((1000 + 3 * number, 1000 + 3 * number) for number in range(200))
    (kept,) = waiting.few([replace(REST, ranges=(*small, (8, 9)))])
    assert (8, 9) in kept.ranges
    assert len(kept.ranges) == 50
    many = replace(REST, ranges=(*small, (2, 9)))
    assert known(store, array, many) == known(store, array, REST)
    first, second = waiting.few([replace(many, ranges=small[:40]), many])
    assert (len(first.ranges), len(second.ranges)) == (40, 10)
    assert waiting.few([many, REST]) == waiting.few([many])


def test_another_reason_is_written_as_each_alone_would_be(store: Store, array: Array) -> None:
    """Of those that wait and were never heard of: 2, 8, 9 for another reason, 3 for the same."""
    rest = replace(REST, reason="Resources")
    later = NOW + timedelta(seconds=60)
    assert seen(store, waiting.differs, array.id, rest)
    expected: list[list[tuple[Any, ...]]] = []
    with contextlib.suppress(Undone), store.write() as tx:
        told = attempts.known(tx, array.id)
        alone = [
            Transition(told[index].attempt, State.QUEUED, reason="Resources", why=(WHY,))
            for index in (2, 8, 9)
        ]
        attempts.apply(tx, alone, later)
        expected += [list(tx.execute(sql)) for sql in (WHOLE, SAID)]
        raise Undone
    assert written(store, waiting.write, array.id, rest, later) == 3
    assert [rows(store, sql) for sql in (WHOLE, SAID)] == expected
    assert not seen(store, waiting.differs, array.id, rest)
    assert known(store, array, rest) == [0, 1, 4, 5, 7]


def test_what_was_believed_before_is_not_told_twice(store: Store, array: Array) -> None:
    rest = replace(REST, ranges=((8, 9),))
    for reason in ("Resources", "Priority", "Resources"):
        written(store, waiting.write, array.id, replace(rest, reason=reason), NOW)
    said = rows(
        store, "SELECT count(*), count(DISTINCT attempt_id) FROM evidence WHERE word = ?", "PENDING"
    )
    assert said == [(2, 2)]


def test_who_is_held_is_left_to_be_told_of_one_by_one(store: Store, array: Array) -> None:
    held = replace(REST, state=State.HELD, reason="JobHeldUser")
    assert not seen(store, waiting.differs, array.id, held)
    assert written(store, waiting.write, array.id, held, NOW) == 0
