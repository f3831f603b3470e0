"""The cycle: collect, observe, decide, direct, plan, send, fold.

The only thing that changes arrays, jobs, attempts and states. It looks at what is, not at what
happened; killed anywhere it can be run again from anywhere.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from penstock import failpoint
from penstock.errors import SchedulerError, TransportError
from penstock.model.evidence import Evidence, Known, Poll, Sighting, Transition
from penstock.model.run import Array, Intent, Limits
from penstock.model.state import FINAL
from penstock.planning import arrays as arrays_of
from penstock.planning.reconcile import Ask, decide
from penstock.reconciler import direct, fold, observe, resolve, send
from penstock.reconciler.collect import collect
from penstock.reconciler.observe import Heard
from penstock.reconciler.world import World, is_gone
from penstock.store import attempts, lease, waiting
from penstock.wire import over, place

LEASE = timedelta(seconds=120)
MANY = 5000  # moves in one transaction, about


@dataclass(frozen=True)
class Told:
    """What was decided of one element, and from what."""

    array: Array
    index: int
    seen: Evidence
    answer: Transition


@dataclass
class Report:
    """What a cycle did."""

    is_other: str = ""  # who holds the lease, where this cycle did nothing
    changed: int = 0
    ended: int = 0
    sent: list[send.Sent] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)  # what could not be asked, and why
    polled: bool = False
    collected_at: datetime | None = None  # before this all that was written was read


def cycle(
    world: World, *, look: bool = True, plan: bool | None = None, limits: Limits | None = None
) -> Report:
    """Do all that can be done now.

    ``look``: ask the scheduler about its jobs. ``plan`` (else as ``look``): ask it what it has room
    for, and send; its ``limits`` are not asked for where they were told just now. With either it is
    told what to cancel, again until that is so. Without both nothing is asked of it: such a cycle
    reads spools.
    """
    report = Report()
    fence = lease.take(
        world.store,
        user=world.user,
        cluster=world.cluster,
        holder=world.holder,
        ttl_s=LEASE.total_seconds(),
        is_gone=is_gone,
    )
    if fence is None:
        report.is_other = lease.holder(world.store, user=world.user, cluster=world.cluster)
        return report
    try:
        will_plan = look if plan is None else plan
        _steps(world, fence, report, look=look, plan=will_plan, limits=limits)
    finally:
        lease.release(world.store, user=world.user, cluster=world.cluster, fence=fence)
    return report


def _steps(
    world: World, fence: int, report: Report, *, look: bool, plan: bool, limits: Limits | None
) -> None:
    resolve.by_users(world, fence)
    live = _arrays(world, Intent.SENDING, Intent.ACCEPTED)
    report.collected_at = world.clock.now()
    news = collect(world, live, report.odd)
    failpoint.hit("reconciler.collected")
    _settle(world, fence, live, observe.NOTHING, report, only=news)  # by records alone
    poll = _observe(world, report) if look else None
    if poll is not None:
        resolve.by_runners(world, fence, _arrays(world, Intent.SENDING))
        send.look_up(world, fence, _arrays(world, Intent.SENDING), poll)
        resolve.ask(world, fence, _arrays(world, Intent.SENDING), poll)
        live = _arrays(world, Intent.ACCEPTED)
        heard = observe.sort(poll, live)
        _note_submit(world, fence, live, heard)
        _note_waiting(world, fence, live, heard, report)
        _settle(world, fence, live, heard, report)
    failpoint.hit("reconciler.decided")
    direct.ended(world)
    if look or plan:
        _cancel(world, report)
    if plan:
        _plan(world, fence, report, limits)
        failpoint.hit("reconciler.planned")
    report.sent = send.send(world, fence, _arrays(world, Intent.INTENDED))
    fold.fold(world, _arrays(world, Intent.ENDED), report.odd)


def _arrays(world: World, *intents: Intent) -> list[Array]:
    with world.store.read() as view:
        return attempts.arrays(view, user=world.user, cluster=world.cluster, intents=intents)


def _cancel(world: World, report: Report) -> None:
    try:
        direct.cancel(world)
    except SchedulerError as error:
        report.odd.append(str(error))


def _observe(world: World, report: Report) -> Poll | None:
    try:
        poll = world.scheduler.observe()
    except SchedulerError as error:
        report.odd.append(str(error))
        return None
    report.polled = True
    report.odd.extend(poll.odd)
    return poll


def _note_submit(world: World, fence: int, arrays: list[Array], heard: Heard) -> None:
    """Record when the scheduler took an array: part of the identity of its job."""
    new = [(array.id, heard.submit_at(array)) for array in arrays if array.submit_at is None]
    told = [(array, at) for array, at in new if at is not None]
    if not told:
        return
    with world.store.write() as tx:
        for array, at in told:
            attempts.update_array(tx, array, fence=fence, submit_at=at)


def _note_waiting(
    world: World, fence: int, arrays: list[Array], heard: Heard, report: Report
) -> None:
    """Record why tasks wait, of all that wait alike at once."""
    rests = [(array.id, rest) for array in arrays for rest in waiting.few(heard.rests(array))]
    with world.store.read() as view:
        new = [(array, rest) for array, rest in rests if waiting.differs(view, array, rest)]
    if not new:
        return
    with world.store.write() as tx:
        lease.check_fence(tx, user=world.user, cluster=world.cluster, fence=fence)
        now = world.clock.now()
        report.changed += sum(waiting.write(tx, array, rest, now) for array, rest in new)
        failpoint.hit("reconciler.waiting")


def _settle(
    world: World,
    fence: int,
    arrays: list[Array],
    queue: Heard,
    report: Report,
    *,
    only: Mapping[int, set[int]] | None = None,
) -> None:
    """Decide on the attempts of arrays, ask the accounting once for those that need it, write.

    Attempts that wait as it is recorded, and were never heard of, are left out: of those nothing
    would be decided (``planning.reconcile.waiting``), whatever the time.
    """
    now, policy, at = world.clock.now(), world.policy, report.collected_at
    asking: list[tuple[Array, int, Known, Sighting | None]] = []
    told: list[Told] = []
    for array in arrays:
        indices = None if only is None else only.get(array.id, set())
        if indices is not None and not indices:
            continue
        with world.store.read() as view:
            known = attempts.known(view, array.id, indices, but=queue.rests(array))
            sightings = attempts.sightings(view, array.id, known.keys())
        for index, state in known.items():
            sighting = sightings.get(index)
            seen = observe.evidence(array, index, queue, observe.NOTHING, sighting, at)
            answer = decide(state, seen, policy, now)
            if isinstance(answer, Ask):
                asking.append((array, index, state, sighting))
            elif answer is not None:
                told.append(Told(array, index, seen, answer))
        if len(told) >= MANY:
            _apply(world, fence, told, now, report)
            told = []
    _apply(world, fence, told, now, report)
    if asking:
        _settle_by_history(world, fence, asking, queue, report)


def _settle_by_history(
    world: World,
    fence: int,
    asking: list[tuple[Array, int, Known, Sighting | None]],
    queue: Heard,
    report: Report,
) -> None:
    arrays = {array.id: array for array, *_ in asking}
    since = min((array.sent_at for array in arrays.values() if array.sent_at), default=None)
    jobs = sorted({array.job for array in arrays.values() if array.job is not None})
    if since is None or not jobs:
        return
    try:
        poll = world.scheduler.history(jobs, since=since - timedelta(hours=1))
    except SchedulerError as error:
        report.odd.append(str(error))
        return
    history = observe.sort(poll, arrays.values())
    queue = observe.sort(queue.poll, arrays.values(), history.submits())  # renamed, and requeued
    now = world.clock.now()
    told: list[Told] = []
    for array, index, state, sighting in asking:
        seen = observe.evidence(array, index, queue, history, sighting, report.collected_at)
        answer = decide(state, seen, world.policy, now)
        if isinstance(answer, Transition):
            told.append(Told(array, index, seen, answer))
    _apply(world, fence, told, now, report)


def _apply(world: World, fence: int, told: list[Told], now: datetime, report: Report) -> None:
    if not told:
        return
    with world.store.write() as tx:
        lease.check_fence(tx, user=world.user, cluster=world.cluster, fence=fence)
        attempts.apply(tx, [one.answer for one in told], now)
        failpoint.hit("reconciler.apply")
    report.changed += len(told)
    ended = [one for one in told if one.answer.state in FINAL]
    report.ended += len(ended)
    _close(world, ended, report)


def _close(world: World, ended: list[Told], report: Report) -> None:
    """Tell runners what is over without a sealed record: a requeue runs nothing of it again.

    Of an array that is over as a whole its manifest is taken away, soon.
    """
    arrays = {one.array.id: one.array for one in ended if not _is_sealed(one.seen)}
    for array in arrays.values():
        with world.store.read() as view:
            indices = attempts.over(view, array.id)
        if len(indices) == array.size:
            continue
        try:
            path = world.folder(array.token) / place.OVER
            world.transport.put(str(path), over.encode(indices))
        except TransportError as error:
            report.odd.append(str(error))


def _is_sealed(seen: Evidence) -> bool:
    last = seen.sighting.exit if seen.sighting else None
    return last is not None and last.is_sealed


def _plan(world: World, fence: int, report: Report, limits: Limits | None) -> None:
    """Plan arrays for what is READY, as far as the cluster has room."""
    who = {"user": world.user, "cluster": world.cluster}
    live = _arrays(world, Intent.INTENDED, Intent.SENDING, Intent.ACCEPTED)
    refused = [array for array in live if array.not_before and array.intent is Intent.INTENDED]
    with world.store.read() as view:
        if not refused and not attempts.has_ready(view, **who):
            return
    try:
        limits = limits or world.scheduler.limits()
    except SchedulerError as error:
        report.odd.append(str(error))
        return
    now = world.clock.now()
    with world.store.write() as tx:
        lease.check_fence(tx, **who, fence=fence)
        for array in refused:
            if limits.room is not None and array.size > limits.room:
                attempts.dissolve(tx, array.id, now)  # it will never fit: plan its runs anew
                live.remove(array)
        stages = attempts.stages(tx, attempts.ready_stages(tx, **who))
        full = {send.lane(one.request) for one in live if one.not_before and one.not_before > now}
        open_ = {key for key, row in stages.items() if send.lane(row.stage.request) not in full}
        ready = (run for run in attempts.ready(tx, **who) if run.stage in open_)
        room = _room(limits, live)
        for planned in list(arrays_of.plan(ready, stages, limits, room, _busy(live))):
            attempts.insert_array(tx, planned, token=send.new_token(), now=now, **who)
        failpoint.hit("reconciler.plan")


def _room(limits: Limits, live: list[Array]) -> int | None:
    """Return for how many more runs there is room, beside those that are about to be sent."""
    unsent = sum(array.size for array in live if array.intent is Intent.INTENDED)
    return None if limits.room is None else max(0, limits.room - unsent)


def _busy(live: list[Array]) -> dict[int, int]:
    """Return how many runs of each stage the live arrays may run at once."""
    busy: Counter[int] = Counter()
    for array in live:
        busy[array.stage] += array.throttle or array.size
    return dict(busy)
