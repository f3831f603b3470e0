from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from penstock.errors import Fenced, StoreError
from penstock.store import lease
from penstock.store.connection import Store, open_store
from tests.contract.store.making import ME, seen, written


class Hands:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2024, 11, 20, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def store(url: str, clock: Hands) -> Store:
    return open_store(url, clock=clock)


def take(store: Store, holder: str, **changed: str) -> int | None:
    return lease.take(store, **{**ME, **changed}, holder=holder, ttl_s=60)


def test_one_holds_the_lease(store: Store) -> None:
    assert take(store, "a:1") == 1
    assert take(store, "b:2") is None
    assert lease.holder(store, **ME) == "a:1"


def test_a_lease_that_ran_out_is_taken_with_a_higher_fence(store: Store, clock: Hands) -> None:
    take(store, "a:1")
    clock.sleep(61)
    assert lease.holder(store, **ME) == ""
    assert take(store, "b:2") == 2
    with pytest.raises(Fenced, match="b:2"):
        seen(store, lease.check_fence, **ME, fence=1)
    seen(store, lease.check_fence, **ME, fence=2)


def test_a_lease_that_is_renewed_does_not_run_out(store: Store, clock: Hands) -> None:
    take(store, "a:1")
    clock.sleep(50)
    assert lease.renew(store, **ME, fence=1)
    clock.sleep(50)
    assert take(store, "b:2") is None


def test_who_was_overtaken_cannot_renew_or_release(store: Store, clock: Hands) -> None:
    take(store, "a:1")
    clock.sleep(61)
    take(store, "b:2")
    assert not lease.renew(store, **ME, fence=1)
    lease.release(store, **ME, holder="a:1", fence=1)
    assert lease.holder(store, **ME) == "b:2"


def test_a_released_lease_is_free_and_its_fence_goes_on(store: Store) -> None:
    take(store, "a:1")
    lease.release(store, **ME, holder="a:1", fence=1)
    assert lease.holder(store, **ME) == ""
    assert not lease.renew(store, **ME, fence=1)
    assert take(store, "b:2") == 2


def test_fence_grows_while_the_lease_is_held_and_it_is_given_back_all_the_same(
    store: Store,
) -> None:
    take(store, "a:1")
    assert written(store, lease.advance, **ME, fence=1) == 2
    with pytest.raises(Fenced):
        written(store, lease.advance, **ME, fence=1)
    lease.release(store, **ME, holder="a:1", fence=1)
    assert lease.holder(store, **ME) == ""


@pytest.mark.parametrize("sent, is_older", [(0, False), (1, False), (2, False), (3, True)])
def test_store_whose_fence_is_below_what_was_sent_is_older(
    store: Store, sent: int, *, is_older: bool
) -> None:
    take(store, "a:1")
    take(store, "a:1")
    for _ in range(5 if is_older else 1):  # and never by asking again
        with pytest.raises(StoreError, match="older") if is_older else nullcontext():
            assert lease.take(store, **ME, holder="a:1", ttl_s=60, sent=sent) == 3


def test_new_store_is_older_than_what_was_sent(store: Store) -> None:
    with pytest.raises(StoreError, match="older"):
        lease.take(store, **ME, holder="a:1", ttl_s=60, sent=1)


def test_the_same_holder_gets_a_new_fence(store: Store) -> None:
    assert [take(store, "a:1"), take(store, "a:1")] == [1, 2]


def test_users_and_clusters_have_their_own(store: Store) -> None:
    assert take(store, "a:1") == 1
    assert take(store, "b:2", user="bob") == 1
    assert take(store, "b:2", cluster="far") == 1


def test_without_a_lease_no_fence_holds(store: Store) -> None:
    with pytest.raises(Fenced):
        seen(store, lease.check_fence, **ME, fence=1)


def test_the_store_has_a_clock_of_its_own(url: str) -> None:
    with open_store(url).read() as view:
        assert abs(view.now() - datetime.now(UTC).timestamp()) < 60


def test_a_lease_whose_holder_is_gone_is_taken_at_once(store: Store) -> None:
    take(store, "a:1")
    assert lease.take(store, **ME, holder="b:2", ttl_s=60, is_gone=lambda who: who == "z:9") is None
    assert lease.take(store, **ME, holder="b:2", ttl_s=60, is_gone=lambda who: who == "a:1") == 2
