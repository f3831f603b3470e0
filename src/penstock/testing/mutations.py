"""Deliberate faults, each of which the simulation must find: a check of the check.

with MUTATIONS["resend-without-look-up"]():
    history(seed, folder)
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

from penstock.errors import LimitReached, Refused, SchedulerError, Unsure
from penstock.model import state
from penstock.model.evidence import Evidence, Exit, Known, Poll, Task, Transition
from penstock.model.run import Array
from penstock.model.state import Cause, Kind, State
from penstock.planning import ending, reconcile
from penstock.reconciler import cycle, mark, observe, over, send
from penstock.reconciler.cycle import Report
from penstock.reconciler.world import World
from penstock.scheduler import parse, reply
from penstock.scheduler.slurm import SlurmScheduler
from penstock.store import lease, recovery
from penstock.testing import runners
from penstock.transport.protocol import Finished

Mutation = Callable[[], AbstractContextManager[object]]


def _put(place: Any, name: str, value: object) -> Mutation:
    return partial(patch.object, place, name, value)


def _all(*mutations: Mutation) -> Mutation:
    def enter() -> ExitStack:
        stack = ExitStack()
        for mutation in mutations:
            stack.enter_context(mutation())
        return stack

    return enter


def _resend(world: World, fence: int, arrays: Iterable[Array], _poll: Poll | None) -> None:
    for array in arrays:
        send._unsend(world, fence, array, "sent again")  # noqa: SLF001


def _believe_first(_world: World, _array: Array, poll: Poll | None) -> bool:
    return poll is not None


def _not_begun(_world: World, fence: int, _array: Array, _sent_at: datetime) -> int:
    return fence


def _empty_for_failed(name: str) -> Mutation:
    asked = getattr(SlurmScheduler, name)

    def ask(self: SlurmScheduler, *args: object, **more: object) -> Poll:
        try:
            found: Poll = asked(self, *args, **more)
        except SchedulerError:
            source = "squeue" if name == "observe" else "sacct"
            return Poll(self._clock.now(), (), source)
        return found

    return _put(SlurmScheduler, name, ask)


def _submit_with(wrong: type[SchedulerError], right: type[SchedulerError]) -> Mutation:
    asked = SlurmScheduler.submit

    def submit(self: SlurmScheduler, submission: Any) -> int:
        try:
            return asked(self, submission)
        except wrong as error:
            raise right(error.what) from error

    return _put(SlurmScheduler, "submit", submit)


def _no_fence(*_args: object, **_more: object) -> None:
    return None


def _by_any_record(known: Known, seen: Evidence) -> Transition | None:
    last = seen.sighting.exit if seen.sighting else None
    return ending.from_exit(known, last, ("runner", "exit")) if last else None


def _policy(**changed: object) -> Mutation:
    honest = World.__dict__["policy"].fget
    return _put(World, "policy", property(lambda self: replace(honest(self), **changed)))


def _no_mark(*_args: object, **_more: object) -> int:
    return 0


def _first_number(answer: Finished) -> int:
    found = re.search(r"\d+", answer.out)
    if found is None:
        raise reply.refusal(answer) if answer.code else reply.unsure("no id")
    return int(found[0])


def _same_id(task: Task, array: Array) -> bool:
    return task.job == array.job


def _any_word(self: observe.Heard, array: Array, _index: int) -> Task | None:
    words = [*self.single.get(array.id, {}).values(), *self.shared.get(array.id, ())]
    return words[0] if words else None


def _over(_known: Known, _seen: Evidence, task: Task, *_more: object) -> bool:
    return state.word(task.word).kind is Kind.END


def _ours_by_name(
    poll: Poll, by_job: Mapping[int, Array], _known: object
) -> Iterator[tuple[Task, Array]]:
    for task in poll.tasks:
        array = by_job.get(task.job)
        if array is not None and observe.has_token(task, array.token):
            yield task, array


_queue = parse.queue


def _queue_of_half(out: str, at: datetime) -> Poll:
    head, end, _ = out.rpartition(parse.QUEUE_END)
    return _queue(head + end, at) if end else Poll(at, (), "squeue")


def _first_shared(self: observe.Heard, array: Array, index: int) -> Task | None:
    words = [*self.single.get(array.id, {}).items()]
    words += [
        (index, task) for task in self.shared.get(array.id, ()) if index in (task.tasks or ())
    ]
    return next((task for at, task in words if at == index), None)


def _believe_code(known: Known, last: Exit) -> Transition:
    return ending.from_exit(known, last, ("runner", "exit"))


def _all_told(*_args: object) -> bool:
    return True


def _look_often(world: World, report: Report) -> Poll | None:
    """Look three times, as each part of a cycle by itself would."""
    for _ in range(2):
        _OBSERVE(world, report)
    return _OBSERVE(world, report)


_OBSERVE = cycle._observe  # noqa: SLF001  the right one, for the wrong one to call
_ENDING = {"COMPLETING": state.Word("CG", Kind.END, State.FAILED, Cause.EXIT)}
_RESEND = _put(send, "look_up", _resend)

MUTATIONS: dict[str, Mutation] = {
    "resend-without-look-up": _RESEND,
    "absent-when-not-in-one-answer": _put(send, "is_absent", _believe_first),
    "never-absent": _put(send, "is_absent", lambda *_: False),
    "sending-not-committed": _put(send, "_begin", _not_begun),
    "failed-queue-is-empty": _empty_for_failed("observe"),
    "failed-accounting-is-empty": _empty_for_failed("history"),
    "failed-search-is-empty": _empty_for_failed("find"),
    "unsure-is-refused": _submit_with(Unsure, Refused),
    "unsure-is-for-now": _submit_with(Unsure, LimitReached),
    "limit-is-refused": _submit_with(LimitReached, Refused),
    "half-an-id-believed": _put(reply, "job", _first_number),
    "fence-not-checked": _put(lease, "check_fence", _no_fence),
    "older-copy-believed": _put(mark, "read", _no_mark),
    "nothing-taken-apart": _put(recovery, "_replaced", lambda *_: set()),
    "claim-ignored": _all(_RESEND, _put(runners, "CLAIMS", False)),
    "fenced-runner-records": _put(runners, "FENCES", False),
    "unsealed-record-believed": _put(reconcile, "_by_record", _by_any_record),
    "reused-id-accepted": _put(observe, "belongs", _same_id),
    "one-word-for-all-tasks": _put(observe.Heard, "word", _any_word),
    "requeued-segment-is-the-end": _put(reconcile, "_is_over", _over),
    "record-of-earlier-segment": _put(reconcile, "_without_stale_exit", lambda seen, _: seen),
    "completing-is-an-end": lambda: patch.dict(state.WORDS, _ENDING),
    "cancelled-by-its-user": _put(ending, "_canceller", lambda *_: Cause.USER),
    "no-patience-for-records": _policy(record_grace=timedelta(0)),
    "silence-is-lost": _policy(lost_after=timedelta(0), absent_after=timedelta(0)),
    "vanished-is-withdrawn": _put(reconcile, "_was_withdrawn", lambda *_: True),
    "runners-not-told": _put(over, "tell", _all_told),
    "never-caught-up": _put(over, "catch_up", _all_told),
    "renamed-is-disowned": _put(observe, "_ours", _ours_by_name),
    "first-segment-believed": _put(observe.Heard, "word", _first_shared),
    "duplicate-believed": _put(reconcile, "_of_claimant", lambda seen: seen),
    "code-after-term-believed": _put(reconcile, "_by_last_word", _believe_code),
    "ended-by-another-clock": _put(reconcile, "LONG_AGO", timedelta(0)),
    "exit-before-a-requeue": _put(reconcile, "_waits_again", lambda _: False),
    "old-answer-believed": _put(reconcile, "_was_heard", lambda seen, _: seen.queue_at is not None),
    "looked-at-thrice": _put(cycle, "_observe", _look_often),
    "half-an-answer-believed": _put(parse, "queue", _queue_of_half),
}
