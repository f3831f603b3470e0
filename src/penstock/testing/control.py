"""What users and administrators do to modelled jobs: cancel, hold, release, requeue, update."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from penstock.testing import life
from penstock.testing.accounting import row_of
from penstock.testing.core import (
    DENIED,
    FINISHED,
    INVALID_ID,
    IS_PENDING,
    NOT_PENDING,
    NOT_WHOLE,
    Core,
    SlurmError,
)
from penstock.testing.indices import parse, ranges
from penstock.testing.jobs import CANCELLED, PENDING, RUNNING, Job
from penstock.testing.site import User

_TARGET = re.compile(r"(\d+)(?:_(?:(\d+)|\[([^\]]+)\]|\*))?(?:\.\d+)?")
_COMPONENT = re.compile(r"(\d+)\+(\d+)")


@dataclass(frozen=True)
class Said:
    """What the controller says of some tasks: nothing is wrong where ``error`` is None."""

    tasks: tuple[int, ...]
    error: SlurmError | None


def target(text: str) -> tuple[int, list[int] | None]:
    """Return the job and the indices of ``12``, ``12_7``, ``12_[1-3]``. Raises SlurmError."""
    match = _TARGET.fullmatch(text)
    if match is None:
        raise SlurmError(*INVALID_ID)
    job, one, some = match.groups()
    if one is not None:
        return int(job), [int(one)]
    return int(job), parse(some)[0] if some else None


def find(core: Core, text: str) -> list[tuple[Job, list[int] | None]]:
    """Return records, each with the indices that are meant of a pending rest, or None for all.

    Raises SlurmError where there is none.
    """
    if part := _COMPONENT.fullmatch(text):
        place = int(part[1]), int(part[2])
        components = [job for job in core.records(place[0]) if job.het == place]
        if not components:
            raise SlurmError(*INVALID_ID)
        return [(job, None) for job in components]
    number, indices = target(text)
    records = core.records(number)
    if indices is None:
        if not records:
            raise SlurmError(*INVALID_ID)
        return [(job, None) for job in records]
    wanted = set(indices)
    found: list[tuple[Job, list[int] | None]] = []
    for job in records:
        if job.rest is not None:
            if some := [index for index in job.rest if index in wanted]:
                found.append((job, some if len(some) < len(job.rest) else None))
        elif job.index in wanted and job.array == number:
            found.append((job, None))
    if not found:
        raise SlurmError(*INVALID_ID)
    return found


def _may(job: Job, who: User) -> None:
    if not who.is_admin and who.uid != job.uid:
        raise SlurmError(*DENIED)


# --- cancel ---


def cancel(core: Core, text: str, who: User, signal: int | None = None) -> None:
    """Cancel, or send a signal. What has ended is left alone. Raises SlurmError."""
    for job, some in find(core, text):
        _may(job, who)
        if job.is_over:
            continue
        if job.state == PENDING and job.het and text != str(job.het[0]):
            raise SlurmError(*NOT_WHOLE)
        if signal is not None and job.state != PENDING:
            if job.process:
                life.send_signal(core, job.process, signal)
        elif job.state == PENDING and job.flag != "COMPLETING":
            _cancel_pending(core, job, some, who.uid)
        else:
            _cancel_running(core, job, who.uid)
    core.wake()


def _cancel_pending(core: Core, job: Job, some: list[int] | None, uid: int) -> None:
    if some is not None:
        # Seen on 22.05: they leave no row behind, neither in squeue nor in sacct.
        job.drop(set(some))
        core.finished(job, len(some))
        core.tell(job)
        return
    job.state, job.flag, job.cancelled_by = CANCELLED, "", uid
    started_at, job.start_at, job.end_at = job.start_at, core.now, core.now
    if core.site.has_accounting and core.now - job.submit_at < core.accounting.lag_s:
        core.accounting.send_early(row_of(job))
    core.tell(job, start_at=started_at)
    life.retire(core, job)


def _cancel_running(core: Core, job: Job, uid: int) -> None:
    process = job.process
    if job.flag == "COMPLETING":
        if job.next:  # it was about to be requeued
            job.cancelled_by, job.next, job.state = uid, "", CANCELLED
            core.tell(job)
        return
    job.cancelled_by = uid
    life.conclude(core, job, CANCELLED, "None")
    core.tell(job, step=(CANCELLED, 0, life.TERM))
    if process is not None:
        life.terminate(core, process)


# --- scontrol ---


def _each(
    core: Core, text: str, who: User, do: Callable[[Job], None], *, splits: bool = True
) -> list[Said]:
    """Do something to every record that is meant, a part of a pending rest split off."""
    said: list[Said] = []
    for job, some in find(core, text):
        for piece in _pieces(core, job, some if splits and not job.is_over else None):
            tasks = tuple(piece.tasks())
            try:
                _may(piece, who)
                do(piece)
            except SlurmError as error:
                said.append(Said(tasks, error))
            else:
                said.append(Said(tasks, None))
    core.wake()
    return said


def _pieces(core: Core, job: Job, some: list[int] | None) -> Iterator[Job]:
    if some is None:
        yield job
        return
    for index in some:
        piece = core.split(job, index)
        core.tell(piece)
        yield piece
    core.tell(job)


def hold(core: Core, text: str, who: User, by: str = "") -> list[Said]:
    """Hold: a pending job does not start; a running one goes on, and stays when requeued."""

    def do(job: Job) -> None:
        if job.is_over:
            raise SlurmError(*FINISHED)
        job.held_by = by or ("admin" if who.is_admin else "user")
        job.priority, job.reason = 0, f"JobHeld{job.held_by.capitalize()}"

    return _each(core, text, who, do)


def release(core: Core, text: str, who: User) -> list[Said]:
    """Let go of what is held. An administrator's hold is not a user's to release."""

    def do(job: Job) -> None:
        if job.is_over:
            raise SlurmError(*FINISHED)
        if job.held_by == "admin" and not who.is_admin:
            raise SlurmError(*DENIED)
        if job.held_by or job.flag == "SPECIAL_EXIT":
            core.lowest_priority -= 1
            job.held_by, job.reason, job.priority = "", "None", core.lowest_priority
            job.flag = "" if job.flag == "SPECIAL_EXIT" else job.flag

    return _each(core, text, who, do)


def requeue(core: Core, text: str, who: User, then: str = "requeue") -> list[Said]:
    """Requeue what runs or has ended; ``then`` is requeue, hold or special."""

    def do(job: Job) -> None:
        if not job.options.can_requeue:
            raise SlurmError("Requested operation is presently disabled", 2023)
        if job.state == PENDING:
            raise SlurmError(*IS_PENDING)
        if job.flag == "COMPLETING":
            job.next = job.next or then
            return
        if job.state == RUNNING:
            process = job.process
            assert process is not None
            life.come_back(core, job, "REQUEUED", then)
            life.terminate(core, process)
            return
        _requeue_ended(core, job, then)

    return _each(core, text, who, do)


def _requeue_ended(core: Core, job: Job, then: str) -> None:
    """Run again what has ended. Seen on 22.05: its row becomes REQUEUED, with a later end."""
    core.begun(job, job.count)
    job.end_at = core.now
    core.tell(job, state="REQUEUED", end_at=core.now, by=None)
    job.next, job.cancelled_by = then, None
    life.requeue(core, job)


def update(core: Core, text: str, who: User, fields: dict[str, str]) -> list[Said]:
    """Change name, partition, throttle, begin time, time limit or priority."""

    def do(job: Job) -> None:
        if job.is_over:
            raise SlurmError(*FINISHED)
        for key, value in fields.items():
            _change(core, job, key.lower(), value, who)
        if job.state == PENDING and not job.next:  # else its segment is over: the next tells it
            core.tell(job)

    return _each(core, text, who, do)


CHANGED = frozenset(
    {
        *("name", "jobname", "partition", "arraytaskthrottle", "starttime", "eligibletime"),
        *("timelimit", "requeue"),
    }
)


def _change(core: Core, job: Job, key: str, value: str, who: User) -> None:
    if key in ("name", "jobname"):
        job.name = value
    elif key == "partition":
        if job.state != PENDING:
            raise SlurmError(*NOT_PENDING)
        if value not in core.partitions:
            raise SlurmError("Invalid partition name specified", 2000)
        job.partition = value
    elif key == "arraytaskthrottle":
        job.throttle = int(value) or None
    elif key in ("starttime", "eligibletime"):
        job.begin_at = core.now + (int(value[4:]) if value.startswith("now+") else 0)
        core.at(job.begin_at, core.wake)
    elif key == "timelimit":
        wanted = int(value) * 60
        if not who.is_admin and wanted > job.time_s and job.state != PENDING:
            raise SlurmError(*DENIED)
        job.time_s = wanted
    elif key == "requeue":
        job.options = replace(job.options, can_requeue=value == "1")
    else:
        raise ValueError(key)


def spoken(text: str, said: list[Said]) -> list[str]:
    """Return the lines that scontrol prints: none where all went well."""
    errors = [one for one in said if one.error]
    if not errors:
        return []
    number = target(text)[0]
    if not any(one.tasks for one in said):
        return [f"{errors[0].error} for job {text}"]
    by_text: dict[str, list[int]] = {}
    for one in sorted(said, key=lambda one: one.tasks[:1]):
        words = str(one.error) if one.error else "No error"
        by_text.setdefault(words, []).extend(one.tasks)
    return [f"{number}_{ranges(sorted(tasks))}: {words}" for words, tasks in by_text.items()]
