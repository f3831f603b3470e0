"""Over: tell runners which elements of an array are over, so that a requeue runs none of them.

A sealed record tells that by itself, and an array that is over as a whole loses its manifest, soon.
What was decided otherwise is told in a file, after the commit. A process may die between the two:
who cannot know that all was told looks at what the store has. What waits in the queue of an array
that is over is taken out of it.
"""

from collections.abc import Iterable

from penstock.errors import NotFoundError, SchedulerError, TransportError
from penstock.model.evidence import Poll
from penstock.model.run import Array, Intent
from penstock.planning.reconcile import waiting
from penstock.reconciler.world import World
from penstock.store import attempts, ended
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
            indices = ended.indices(view, array.id)
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
        some = ended.partly(view, [array.id for array in live])
    left = [array for array in live if array.id in some and not _is_told(world, array, some)]
    return tell(world, left, odd)


def _is_told(world: World, array: Array, indices: dict[int, list[int]]) -> bool:
    try:
        data = world.transport.get(str(world.folder(array.token) / place.OVER))
        return all(over.has(data, index) for index in indices[array.id])
    except (NotFoundError, TransportError, ValueError):
        return False


def clear(world: World, poll: Poll, live: Iterable[Array], odd: list[str]) -> None:
    """Cancel what waits in the queue though its array is over: requeued, with a node that was lost.

    It would run nothing, and what is held nobody else would take away.
    """
    busy = {array.job for array in live}
    waits = {
        (task.name.partition(".")[0], task.job)
        for task in poll.tasks
        if task.job not in busy and waiting(task) is not None
    }
    if not waits:
        return
    with world.store.read() as view:
        left = waits & ended.jobs(view, [token for token, _ in waits])
    if not left:
        return
    try:
        world.scheduler.cancel((job, None) for _, job in sorted(left))
    except SchedulerError as error:
        odd.append(str(error))
