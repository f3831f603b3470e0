"""Direct: carry out what users asked of runs that are with the scheduler."""

from penstock import failpoint
from penstock.model.run import Intent
from penstock.reconciler.world import World
from penstock.store import attempts, directives


def cancel(world: World) -> int:
    """Ask the scheduler to cancel the runs that users want cancelled; return how many.

    A directive stays open until its run has ended, so a cancel that got lost is asked again.
    """
    now = world.clock.now()
    with world.store.write() as tx:
        directives.cancel_unsent(tx, user=world.user, cluster=world.cluster, now=now)
        asked = directives.to_cancel(tx, user=world.user, cluster=world.cluster)
    if not asked:
        return 0
    failpoint.hit("reconciler.cancel")
    whole = {place.array for place in asked if place.is_whole}
    targets: list[tuple[int, int | None]] = [
        (place.job, None if place.array in whole else place.index)
        for place in asked
        if place.job is not None
    ]
    world.scheduler.cancel(dict.fromkeys(targets))
    return len(asked)


def ended(world: World) -> list[str]:
    """Mark arrays whose attempts are all final as ENDED; return their tokens."""
    with world.store.write() as tx:
        done = attempts.finished_arrays(tx, user=world.user, cluster=world.cluster)
        for array in done:
            attempts.update_array(tx, array.id, intent=Intent.ENDED)
    return [array.token for array in done]
