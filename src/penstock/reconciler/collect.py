"""Collect: bring what the spools of live arrays gained into the store."""

from collections.abc import Iterable

from penstock import failpoint
from penstock.errors import TransportError
from penstock.model.run import Array
from penstock.reconciler.world import World
from penstock.store import ingest
from penstock.transport.protocol import Tail


def collect(world: World, arrays: Iterable[Array], odd: list[str]) -> dict[int, set[int]]:
    """Ingest new bytes, a transaction for each array; return indices with news by array id.

    An array whose spools cannot be read is told in ``odd`` and keeps back no other.
    """
    by_folder = {str(world.folder(array.token)): array for array in arrays}
    wanted = ((folder, _known(world, array)) for folder, array in by_folder.items())
    news: dict[int, set[int]] = {}
    try:
        for folder, tails in world.transport.gather(wanted) if by_folder else ():
            if isinstance(tails, TransportError):
                odd.append(str(tails))
            else:
                news[by_folder[folder].id] = _take(world, by_folder[folder], tails)
    except TransportError as error:
        odd.append(str(error))
    return news


def collect_one(world: World, array: Array) -> set[int]:
    """Ingest new bytes of one array; return indices with news. Raises TransportError."""
    tails = world.transport.tails(str(world.folder(array.token)), _known(world, array))
    return _take(world, array, list(tails))


def _known(world: World, array: Array) -> dict[tuple[int, int], int]:
    with world.store.read() as view:
        return ingest.offsets(view, array.id)


def _take(world: World, array: Array, tails: list[Tail]) -> set[int]:
    if not tails:
        return set()
    with world.store.write() as tx:
        gained = ingest.ingest(tx, array.id, tails, world.clock.now())
        failpoint.hit("reconciler.collect")
    return gained.changed
