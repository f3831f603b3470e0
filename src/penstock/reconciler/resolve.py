"""Resolve: arrays that are SENDING where the scheduler cannot say whether it has them.

The runners' own word comes first: one that has begun names its job. Else the user answers
(``penstock resolve``). Where nobody has, the question is put.
"""

from collections.abc import Iterable

from penstock import failpoint
from penstock.model.evidence import Poll
from penstock.model.run import Array, Intent
from penstock.reconciler.world import World
from penstock.store import attempts, directives, resolutions
from penstock.store.connection import Connection

NO_ACCOUNTING = "this cluster has no accounting, so it cannot be known whether it arrived"


def by_runners(world: World, fence: int, arrays: Iterable[Array]) -> None:
    """Adopt arrays of which a runner has begun: it names its job."""
    for array in arrays:
        with world.store.read() as view:
            job = resolutions.job_told(view, array.id)
        if job is not None:
            with world.store.write() as tx:
                _adopt(tx, array.id, fence, job)


def by_users(world: World, fence: int, told: Iterable[resolutions.Answer]) -> None:
    """Do with arrays as their users said; an answer that comes too late changes nothing."""
    for one in told:
        with world.store.write() as tx:
            if one.intent is Intent.SENDING and one.job is not None:
                _adopt(tx, one.array, fence, one.job)
            elif one.intent is Intent.SENDING:
                back = {"intent": Intent.INTENDED, "sent_at": None, "not_before": None}
                attempts.update_array(
                    tx, one.array, fence=fence, detail="sent again, as its user said", **back
                )
            directives.close(tx, [one.directive], world.clock.now())
        failpoint.hit("reconciler.resolved")


def ask(world: World, fence: int, arrays: Iterable[Array], poll: Poll) -> None:
    """Put the question to the user where an array is neither in the queue nor to be looked up."""
    if world.capabilities.has_accounting:
        return
    for array in arrays:
        if array.detail == NO_ACCOUNTING or array.sent_at is None:
            continue
        if poll.at - array.sent_at >= world.policy.absent_after:
            with world.store.write() as tx:
                attempts.update_array(tx, array.id, fence=fence, detail=NO_ACCOUNTING)


def _adopt(tx: Connection, array: int, fence: int, job: int) -> None:
    attempts.update_array(tx, array, fence=fence, intent=Intent.ACCEPTED, job=job, detail="")
