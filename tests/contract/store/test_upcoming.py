"""What runs wait for, on clusters that are waited for differently."""

from datetime import timedelta

import pytest

from penstock.model.run import Intent
from penstock.model.state import State
from penstock.store import attempts, upcoming
from penstock.store.connection import Store
from penstock.store.upcoming import Unknown, together
from tests.contract.store.making import ME, NOW, move, plan, seen, submit, written

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


def test_silent_runs_are_counted_by_cluster(silent: Store) -> None:
    found = seen(silent, upcoming.waiting, user=ME["user"])
    assert sorted((one.cluster, one.runs, one.at) for one in found if one.what == "unknown") == [
        ("big", 1, EARLIER),
        ("test", 2, NOW),
    ]


def test_an_experiment_on_two_clusters_is_told_of_once() -> None:
    here, there = Unknown("sweep", "test", 2, NOW, 1), Unknown("sweep", "big", 1, EARLIER, 5)
    assert together([here, there]) == Unknown("sweep", "test", 3, EARLIER, 1)
    assert together([]) is None
