"""Collect: bring what the spools of arrays gained into the store, and fold those that ended."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from penstock import failpoint
from penstock.errors import TransportError
from penstock.model.run import Array, Intent
from penstock.reconciler.world import World
from penstock.store import attempts, ingest
from penstock.transport.protocol import Gathered

MANY = 100  # arrays in one transaction: each one waits for the disk
MUCH_BYTES = 1 << 23

Offsets = dict[tuple[int, int], int]  # by index and restart


def collect(world: World, arrays: Iterable[Array], odd: list[str]) -> dict[int, set[int]]:
    """Ingest new bytes, few arrays in a transaction; return indices with news by array id.

    Arrays that are ENDED are folded. One that cannot be read or folded is told in ``odd`` and keeps
    back no other.
    """
    by_folder = {str(world.folder(array.token)): array for array in arrays}
    over = {folder for folder, array in by_folder.items() if array.intent is Intent.ENDED}
    wanted = _known(world, list(by_folder.items()))
    news: dict[int, set[int]] = {}
    found: dict[int, Gathered] = {}
    size = 0
    try:
        for one in world.transport.gather(wanted, over) if by_folder else ():
            if one.error is not None:
                odd.append(str(one.error))
            if one.tails or one.is_folded:
                found[by_folder[one.folder].id] = one
                size += sum(len(tail.data) for tail in one.tails)
            if len(found) >= MANY or size >= MUCH_BYTES:
                news |= _take(world, found)
                found, size = {}, 0
    except TransportError as error:
        odd.append(str(error))
    return news | _take(world, found)


def _known(world: World, arrays: Sequence[tuple[str, Array]]) -> Iterator[tuple[str, Offsets]]:
    """Yield folders with how far their spools were read, as the store has it when it is asked."""
    for start in range(0, len(arrays), MANY):
        some = arrays[start : start + MANY]
        with world.store.read() as view:
            known = [ingest.offsets(view, array.id) for _, array in some]
        yield from zip((folder for folder, _ in some), known, strict=True)


def _take(world: World, found: Mapping[int, Gathered]) -> dict[int, set[int]]:
    """Take in what was told; what was folded counts as that in the same transaction."""
    if not found:
        return {}
    news = {}
    with world.store.write() as tx:
        now = world.clock.now()
        for array, one in found.items():
            if one.tails:
                news[array] = ingest.ingest(tx, array, one.tails, now).changed
            if one.is_folded:
                attempts.update_array(tx, array, intent=Intent.FOLDED)
        failpoint.hit("reconciler.collect")
    return news
