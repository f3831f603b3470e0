"""Tell how an attempt ended, by the scheduler's word and its runner's record. Pure."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from penstock.model.evidence import Evidence, Exit, Known, Task, Transition
from penstock.model.state import Cause, State, Word, cancelled_by, word
from penstock.planning.patience import Policy
from penstock.wire.claim import UNRECORDED

CLOCKS_DIFFER: Final = timedelta(seconds=5)  # at most, between the nodes of a cluster
SIGKILL: Final = 9


def final(
    known: Known, seen: Evidence, meaning: Word, policy: Policy, why: tuple[str, str]
) -> Transition:
    """Return the end. ``seen.history`` is the word that tells most of it."""
    task = seen.history
    assert task is not None
    last = seen.sighting.exit if seen.sighting else None
    if last is not None and (meaning.state is State.COMPLETED or last.is_sealed):
        return from_exit(known, last, why)  # the runner was killed after its last word
    cause = _cause(known, task, seen, policy.uid)
    said = (last.detail if last else "") or (task.reason if task.reason != "None" else "")
    who = _canceller_named(task, policy) if cause is Cause.OTHER_USER else ""
    base = from_exit(known, last, why) if last else move(known, meaning.state, why=why)
    return replace(
        base,
        state=meaning.state,
        cause=cause,
        detail="; ".join(filter(None, (who, said))),
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


def _canceller_named(task: Task, policy: Policy) -> str:
    """Return who cancelled it, as ``uid 1002 (bob)``."""
    by = cancelled_by(task.word)
    name = "" if by is None else policy.name(by)
    return f"uid {by} ({name})" if name else f"uid {by}"


def _failure(task: Task, seen: Evidence) -> Cause:
    """Return what FAILED stands for."""
    last = seen.sighting.exit if seen.sighting else None
    if last is not None and last.cause:
        return Cause(last.cause)
    if is_launch_failure(task):
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


def is_launch_failure(task: Task) -> bool:
    """Return whether Slurm never ran the script: 0:53 (no folder for its output, and the like)."""
    return task.exit_signal == 53 or word(task.word).cause is Cause.LAUNCH


def _began(seen: Evidence, task: Task) -> bool:
    """Return whether a runner was heard of in a segment, and not only in one before it."""
    opened = seen.sighting.opened_at if seen.sighting else None
    return opened is not None and opened + CLOCKS_DIFFER >= (task.start_at or opened)


def _is_over_memory(task: Task, last: Exit | None, limit_bytes: int | None) -> bool:
    """Return whether it used all that it asked for: without cgroups Slurm only says FAILED 0:9."""
    peak = max(task.max_rss_bytes or 0, (last.peak_bytes or 0) if last else 0)
    return limit_bytes is not None and peak >= limit_bytes


def from_exit(known: Known, last: Exit, why: tuple[str, str]) -> Transition:
    """Return the end that a runner's record tells."""
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


def move(
    known: Known, state: State, reason: str = "", why: tuple[str, str] = ("", "")
) -> Transition:
    """Return a move to a state, of the same restart."""
    return Transition(known.attempt, state, restart=known.restart, reason=plain(reason), why=(why,))


def plain(reason: str) -> str:
    """Return why a task waits; squeue's None is no reason."""
    return "" if reason == "None" else reason
