"""Collect: bring what the spools of live arrays gained into the store."""

from collections.abc import Iterable, Mapping

from penstock import failpoint
from penstock.errors import TransportError
from penstock.model.run import Array
from penstock.reconciler.world import World
from penstock.store import ingest
from penstock.transport.protocol import Tail

MANY = 100  # arrays in one transaction: each one waits for the disk
MUCH_BYTES = 1 << 23


def collect(world: World, arrays: Iterable[Array], odd: list[str]) -> dict[int, set[int]]:
    """Ingest new bytes, few arrays in a transaction; return indices with news by array id.

    An array whose spools cannot be read is told in ``odd`` and keeps back no other.
    """
    by_folder = {str(world.folder(array.token)): array for array in arrays}
    wanted = ((folder, _known(world, array)) for folder, array in by_folder.items())
    news: dict[int, set[int]] = {}
    found: dict[int, list[Tail]] = {}
    size = 0
    try:
        for folder, tails in world.transport.gather(wanted) if by_folder else ():
            if isinstance(tails, TransportError):
                odd.append(str(tails))
            elif tails:
                found[by_folder[folder].id] = tails
                size += sum(len(tail.data) for tail in tails)
            if len(found) >= MANY or size >= MUCH_BYTES:
                news |= _take(world, found)
                found, size = {}, 0
    except TransportError as error:
        odd.append(str(error))
    return news | _take(world, found)


def collect_one(world: World, array: Array) -> set[int]:
    """Ingest new bytes of one array; return indices with news. Raises TransportError."""
    tails = list(world.transport.tails(str(world.folder(array.token)), _known(world, array)))
    return _take(world, {array.id: tails} if tails else {}).get(array.id, set())


def _known(world: World, array: Array) -> dict[tuple[int, int], int]:
    with world.store.read() as view:
        return ingest.offsets(view, array.id)


def _take(world: World, found: Mapping[int, list[Tail]]) -> dict[int, set[int]]:
    if not found:
        return {}
    with world.store.write() as tx:
        now = world.clock.now()
        gained = {array: ingest.ingest(tx, array, tails, now) for array, tails in found.items()}
        failpoint.hit("reconciler.collect")
    return {array: one.changed for array, one in gained.items()}
