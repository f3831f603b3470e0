"""Over: tell runners which elements of an array are over, so that a requeue runs none of them.

A sealed record tells that by itself, and an array that is over as a whole loses its manifest, soon.
What was decided otherwise is told in a file, after the commit. A process may die between the two:
who cannot know that all was told looks at what the store has.
"""

from collections.abc import Iterable

from penstock.errors import NotFoundError, TransportError
from penstock.model.run import Array, Intent
from penstock.reconciler.world import World
from penstock.store import attempts
from penstock.wire import over, place


def tell(world: World, arrays: Iterable[Array], odd: list[str]) -> bool:
    """Tell what is over of each array; return whether all could be told."""
    failed = 0
    for array in arrays:
        try:
            _tell_one(world, array)
        except TransportError as error:
            odd.append(str(error))
            failed += 1
    return not failed


def _tell_one(world: World, array: Array) -> None:
    """Write the file; once more where another reconciler has meanwhile decided on others."""
    path = str(world.folder(array.token) / place.OVER)
    told: list[int] = []
    while True:
        with world.store.read() as view:
            indices = attempts.over(view, array.id)
        if indices == told or len(indices) == array.size:
            return
        world.transport.put(path, over.encode(indices))
        told = indices


def catch_up(world: World, fence: int, odd: list[str]) -> bool:
    """Tell what was left untold; return whether all is told now.

    Nothing is looked at where this process told all in its last cycle, and no other acted since.
    """
    if world.memory.told_under == fence - 1:
        return True
    who = {"user": world.user, "cluster": world.cluster}
    with world.store.read() as view:
        live = attempts.arrays(view, **who, intents=(Intent.SENDING, Intent.ACCEPTED))
        some = attempts.partly_over(view, [array.id for array in live])
    left = [array for array in live if array.id in some and not _is_told(world, array, some)]
    return tell(world, left, odd)


def _is_told(world: World, array: Array, indices: dict[int, list[int]]) -> bool:
    try:
        data = world.transport.get(str(world.folder(array.token) / place.OVER))
        return all(over.has(data, index) for index in indices[array.id])
    except (NotFoundError, TransportError, ValueError):
        return False
