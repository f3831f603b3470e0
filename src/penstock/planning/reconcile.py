"""Decide what is true of an attempt from what was said of it: pure, with the time passed in.

Whom to believe, in this order:

1. a sealed exit record in a closed spool: the command ended by itself, and no restart will run
   it again;
2. the queue's word, unless the runner was heard of after the queue was asked;
3. the accounting's word, for what left the queue's memory or ended without an explanation;
4. silence: nothing at first, ``unknown_since`` then, lost in the end.

No answer changes nothing.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from penstock.model.evidence import Evidence, Exit, Known, Task, Transition
from penstock.model.state import Cause, Kind, State, Word, cancelled_by, is_held, word
from penstock.planning.ending import CLOCKS_DIFFER, final, from_exit, is_launch_failure, move, plain
from penstock.planning.patience import WAITING_FOR_RECORD, Policy, lost_at, waited

LONG_AGO: Final = timedelta(hours=1)  # by no clock of ours less: it may be wrong by minutes
SIGTERM: Final = 15
TERMED: Final = "SIGTERM came; this cluster has no accounting that tells why"


class Ask:
    """The accounting has to be asked before anything can be said."""


ASK: Final = Ask()


def decide(known: Known, seen: Evidence, policy: Policy, now: datetime) -> Transition | Ask | None:
    """Return what to write, ASK, or None where nothing changed."""
    if seen.files_at is not None:
        now = min(now, seen.files_at)  # what came since, and why, was not looked for
    seen = _of_claimant(seen)
    decision = _by_record(known, seen) or _by_scheduler(known, seen, policy, now)
    if not isinstance(decision, Transition):
        return decision
    told = replace(_with_sighting(decision, seen), why_at=_said_at(decision, seen))
    return told if _differs(known, told) else None


def _said_at(told: Transition, seen: Evidence) -> datetime | None:
    """Return when the source said what is believed: its own time, not that of the decision."""
    ((source, said),) = told.why
    if source == "runner" and seen.sighting is not None:
        last = seen.sighting.exit if said.startswith("exit") else None
        return last.at if last else seen.sighting.opened_at
    return {"queue": seen.queue_at, "accounting": seen.history_at}.get(source)


def _of_claimant(seen: Evidence) -> Evidence:
    """Leave out what was said of a job that has not the claim: a duplicate, which runs nothing."""
    if seen.sighting is None:
        return seen
    job = seen.sighting.job.partition("_")[0]
    queue = seen.queue if seen.queue and str(seen.queue.job) == job else None
    history = seen.history if seen.history and str(seen.history.job) == job else None
    if queue is seen.queue and history is seen.history:
        return seen
    return replace(seen, queue=queue, history=history)


def _by_record(known: Known, seen: Evidence) -> Transition | None:
    sighting = seen.sighting
    if sighting is None or sighting.exit is None:
        return None
    last = sighting.exit
    if not (last.is_sealed and sighting.is_closed):
        return None  # not closed: a later restart may yet take over
    return from_exit(known, last, why=("runner", f"exit {last.code}"))


def _by_scheduler(
    known: Known, seen: Evidence, policy: Policy, now: datetime
) -> Transition | Ask | None:
    if seen.queue is not None:
        return _by_queue(known, seen, policy, now)
    if _was_heard(seen, known.sent_at):
        return _by_absence(known, seen, policy, now)
    return _by_runner(known, seen)


def _was_heard(seen: Evidence, sent_at: datetime | None) -> bool:
    """Return whether the queue answered without the attempt, and late enough to mean something."""
    return seen.queue_at is not None and sent_at is not None and seen.queue_at > sent_at


def _by_runner(known: Known, seen: Evidence) -> Transition | None:
    """Believe the runner alone: the queue was not asked."""
    if seen.sighting is None or known.state is State.ENDING:
        return None
    if seen.sighting.exit is not None:
        return move(known, State.ENDING, why=("runner", "exit, not sealed"))
    return move(known, State.RUNNING, why=("runner", f"open {seen.sighting.restart}"))


def _by_queue(
    known: Known, seen: Evidence, policy: Policy, now: datetime
) -> Transition | Ask | None:
    task = seen.queue
    assert task is not None
    meaning = word(task.word)
    why = ("queue", task.word)
    if meaning.kind is Kind.UNKNOWN:
        return _unknown(known, now, why)
    if meaning.kind is Kind.END:
        return _ended(known, seen, task, policy, now)
    if meaning.kind is Kind.SIBLING:
        return None
    waits = waiting(task)
    if waits is not None:
        if _runs_since(known, seen):
            return move(known, State.RUNNING, why=("runner", "open, after the queue's word"))
        return move(known, *waits, why)
    return replace(move(known, meaning.state, "", why), started_at=task.start_at)


def waiting(task: Task) -> tuple[State, str] | None:
    """Return as what and why a task waits in the queue; None where it does not.

    This is all that is said of an attempt whose runner was never heard of: no time has a part.
    """
    meaning = word(task.word)
    if meaning.kind not in (Kind.WAITING, Kind.HELD):
        return None
    held = meaning.kind is Kind.HELD or is_held(task.reason)
    return State.HELD if held else State.QUEUED, plain(task.reason)


def _runs_since(known: Known, seen: Evidence) -> bool:
    """Return whether a runner opened after the queue was asked, by a restart not known before."""
    sighting = seen.sighting
    if sighting is None or seen.queue_at is None or sighting.exit is not None:
        return False
    is_new = known.state is State.QUEUED and known.restart == 0 and sighting.restart == 0
    return sighting.opened_at > seen.queue_at and (is_new or sighting.restart > known.restart)


def _by_absence(
    known: Known, seen: Evidence, policy: Policy, now: datetime
) -> Transition | Ask | None:
    if seen.history is not None and _is_over(known, seen, seen.history, policy, now):
        return _ended(known, seen, seen.history, policy, now)
    if seen.history_at is None and policy.has_accounting:
        return ASK
    last = seen.sighting.exit if seen.sighting and not _waits_again(known) else None
    since = known.unknown_since or now
    if last is not None and not policy.has_accounting and waited(known, now, policy.record_grace):
        return _by_last_word(known, last)
    if _was_withdrawn(known, seen):
        return _withdrawn(known, policy, now)
    heard_at = seen.sighting.heard_at if seen.sighting else None
    is_long = now >= lost_at(since, heard_at, policy.lost_after, policy.absent_after)
    if is_long and not _waits_elsewhere(seen):
        why = ("silence", f"since {since:%Y-%m-%d %H:%M:%S}Z")
        return replace(move(known, State.FAILED, "", why), cause=Cause.LOST, ended_at=now)
    return _unknown(known, now, ("silence", "not in the queue, no end in the accounting"))


def _withdrawn(known: Known, policy: Policy, now: datetime) -> Transition:
    """Return that it was cancelled while it waited, once the silence is long enough."""
    why = ("silence", "its array is known, and it is not in it")
    if not waited(known, now, policy.record_grace if known.cancel_asked else policy.absent_after):
        return _unknown(known, now, why)
    cause = Cause.USER if known.cancel_asked else Cause.WITHDRAWN
    since = known.unknown_since or now
    return replace(move(known, State.CANCELLED, "", why), cause=cause, ended_at=since)


def _waits_again(known: Known) -> bool:
    """Return whether it was requeued: then what a runner said last is of a segment before."""
    return known.state in (State.QUEUED, State.HELD)


def _is_over(known: Known, seen: Evidence, task: Task, policy: Policy, now: datetime) -> bool:
    """Return whether the accounting's segment is the last; where a requeue may follow, wait.

    Its next segment may be late, or long over: then a later restart of the runner was heard of.
    """
    meaning = word(task.word)
    if meaning.kind is not Kind.END or meaning.cause not in (Cause.NODE, Cause.PREEMPTED):
        return meaning.kind is Kind.END
    last = seen.sighting
    if last is not None and task.end_at is not None and last.opened_at > task.end_at:
        return False
    return waited(known, now, policy.absent_after)


def _by_last_word(known: Known, last: Exit) -> Transition:
    """Return the end that a runner told, where nobody else will: without accounting.

    A code after SIGTERM is no success: what the command did not do is not known.
    """
    told = from_exit(known, last, why=("runner", "exit; nobody else knows"))
    is_termed = not last.is_sealed and not last.cause and last.signal in (None, SIGTERM)
    if is_termed and known.cancel_asked:
        return replace(told, state=State.CANCELLED, cause=Cause.USER)
    if is_termed:
        return replace(told, state=State.FAILED, cause=Cause.SIGNAL, detail=TERMED)
    return told


def _was_withdrawn(known: Known, seen: Evidence) -> bool:
    """Return whether a task was cancelled while it waited: it then leaves no row anywhere.

    (Slurm 22.05: ``scancel 12_8`` takes index 8 from the pending rest, and neither squeue nor
    sacct names it again, but for a segment before a requeue.) Another task of its array is known,
    so it is not the whole that is missing.
    """
    is_silent = seen.sighting is None and (seen.history is None or _is_closed(seen.history))
    return is_silent and (seen.knows_array or known.cancel_asked)


def _waits_elsewhere(seen: Evidence) -> bool:
    """Return whether a sibling in a federation has it, where it may wait for long."""
    is_revoked = seen.history is not None and word(seen.history.word).kind is Kind.SIBLING
    return is_revoked and seen.sighting is None


def _is_closed(task: Task) -> bool:
    return word(task.word).kind is Kind.WAITING and task.end_at is not None  # it was requeued


def _ended(
    known: Known, seen: Evidence, task: Task, policy: Policy, now: datetime
) -> Transition | Ask | None:
    """Find out how a task ended that the scheduler says has ended, and by whom."""
    meaning = word(task.word)
    is_queue = task is seen.queue
    seen = _without_stale_exit(seen, task)
    last = seen.sighting.exit if seen.sighting else None
    why = ("queue" if is_queue else "accounting", task.word)
    if task.word.startswith("PREEMPTED") and is_queue:
        return move(known, State.ENDING, task.reason, why)  # a requeue may follow
    best = seen.history if is_queue and _is_same_end(seen.history, meaning) else task
    assert best is not None
    is_plain = meaning.state is State.COMPLETED or meaning.cause is Cause.EXIT
    if is_plain and last is None:
        since = known.unknown_since or now  # when it was first missed, by the clock that asks now
        is_late = waited(known, now, policy.record_grace)
        is_old = task.end_at is not None and now - task.end_at >= LONG_AGO
        if not (is_late or is_old or is_launch_failure(best)):
            waiting = move(known, State.ENDING, WAITING_FOR_RECORD, why)
            return replace(waiting, unknown_since=since)
    if is_queue and policy.has_accounting and _tells_too_little(known, best, last):
        return ASK if seen.history_at is None else move(known, State.ENDING, task.reason, why)
    return final(known, replace(seen, history=best), meaning, policy, why)


def _without_stale_exit(seen: Evidence, task: Task) -> Evidence:
    """Leave out the exit record of an earlier segment: this one did not reach the runner."""
    last = seen.sighting.exit if seen.sighting else None
    if last is None or last.is_sealed or task.start_at is None:
        return seen
    if last.at + CLOCKS_DIFFER >= task.start_at:
        return seen
    assert seen.sighting is not None
    return replace(seen, sighting=replace(seen.sighting, exit=None))


def _tells_too_little(known: Known, task: Task, last: Exit | None) -> bool:
    """Return whether only the accounting knows who cancelled it, or how it ended.

    A record from just before the segment began may be of the one before: clocks differ.
    """
    meaning = word(task.word)
    if meaning.state is State.CANCELLED:
        return cancelled_by(task.word) is None and not known.cancel_asked
    is_vague = last is None or (task.start_at is not None and last.at < task.start_at)
    return meaning.cause is Cause.EXIT and task.exit_code is None and is_vague


def _is_same_end(task: Task | None, meaning: Word) -> bool:
    return task is not None and word(task.word).state is meaning.state


def _unknown(known: Known, now: datetime, why: tuple[str, str]) -> Transition:
    since = known.unknown_since or now
    return replace(move(known, known.state, known.reason, why), unknown_since=since)


def _with_sighting(told: Transition, seen: Evidence) -> Transition:
    """Add what only the runner knows: where and since when."""
    sighting = seen.sighting
    task = seen.queue or seen.history
    node = sighting.node if sighting else (task.node if task else "")
    if sighting is None or told.state in (State.QUEUED, State.HELD):
        return replace(told, node=node if told.state is not State.QUEUED else "")
    return replace(
        told,
        restart=max(told.restart, sighting.restart),
        node=node,
        job=sighting.job,
        started_at=sighting.opened_at,
    )


def _differs(known: Known, told: Transition) -> bool:
    return (
        known.state is not told.state
        or known.restart != told.restart
        or known.reason != told.reason
        or known.unknown_since != told.unknown_since
    )
