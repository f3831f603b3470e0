"""What was seen, by whom and when; and what follows from it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from penstock.model.state import Cause, State


@dataclass(frozen=True)
class Task:
    """The words of the scheduler for one task of one job, or for all pending ones of an array.

    ``tasks`` is None where the scheduler's list was cut off: then it says nothing of any one task.
    """

    job: int  # of the array: squeue's %F
    tasks: frozenset[int] | range | None  # indices of the array; an empty set: not an array
    word: str  # as printed: "PENDING", "CANCELLED by 1000"
    name: str  # token first
    reason: str = ""
    submit_at: datetime | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    node: str = ""
    partition: str = ""
    exit_code: int | None = None  # sacct only
    exit_signal: int | None = None
    job_raw: int | None = None  # the task's own job id
    max_rss_bytes: int | None = None
    user: str = ""


@dataclass(frozen=True)
class Rest:
    """Tasks of an array that wait alike: the scheduler told of all of them by one word."""

    word: str
    state: State
    reason: str
    ranges: tuple[tuple[int, int], ...]  # first and last index of each


@dataclass(frozen=True)
class Poll:
    """One answer of the scheduler about all of the user's jobs, whole or not at all.

    A failed, partial or garbled answer, or one that is empty where it may not be, is not a Poll but
    a SchedulerError: it is no information.
    """

    at: datetime  # when it was asked
    tasks: tuple[Task, ...]
    source: str  # "squeue", "sacct", "local"
    odd: tuple[str, ...] = ()  # lines or words that were not understood
    again: int = 0  # questions that it took beside the first


@dataclass(frozen=True)
class Exit:
    """The last record of a runner."""

    at: datetime
    restart: int
    code: int | None  # of the command; None where a signal ended it
    signal: int | None
    cause: str | None  # the runner's own: "memory", "setup", "output", None
    detail: str
    is_sealed: bool  # the command ended by itself: no requeue may run it again
    peak_bytes: int | None = None
    cpu_s: float | None = None
    wall_s: float | None = None


@dataclass(frozen=True)
class Sighting:
    """What the runner's files say of the highest restart of an element."""

    restart: int
    job: str  # "1234_7", as the runner knows it
    node: str
    opened_at: datetime
    heard_at: datetime  # of the newest record
    exit: Exit | None = None
    is_closed: bool = False  # its spool has the name that only the restart that rules can give


@dataclass(frozen=True)
class Evidence:
    """All that is known of one attempt at one moment. None: nothing was said."""

    queue: Task | None = None  # squeue's word for it
    queue_at: datetime | None = None  # when squeue last answered whole, also without it
    history: Task | None = None  # sacct's word for it
    history_at: datetime | None = None
    sighting: Sighting | None = None
    files_at: datetime | None = None  # when its runner's files were last read
    limit_bytes: int | None = None  # the memory that was asked for
    knows_array: bool = False  # the queue or the accounting named other tasks of its array


@dataclass(frozen=True)
class Known:
    """What is recorded of an attempt, as far as decisions need it."""

    attempt: int
    state: State
    restart: int
    sent_at: datetime | None
    submit_at: datetime | None = None
    unknown_since: datetime | None = None
    cancel_asked: bool = False
    cause: Cause | None = None
    reason: str = ""
    missed: timedelta = timedelta(0)  # for how long this process itself has seen that


@dataclass(frozen=True)
class Transition:
    """What to write of an attempt. ``why`` names the sources that were believed."""

    attempt: int
    state: State
    cause: Cause | None = None
    detail: str = ""
    restart: int = 0
    unknown_since: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    signal: int | None = None
    peak_bytes: int | None = None
    cpu_s: float | None = None
    node: str = ""
    job: str = ""
    reason: str = ""  # why it waits, in the scheduler's word
    why: tuple[tuple[str, str], ...] = field(default=())  # (source, word)
    why_at: datetime | None = None  # when the source said so; None: when it is written
