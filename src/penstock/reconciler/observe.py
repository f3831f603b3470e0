"""Observe: put the scheduler's words beside the attempts that they are about."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock.model.evidence import Evidence, Poll, Rest, Sighting, Task
from penstock.model.run import Array
from penstock.model.state import State, word
from penstock.planning.reconcile import waiting
from penstock.scheduler.sibling import is_revoked
from penstock.wire import over

MIB = 1 << 20
SENDING_TAKES = timedelta(minutes=10)  # at most, with clocks that differ
REQUEUE_TAKES = timedelta(minutes=5)
CANCELLED = State.CANCELLED


Submits = frozenset[tuple[int, datetime | None]]


@dataclass(frozen=True)
class Heard:
    """One answer, sorted by array: words for single indices, and for the pending rest."""

    poll: Poll | None
    single: Mapping[int, Mapping[int, Task]]  # array id → index → its word
    shared: Mapping[int, tuple[Task, ...]]  # array id → words for several indices

    def word(self, array: Array, index: int) -> Task | None:
        """Return the word on one element; its own goes before one that it shares."""
        own = self.single.get(array.id, {}).get(index)
        if own is not None:
            return own
        last = None
        for task in self.shared.get(array.id, ()):
            if task.tasks is not None and index in task.tasks:
                last = _newer(last, task)
        return last

    def cancelled_whole(self, array: Array) -> Task | None:
        """Return the word on an array that was cancelled before any of it could start.

        sacct (22.05) then shows its plain id, with no list of indices. No other word of a plain id
        is taken: just after an end one task may be shown so, under another name.
        """
        for task in self.shared.get(array.id, ()):
            is_plain = task.tasks is not None and not task.tasks
            if is_plain and has_token(task, array.token) and word(task.word).state is CANCELLED:
                return task
        return None

    def knows(self, array: Array) -> bool:
        """Return whether any task of an array was named."""
        return bool(self.single.get(array.id) or self.shared.get(array.id))

    def submit_at(self, array: Array) -> datetime | None:
        """Return when the scheduler took an array; None where only later segments were named."""
        tasks = [*self.single.get(array.id, {}).values(), *self.shared.get(array.id, ())]
        first = min((task.submit_at for task in tasks if task.submit_at), default=None)
        if first is None or array.sent_at is None or first > array.sent_at + SENDING_TAKES:
            return None
        return first

    def submits(self) -> Submits:
        """Return the (job, Submit) of all that was named."""
        tasks = [task for by_index in self.single.values() for task in by_index.values()]
        tasks += [task for words in self.shared.values() for task in words]
        return frozenset((task.job, task.submit_at) for task in tasks if task.submit_at)

    def rests(self, array: Array) -> list[Rest]:
        """Return which tasks of an array wait alike, where one word tells of them and no other."""
        told = set(self.single.get(array.id, {}))
        rests = []
        for task in self.shared.get(array.id, ()):
            if task.tasks is None:
                continue
            waits = waiting(task)
            if waits is not None and told.isdisjoint(task.tasks):
                rests.append(Rest(task.word, *waits, _ranges(task.tasks)))
            told.update(task.tasks)
        return rests

    def is_cut(self, array: Array) -> bool:
        """Return whether some word has a list of indices that was cut off."""
        return any(task.tasks is None for task in self.shared.get(array.id, ()))


NOTHING = Heard(None, {}, {})


def _ranges(tasks: frozenset[int] | range) -> tuple[tuple[int, int], ...]:
    """Return indices as ranges without steps."""
    if isinstance(tasks, range) and tasks.step == 1:
        return ((tasks[0], tasks[-1]),) if tasks else ()
    return tuple(over.ranges(tasks))


def belongs(task: Task, array: Array) -> bool:
    """Return whether a job is the array's: same id, and the token in its name or the same Submit.

    Ids are used again after a wrap, and users rename jobs; both at once cannot be told from
    another's job, so it is not ours. Where Submit is not known yet it is that of the sending: an id
    comes again only after all others. What is noted may be that of a later segment, where the first
    was not seen: until then the id was ours, too.
    """
    if task.job != array.job:
        return False
    if has_token(task, array.token):
        return True  # it is like no other, and what is noted of Submit may be of a later segment
    if task.submit_at is None or task.submit_at == array.submit_at:
        return task.submit_at is not None
    if array.submit_at is not None and task.submit_at > array.submit_at:
        return False
    return array.sent_at is not None and abs(task.submit_at - array.sent_at) <= SENDING_TAKES


def has_token(task: Task, token: str) -> bool:
    """Return whether a job's name begins with the token."""
    return task.name == token or task.name.startswith(token + ".")


def sort(poll: Poll | None, arrays: Iterable[Array], known: Submits = frozenset()) -> Heard:
    """Return the answer by array.

    In one answer of a queue an id is one job's: where a task is ours all of that id are, though
    they were renamed and requeued.
    """
    if poll is None:
        return NOTHING
    by_job = {array.job: array for array in arrays if array.job is not None}
    single: dict[int, dict[int, Task]] = defaultdict(dict)
    shared: dict[int, list[Task]] = defaultdict(list)
    for task, array in _ours(poll, by_job, known):
        if task.tasks is not None and len(task.tasks) == 1:
            index = next(iter(task.tasks))
            single[array.id][index] = _newer(single[array.id].get(index), task)
        else:
            shared[array.id].append(task)
    return Heard(poll, single, {key: tuple(tasks) for key, tasks in shared.items()})


def _ours(poll: Poll, by_job: Mapping[int, Array], known: Submits) -> Iterator[tuple[Task, Array]]:
    named = {
        task.job
        for task in poll.tasks
        if _is_of(task, by_job) or (task.job, task.submit_at) in known
    }
    before: dict[tuple[object, ...], Task] = {}
    for task in poll.tasks:
        array = by_job.get(task.job)
        if array is None:
            continue
        place = task.job, task.tasks
        in_queue = poll.source != "sacct" and task.job in named
        if in_queue or belongs(task, array) or _follows(task, before.get(place)):
            before[place] = task
            yield task, array


def _follows(task: Task, before: Task | None) -> bool:
    """Return whether a record of the accounting is the segment after one of ours.

    It was requeued when that one ended; until then the id was in use.
    """
    if before is None or before.end_at is None or task.submit_at is None:
        return False
    return abs(task.submit_at - before.end_at) <= REQUEUE_TAKES


def _is_of(task: Task, by_job: Mapping[int, Array]) -> bool:
    array = by_job.get(task.job)
    return array is not None and belongs(task, array)


def _newer(old: Task | None, new: Task) -> Task:
    """Return the later segment of a requeued task; what a sibling does goes before REVOKED."""
    if old is not None and is_revoked(old) != is_revoked(new):
        return new if is_revoked(old) else old
    if old is None or old.submit_at is None or new.submit_at is None:
        return new
    return new if new.submit_at >= old.submit_at else old


def evidence(
    array: Array,
    index: int,
    queue: Heard,
    history: Heard,
    sighting: Sighting | None,
    files_at: datetime | None = None,
) -> Evidence:
    """Return all that is known of one element."""
    mem_mb = array.request.mem_mb
    task = queue.word(array, index)
    has_queue = queue.poll is not None and (task is not None or not queue.is_cut(array))
    told = history.word(array, index)
    if told is None and sighting is None:
        told = history.cancelled_whole(array)
    return Evidence(
        queue=task,
        queue_at=queue.poll.at if has_queue and queue.poll else None,
        history=told,
        history_at=history.poll.at if history.poll else None,
        sighting=sighting,
        files_at=files_at,
        limit_bytes=mem_mb * MIB if mem_mb else None,
        knows_array=history.poll is not None and (queue.knows(array) or history.knows(array)),
    )
