"""What runs wait for, and which nobody has heard of."""

from datetime import timedelta

import pytest

from penstock.model.run import Intent
from penstock.model.state import State
from penstock.store import attempts, upcoming
from penstock.store.connection import Store
from penstock.store.upcoming import Unknown
from tests.contract.store.making import AT, ME, NOW, move, opened, plan, seen, submit, take, written

EARLIER = NOW - timedelta(minutes=5)


@pytest.fixture
def silent(store: Store) -> Store:
    """Two runs here, and one on another cluster, are not heard of."""
    for cluster, since, indices in (("test", NOW, (0, 2)), ("big", EARLIER, (1,))):
        submit(store, 3, cluster=cluster)
        array = plan(store, cluster=cluster)
        written(store, attempts.update_array, array.id, intent=Intent.ACCEPTED)
        move(store, array, State.QUEUED, *indices, unknown_since=since)
    return store


def test_each_cluster_has_its_own_patience(silent: Store) -> None:
    def told(**before: int) -> list[tuple[str, int]]:
        times = {name: NOW - timedelta(minutes=ago) for name, ago in before.items()}
        times[""] = NOW + timedelta(minutes=1)
        return [
            (one.cluster, one.runs) for one in seen(silent, upcoming.unknown, "demo", before=times)
        ]

    assert sorted(told()) == [("big", 1), ("test", 2)]
    assert sorted(told(big=4, other=9)) == [("big", 1), ("test", 2)]
    assert told(big=6) == [("test", 2)]
    assert told(big=6, test=1) == []


def test_silence_begins_when_its_runner_was_heard_of_last(store: Store) -> None:
    submit(store, 3)
    array = plan(store)
    written(store, attempts.update_array, array.id, intent=Intent.ACCEPTED, job=7)
    spoken = NOW.fromtimestamp(AT, NOW.tzinfo)
    for index in (0, 1):
        take(store, array, opened(array, index), at=(index, 0, 0))
    move(store, array, State.RUNNING, 0, unknown_since=spoken - timedelta(seconds=50))
    move(store, array, State.RUNNING, 1, unknown_since=spoken + timedelta(seconds=20))
    move(store, array, State.ENDING, 2, unknown_since=spoken - timedelta(seconds=90))
    (found,) = seen(store, upcoming.unknown, "demo", before={"": NOW})
    since = spoken - timedelta(seconds=50)
    assert found == Unknown("sweep", ME["cluster"], ME["user"], 2, since, spoken, 1)
    assert seen(store, upcoming.unknown, "demo", before={"": since}) == []
