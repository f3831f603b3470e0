"""The lease: one reconciler acts for a user on a cluster. It saves work; the fence keeps it right.

Times are the store's clock's, so hosts whose clocks differ agree (with SQLite it is the clock of
the host that asks: there the lease may be taken early, and the fence tells).
"""

from collections.abc import Callable

from penstock.errors import Fenced, StoreError
from penstock.store.connection import Connection, Store

_OF = " WHERE owner = ? AND cluster = ?"
OLDER = (
    "nothing is sent from it: put the newer one back; or let `penstock store restore`, without a "
    "FILE, look up by their files what was sent since"
)


def older(name: str) -> str:
    """Say that a store is older than what was sent."""
    return (
        f"the store {name} is older than what was sent from it: a copy of before, or one begun "
        "anew, has its place"
    )


def take(  # noqa: PLR0913  who takes it, for how long, and what must be known by then
    store: Store,
    *,
    user: str,
    cluster: str,
    holder: str,
    ttl_s: float,
    is_gone: Callable[[str], bool] = lambda _: False,
    sent: int = 0,
) -> int | None:
    """Take the lease where it is free, has run out, or its holder is gone; return the fence.

    None: another has it. Where ``is_gone`` is wrong two act, and the fence tells.
    Raises StoreError where the store is older than what was ``sent`` under that fence: nothing may
    be written then, for the fence of a copy would grow until it looked like that of the store.

    The fence is a number that grows whenever the lease is taken. The same holder takes it again
    and gets a new fence, too: its earlier self may be dead.
    """

    def is_other(name: str) -> bool:
        return name not in ("", holder) and not is_gone(name)

    if is_other(_held_by(store, user, cluster)):
        return None  # found out without a write, which would wait for other writers
    with store.write() as tx:
        found = tx.one("SELECT holder, fence, beat_at + ttl_s FROM lease" + _OF, (user, cluster))
        if found is not None and found[2] > tx.now() and is_other(found[0]):
            return None
        last: int = found[1] if found else 0
        if last < sent:
            raise StoreError(older(store.name), hint=OLDER)
        fence = last + 1
        tx.execute(
            "INSERT INTO lease (owner, cluster, holder, fence, beat_at, ttl_s)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (owner, cluster) DO UPDATE SET"
            " holder = excluded.holder, fence = excluded.fence,"
            " beat_at = excluded.beat_at, ttl_s = excluded.ttl_s",
            (user, cluster, holder, fence, tx.now(), ttl_s),
        )
    return fence


def fence(store: Store, *, user: str, cluster: str) -> int | None:
    """Return the fence as it is; None: nobody ever had the lease."""
    with store.read() as view:
        found = view.one("SELECT fence FROM lease" + _OF, (user, cluster))
    return found[0] if found else None


def renew(store: Store, *, user: str, cluster: str, fence: int) -> bool:
    """Say that the holder lives; return False where another has taken the lease."""
    with store.write() as tx:
        renewed = tx.change(
            "UPDATE lease SET beat_at = ?" + _OF + " AND fence = ? AND holder <> ''",
            (tx.now(), user, cluster, fence),
        )
    return renewed == 1


def advance(tx: Connection, *, user: str, cluster: str, fence: int) -> int:
    """Let the fence of who holds the lease grow, as something is sent; return it. Raises Fenced."""
    check_fence(tx, user=user, cluster=cluster, fence=fence)
    tx.execute("UPDATE lease SET fence = ?" + _OF, (fence + 1, user, cluster))
    return fence + 1


def release(store: Store, *, user: str, cluster: str, holder: str, fence: int) -> None:
    """Give the lease back that was taken under this fence, if it is still held."""
    with store.write() as tx:
        tx.execute(
            "UPDATE lease SET holder = ''" + _OF + " AND holder = ? AND fence >= ?",
            (user, cluster, holder, fence),
        )


def holder(store: Store, *, user: str, cluster: str) -> str:
    """Return who holds the lease now; empty: nobody."""
    return _held_by(store, user, cluster)


def _held_by(store: Store, user: str, cluster: str) -> str:
    with store.read() as view:
        found = view.one("SELECT holder, beat_at + ttl_s FROM lease" + _OF, (user, cluster))
        return found[0] if found is not None and found[1] > view.now() else ""


def check_fence(tx: Connection, *, user: str, cluster: str, fence: int) -> None:
    """Raise Fenced where the lease was taken by another since; in the transaction that writes."""
    found = tx.one("SELECT holder, fence FROM lease" + _OF, (user, cluster))
    if found is None or found[1] != fence:
        other = f" ({found[0]})" if found and found[0] else ""
        raise Fenced(
            f"another reconciler{other} has taken over {user}'s runs on {cluster}",
            hint="nothing is lost: it goes on with them",
        )
