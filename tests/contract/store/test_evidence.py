from datetime import datetime, timedelta

import pytest

from penstock.model.run import Array
from penstock.model.state import State
from penstock.store import attempts, detail
from penstock.store.connection import Store
from tests.contract.store.making import (
    AT,
    NOW,
    ended,
    move,
    opened,
    plan,
    ready,
    seen,
    submit,
    take,
)


@pytest.fixture
def array(store: Store) -> Array:
    submit(store, 3)
    return plan(store)


@pytest.mark.parametrize("opened_at, is_known", [(AT + 5, True), (AT - 5, False)])
def test_a_sealed_end_stands_where_the_next_restart_died(
    store: Store, array: Array, opened_at: float, is_known: bool
) -> None:
    """It had found the record, and ran nothing; one that came later it had not found."""
    take(store, array, opened(array) + ended(), is_done=True)
    take(store, array, opened(array, restart=1, at=opened_at), at=(0, 1, 0))
    sighting = seen(store, attempts.sightings, array.id)[0]
    assert (sighting.restart, sighting.is_closed) == (1, False)
    assert (sighting.exit is not None) is is_known
    assert sighting.exit is None or (sighting.exit.code, sighting.exit.restart) == (0, 0)


@pytest.mark.parametrize("said_at", [NOW - timedelta(minutes=5), None])
def test_what_was_said_has_the_time_of_its_source(store: Store, said_at: datetime | None) -> None:
    submit(store, 1)
    run = ready(store)[0].id
    why = (("accounting", "TIMEOUT"),)
    move(store, plan(store), State.ENDING, why=why, why_at=said_at)
    (row,) = seen(store, detail.evidence, run)
    assert row.at == (said_at or NOW + timedelta(seconds=1))
