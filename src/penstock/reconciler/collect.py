"""Collect: bring what the spools of live arrays gained into the store."""

from collections.abc import Iterable

from penstock import failpoint
from penstock.errors import TransportError
from penstock.model.run import Array
from penstock.reconciler.world import World
from penstock.store import ingest


def collect(world: World, arrays: Iterable[Array], odd: list[str]) -> dict[int, set[int]]:
    """Ingest new bytes, a transaction for each array; return indices with news by array id.

    An array whose spools cannot be read is told in ``odd`` and keeps back no other.
    """
    news: dict[int, set[int]] = {}
    for array in arrays:
        try:
            news[array.id] = collect_one(world, array)
        except TransportError as error:
            odd.append(str(error))
    return news


def collect_one(world: World, array: Array) -> set[int]:
    """Ingest new bytes of one array; return indices with news. Raises TransportError."""
    with world.store.read() as view:
        known = ingest.offsets(view, array.id)
    tails = list(world.transport.tails(str(world.folder(array.token)), known))
    if not tails:
        return set()
    with world.store.write() as tx:
        gained = ingest.ingest(tx, array.id, tails, world.clock.now())
        failpoint.hit("reconciler.collect")
    return gained.changed
