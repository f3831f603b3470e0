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
from penstock.planning.patience import Policy, waited
from penstock.wire.claim import UNRECORDED

CLOCKS_DIFFER: Final = timedelta(seconds=5)  # at most, between the nodes of a cluster
LONG_AGO: Final = timedelta(hours=1)  # by no clock of ours less: it may be wrong by minutes
SIGKILL: Final = 9
SIGTERM: Final = 15
TERMED: Final = "SIGTERM came; this cluster has no accounting that tells why"
WAITING_FOR_RECORD: Final = "waiting for the record"


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
    told = _with_sighting(decision, seen)
    return told if _differs(known, told) else None


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
    return _from_exit(known, last, why=("runner", f"exit {last.code}"))


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
        return _move(known, State.ENDING, why=("runner", "exit, not sealed"))
    return _move(known, State.RUNNING, why=("runner", f"open {seen.sighting.restart}"))


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
            return _move(known, State.RUNNING, why=("runner", "open, after the queue's word"))
        return _move(known, *waits, why)
    return replace(_move(known, meaning.state, "", why), started_at=task.start_at)


def waiting(task: Task) -> tuple[State, str] | None:
    """Return as what and why a task waits in the queue; None where it does not.

    This is all that is said of an attempt whose runner was never heard of: no time has a part.
    """
    meaning = word(task.word)
    if meaning.kind not in (Kind.WAITING, Kind.HELD):
        return None
    held = meaning.kind is Kind.HELD or is_held(task.reason)
    return State.HELD if held else State.QUEUED, _plain(task.reason)


def _plain(reason: str) -> str:
    return "" if reason == "None" else reason


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
    heard_at = max(since, seen.sighting.heard_at) if seen.sighting else since
    if now - heard_at >= max(policy.lost_after, policy.absent_after):
        why = ("silence", f"since {since:%Y-%m-%d %H:%M:%S}Z")
        return replace(_move(known, State.FAILED, "", why), cause=Cause.LOST, ended_at=now)
    return _unknown(known, now, ("silence", "not in the queue, no end in the accounting"))


def _withdrawn(known: Known, policy: Policy, now: datetime) -> Transition:
    """Return that it was cancelled while it waited, once the silence is long enough."""
    why = ("silence", "its array is known, and it is not in it")
    if not waited(known, now, policy.record_grace if known.cancel_asked else policy.absent_after):
        return _unknown(known, now, why)
    cause = Cause.USER if known.cancel_asked else Cause.WITHDRAWN
    since = known.unknown_since or now
    return replace(_move(known, State.CANCELLED, "", why), cause=cause, ended_at=since)


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
    told = _from_exit(known, last, why=("runner", "exit; nobody else knows"))
    is_termed = not last.is_sealed and not last.cause and last.signal in (None, SIGTERM)
    if is_termed and known.cancel_asked:
        return replace(told, state=State.CANCELLED, cause=Cause.USER)
    if is_termed:
        return replace(told, state=State.FAILED, cause=Cause.SIGNAL, detail=TERMED)
    return told


def _was_withdrawn(known: Known, seen: Evidence) -> bool:
    """Return whether a task was cancelled while it waited: it then leaves no row anywhere.

    (Slurm 22.05: ``scancel 12_8`` takes index 8 from the pending rest, and neither squeue nor
    sacct names it again.) Another task of its array is known, so it is not the whole that is
    missing. What the accounting knows of a segment before a requeue says nothing of the last.
    """
    is_silent = seen.sighting is None and (seen.history is None or _is_closed(seen.history))
    return is_silent and (seen.knows_array or known.cancel_asked)


def _is_closed(task: Task) -> bool:
    """Return whether it is a record of a segment that was requeued, and no end."""
    return word(task.word).kind is Kind.WAITING and task.end_at is not None


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
        return _move(known, State.ENDING, task.reason, why)  # a requeue may follow
    best = seen.history if is_queue and _is_same_end(seen.history, meaning) else task
    assert best is not None
    is_plain = meaning.state is State.COMPLETED or meaning.cause is Cause.EXIT
    if is_plain and last is None:
        since = known.unknown_since or now  # when it was first missed, by the clock that asks now
        is_late = waited(known, now, policy.record_grace)
        is_old = task.end_at is not None and now - task.end_at >= LONG_AGO
        if not (is_late or is_old or _is_launch_failure(best)):
            waiting = _move(known, State.ENDING, WAITING_FOR_RECORD, why)
            return replace(waiting, unknown_since=since)
    if is_queue and policy.has_accounting and _tells_too_little(known, best, last):
        return ASK if seen.history_at is None else _move(known, State.ENDING, task.reason, why)
    return _final(known, replace(seen, history=best), meaning, policy.uid, why)


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
    """Return whether only the accounting knows who cancelled it, or how it ended."""
    meaning = word(task.word)
    if meaning.state is State.CANCELLED:
        return cancelled_by(task.word) is None and not known.cancel_asked
    return meaning.cause is Cause.EXIT and task.exit_code is None and last is None


def _is_same_end(task: Task | None, meaning: Word) -> bool:
    return task is not None and word(task.word).state is meaning.state


def _is_launch_failure(task: Task) -> bool:
    """Return whether Slurm never ran the script: 0:53 (no folder for its output, and the like)."""
    return task.exit_signal == 53 or word(task.word).cause is Cause.LAUNCH


def _final(
    known: Known, seen: Evidence, meaning: Word, uid: int, why: tuple[str, str]
) -> Transition:
    """Return the end. ``seen.history`` is the word that tells most of it."""
    task = seen.history
    assert task is not None
    last = seen.sighting.exit if seen.sighting else None
    if last is not None and (meaning.state is State.COMPLETED or last.is_sealed):
        return _from_exit(known, last, why)  # the runner was killed after its last word
    base = _from_exit(known, last, why) if last else _move(known, meaning.state, why=why)
    return replace(
        base,
        state=meaning.state,
        cause=_cause(known, task, seen, uid),
        detail=(last.detail if last else "") or (task.reason if task.reason != "None" else ""),
        ended_at=task.end_at or base.ended_at,
        exit_code=base.exit_code if last else task.exit_code,
        signal=base.signal if last else (task.exit_signal or None),
        peak_bytes=max(base.peak_bytes or 0, task.max_rss_bytes or 0) or None,
    )


def _cause(known: Known, task: Task, seen: Evidence, uid: int) -> Cause | None:
    meaning = word(task.word)
    if meaning.state is State.COMPLETED:
        return Cause.NO_RECORD
    if meaning.state is State.CANCELLED:
        return _canceller(known, task, uid)
    if meaning.cause is not Cause.EXIT:
        return meaning.cause
    return _failure(task, seen)


def _canceller(known: Known, task: Task, uid: int) -> Cause:
    by = cancelled_by(task.word)
    if by is None:  # the queue says only that it was
        return Cause.USER if known.cancel_asked else Cause.WITHDRAWN
    if by == uid:
        return Cause.USER
    return Cause.ADMIN if by == 0 else Cause.OTHER_USER


def _failure(task: Task, seen: Evidence) -> Cause:
    """Return what FAILED stands for."""
    last = seen.sighting.exit if seen.sighting else None
    if last is not None and last.cause:
        return Cause(last.cause)
    if _is_launch_failure(task):
        return Cause.LAUNCH
    if last is None and task.exit_code is None and task.reason == "JobLaunchFailure":
        return Cause.SIGNAL if _began(seen, task) else Cause.LAUNCH  # without accounting: no code
    signal = task.exit_signal if last is None else last.signal
    if signal == SIGKILL and _is_over_memory(task, last, seen.limit_bytes):
        return Cause.MEMORY
    if signal:
        return Cause.SIGNAL
    # The runner opens a spool before all else: without one the code is not the command's; nor is
    # its own word that it could not write the record (a full disk).
    is_runners = last is None and task.exit_code == UNRECORDED
    return Cause.NO_RECORD if seen.sighting is None or is_runners else Cause.EXIT


def _began(seen: Evidence, task: Task) -> bool:
    """Return whether a runner was heard of in a segment, and not only in one before it."""
    opened = seen.sighting.opened_at if seen.sighting else None
    return opened is not None and opened + CLOCKS_DIFFER >= (task.start_at or opened)


def _is_over_memory(task: Task, last: Exit | None, limit_bytes: int | None) -> bool:
    """Return whether it used all that it asked for: without cgroups Slurm only says FAILED 0:9."""
    peak = max(task.max_rss_bytes or 0, (last.peak_bytes or 0) if last else 0)
    return limit_bytes is not None and peak >= limit_bytes


def _from_exit(known: Known, last: Exit, why: tuple[str, str]) -> Transition:
    is_good = last.code == 0 and not last.cause
    cause = None if is_good else Cause(last.cause or ("exit" if last.signal is None else "signal"))
    return Transition(
        known.attempt,
        State.COMPLETED if is_good else State.FAILED,
        cause=cause,
        detail=last.detail,
        restart=last.restart,
        ended_at=last.at,
        exit_code=last.code,
        signal=last.signal,
        peak_bytes=last.peak_bytes,
        cpu_s=last.cpu_s,
        why=(why,),
    )


def _unknown(known: Known, now: datetime, why: tuple[str, str]) -> Transition:
    since = known.unknown_since or now
    return replace(_move(known, known.state, known.reason, why), unknown_since=since)


def _move(
    known: Known, state: State, reason: str = "", why: tuple[str, str] = ("", "")
) -> Transition:
    told = _plain(reason)
    return Transition(known.attempt, state, restart=known.restart, reason=told, why=(why,))


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
