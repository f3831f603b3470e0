"""The cycle: collect, observe, decide, direct, plan, send, fold.

The only thing that changes arrays, jobs, attempts and states. It looks at what is, not at what
happened; killed anywhere it can be run again from anywhere.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from penstock import failpoint
from penstock.errors import SchedulerError
from penstock.model.evidence import Evidence, Known, Poll, Sighting, Transition
from penstock.model.run import Array, Intent, Limits
from penstock.model.state import FINAL
from penstock.planning import arrays as arrays_of
from penstock.planning.reconcile import Ask, decide
from penstock.reconciler import direct, fold, mark, observe, over, resolve, send
from penstock.reconciler.collect import collect
from penstock.reconciler.observe import Heard
from penstock.reconciler.world import World, is_gone
from penstock.store import attempts, directives, lease, resolutions, waiting

LEASE = timedelta(seconds=120)
MANY = 5000  # moves in one transaction, about
AT_ONCE = 1000  # attempts that are read in one, about
SENT = (Intent.SENDING, Intent.ACCEPTED, Intent.ENDED)  # perhaps, and not folded yet


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
    too_soon: list[str] = field(default_factory=list)  # to look, by the rule of a site
    polled: bool = False
    has_history: bool | None = None  # whether the accounting answered; None: it was not asked
    look_s: float = 0  # that the scheduler took to answer
    is_told: bool = True  # to runners: what is over
    collected_at: datetime | None = None  # before this all that was written was read
    collected_s: float = 0  # the same, by a clock that nobody sets


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
    who = {"user": world.user, "cluster": world.cluster}
    sent = mark.known(world)
    fence = lease.take(
        world.store,
        **who,
        holder=world.holder,
        ttl_s=LEASE.total_seconds(),
        is_gone=is_gone,
        sent=sent,
    )
    if fence is None:
        report.is_other = lease.holder(world.store, **who)
        return report
    try:
        if not sent and fence > 1:  # it was sent by a Penstock that left no mark
            mark.write(world.transport, world.settings.home, **who, fence=fence)
        will_plan = look if plan is None else plan
        _steps(world, fence, report, look=look, plan=will_plan, limits=limits)
    finally:
        lease.release(world.store, **who, holder=world.holder, fence=fence)
    mark.leave(world, report.sent[-1].fence if report.sent else fence)
    return report


def _steps(
    world: World, fence: int, report: Report, *, look: bool, plan: bool, limits: Limits | None
) -> None:
    is_told = over.catch_up(world, fence, report.odd)
    world.memory.told_under = None
    live, ended = _live(world, fence)
    report.collected_at, report.collected_s = world.clock.now(), world.clock.monotonic()
    news = collect(world, [*live, *fold.with_look(world, ended)], report.odd)
    failpoint.hit("reconciler.collected")
    _settle(world, fence, live, observe.NOTHING, report, only=news)  # by records alone
    poll = _observe(world, report) if look else None
    if poll is not None:
        live = _find_out(world, fence, live, poll)
        heard = observe.sort(poll, live)
        _note_submit(world, fence, live, heard)
        _note_waiting(world, fence, live, heard, report)
        _settle(world, fence, live, heard, report)
        over.clear(world, poll, live, report.odd)
    failpoint.hit("reconciler.decided")
    todo = _direct(world, report, is_asking=look or plan)
    is_planned = plan and _plan(world, fence, todo, report, limits)
    if plan:
        failpoint.hit("reconciler.planned")
    intended = _arrays(world, Intent.INTENDED) if is_planned else _of(todo.arrays, Intent.INTENDED)
    report.sent = send.send(world, fence, intended)
    ended = _arrays(world, Intent.ENDED) if report.sent else _of(todo.arrays, Intent.ENDED)
    fold.fold(world, ended, report.odd)
    if is_told and report.is_told:
        world.memory.told_under = report.sent[-1].fence if report.sent else fence


def _live(world: World, fence: int) -> tuple[list[Array], list[Array]]:
    """Return what is with the scheduler, or may be, once it was done as users said; and ended."""
    who = {"user": world.user, "cluster": world.cluster}
    with world.store.read() as view:
        answers = resolutions.answers(view, **who)
        sent = attempts.arrays(view, **who, intents=SENT)
    if answers:
        resolve.by_users(world, fence, answers)
        sent = _arrays(world, *SENT)
    live = [array for array in sent if array.intent is not Intent.ENDED]
    return live, _of(sent, Intent.ENDED)


def _find_out(world: World, fence: int, live: list[Array], poll: Poll) -> list[Array]:
    """Find out what became of what is SENDING; return what is with the scheduler."""
    sending = _of(live, Intent.SENDING)
    if not sending:
        return live
    resolve.by_runners(world, fence, sending)
    send.look_up(world, fence, _arrays(world, Intent.SENDING), poll)
    resolve.ask(world, fence, _arrays(world, Intent.SENDING), poll)
    return _arrays(world, Intent.ACCEPTED)


def _of(arrays: list[Array], intent: Intent) -> list[Array]:
    return [array for array in arrays if array.intent is intent]


@dataclass(frozen=True)
class Todo:
    """What there is to do beside looking: read at once, for each lock costs on a shared disk."""

    arrays: list[Array]
    is_asked: bool  # users want something of runs
    has_finished: bool
    has_ready: bool


def _todo(world: World) -> Todo:
    who = {"user": world.user, "cluster": world.cluster}
    unfolded = [intent for intent in Intent if intent is not Intent.FOLDED]
    with world.store.read() as view:
        return Todo(
            attempts.arrays(view, **who, intents=unfolded),
            directives.are_open(view, **who),
            bool(attempts.finished_arrays(view, **who)),
            attempts.has_ready(view, **who),
        )


def _direct(world: World, report: Report, *, is_asking: bool) -> Todo:
    """Do what users asked, note what has ended; return what there is to do then."""
    todo = _todo(world)
    if not todo.has_finished and not todo.is_asked:
        return todo
    if todo.has_finished:
        direct.ended(world)
    if todo.is_asked and is_asking:
        _cancel(world, report)
    return _todo(world)


def _arrays(world: World, *intents: Intent) -> list[Array]:
    with world.store.read() as view:
        return attempts.arrays(view, user=world.user, cluster=world.cluster, intents=intents)


def _cancel(world: World, report: Report) -> None:
    try:
        direct.cancel(world)
    except SchedulerError as error:
        report.odd.append(str(error))


def _observe(world: World, report: Report) -> Poll | None:
    began = world.clock.monotonic()
    try:
        poll = world.scheduler.observe()
    except SchedulerError as error:
        report.odd.append(str(error))
        return None
    finally:
        report.look_s = world.clock.monotonic() - began
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
    if not rests:
        return
    with world.store.read() as view:
        new = [(array, rest) for array, rest in rests if waiting.differs(view, array, rest)]
    if not new:
        return
    with world.store.write() as tx:
        lease.check_fence(tx, user=world.user, cluster=world.cluster, fence=fence)
        at = heard.poll.at if heard.poll else world.clock.now()
        report.changed += sum(waiting.write(tx, array, rest, at) for array, rest in new)
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
    for array, known, sightings in _recorded(world, arrays, queue, only):
        for index, recorded in known.items():
            state, sighting = _with_missed(world, recorded, report), sightings.get(index)
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


def _with_missed(world: World, known: Known, report: Report) -> Known:
    """Add for how long this process has seen that nobody knows how an attempt stands."""
    if known.unknown_since is None:
        return known
    world.memory.note(known.attempt, known.unknown_since, world.clock.monotonic())
    return replace(known, missed=world.memory.missed_for(known, report.collected_s))


Recorded = tuple[Array, dict[int, Known], dict[int, Sighting]]


def _recorded(
    world: World, arrays: list[Array], queue: Heard, only: Mapping[int, set[int]] | None
) -> Iterator[Recorded]:
    """Yield what the store has of attempts: small arrays many at a time."""
    wanted = [array for array in arrays if only is None or only.get(array.id)]
    while wanted:
        found: list[Recorded] = []
        size = 0
        with world.store.read() as view:
            while wanted and size < AT_ONCE:
                array = wanted.pop(0)
                indices = None if only is None else only[array.id]
                known = attempts.known(view, array.id, indices, but=queue.rests(array))
                found.append((array, known, attempts.sightings(view, array.id, known.keys())))
                size += len(known)
        yield from found


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
        report.has_history = False
        return
    report.has_history = True
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
    for one in told:
        world.memory.note(one.answer.attempt, one.answer.unknown_since, world.clock.monotonic())
    ended = [one for one in told if one.answer.state in FINAL]
    report.ended += len(ended)
    arrays = {one.array.id: one.array for one in ended if not _is_sealed(one.seen)}
    report.is_told &= over.tell(world, arrays.values(), report.odd)


def _is_sealed(seen: Evidence) -> bool:
    last = seen.sighting.exit if seen.sighting else None
    return last is not None and last.is_sealed


def _plan(world: World, fence: int, todo: Todo, report: Report, limits: Limits | None) -> bool:
    """Plan arrays for what is READY, as far as the cluster has room; return whether it was done."""
    who = {"user": world.user, "cluster": world.cluster}
    live = [array for array in todo.arrays if array.intent is not Intent.ENDED]
    refused = [array for array in live if array.not_before and array.intent is Intent.INTENDED]
    if not refused and not todo.has_ready:
        return False
    try:
        limits = limits or world.scheduler.limits()
    except SchedulerError as error:
        report.odd.append(str(error))
        return False
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
    return True


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
