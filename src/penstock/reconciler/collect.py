"""Collect: bring what the spools of live arrays gained into the store."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from penstock import failpoint
from penstock.errors import TransportError
from penstock.model.run import Array
from penstock.reconciler.world import World
from penstock.store import ingest
from penstock.transport.protocol import Tail

MANY = 100  # arrays in one transaction: each one waits for the disk
MUCH_BYTES = 1 << 23

Offsets = dict[tuple[int, int], int]  # by index and restart


def collect(world: World, arrays: Iterable[Array], odd: list[str]) -> dict[int, set[int]]:
    """Ingest new bytes, few arrays in a transaction; return indices with news by array id.

    An array whose spools cannot be read is told in ``odd`` and keeps back no other.
    """
    by_folder = {str(world.folder(array.token)): array for array in arrays}
    wanted = _known(world, list(by_folder.items()))
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
    folder = str(world.folder(array.token))
    ((_, known),) = _known(world, [(folder, array)])
    tails = list(world.transport.tails(folder, known))
    return _take(world, {array.id: tails} if tails else {}).get(array.id, set())


def _known(world: World, arrays: Sequence[tuple[str, Array]]) -> Iterator[tuple[str, Offsets]]:
    """Yield folders with how far their spools were read, as the store has it when it is asked."""
    for start in range(0, len(arrays), MANY):
        some = arrays[start : start + MANY]
        with world.store.read() as view:
            known = [ingest.offsets(view, array.id) for _, array in some]
        yield from zip((folder for folder, _ in some), known, strict=True)


def _take(world: World, found: Mapping[int, list[Tail]]) -> dict[int, set[int]]:
    if not found:
        return {}
    with world.store.write() as tx:
        now = world.clock.now()
        gained = {array: ingest.ingest(tx, array, tails, now) for array, tails in found.items()}
        failpoint.hit("reconciler.collect")
    return {array: one.changed for array, one in gained.items()}
