"""Runs, attempts, arrays: what the store keeps and the reconciler moves."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from penstock.model.spec import Params, Request, Stage
from penstock.model.state import State


class Intent(StrEnum):
    """Where an array stands between the wish and the scheduler."""

    INTENDED = "intended"  # surely not in the scheduler
    SENDING = "sending"  # perhaps in the scheduler
    ACCEPTED = "accepted"  # in it, under a known job id
    ENDED = "ended"  # all its attempts are final
    FOLDED = "folded"  # … and its files are folded


class ReadyRun(NamedTuple):  # of which there are a hundred thousand at a time
    """A run that waits to be planned, or is."""

    id: int
    uid: str
    stage: int
    experiment: str
    number: int
    attempt: int  # the number of the attempt that is planned, from 1
    params: str  # JSON of one line, as the store has it and a manifest does

    @property
    def name(self) -> str:
        """Return ``experiment/7``."""
        return f"{self.experiment}/{self.number}"


@dataclass(frozen=True)
class StageRow:
    """A stage as the store has it."""

    id: int
    stage: Stage
    code: str | None  # digest of its code archive
    folder: str


@dataclass(frozen=True)
class PlannedArray:
    """Runs that go to the scheduler in one piece; the index of a run is its place here."""

    stage: int
    request: Request
    runs: tuple[ReadyRun, ...]
    throttle: int | None = None


@dataclass(frozen=True)
class Array:
    """A planned array, as the store has it: the intent."""

    id: int
    token: str
    stage: int
    request: Request
    size: int
    throttle: int | None
    intent: Intent
    job: int | None = None
    sent_at: datetime | None = None
    not_before: datetime | None = None
    submit_at: datetime | None = None
    detail: str = ""


@dataclass(frozen=True)
class RunRow:
    """A run as queries show it."""

    id: int
    uid: str
    experiment: str
    number: int
    stage: str
    state: State
    cause: str | None
    attempt: int
    params: Params
    tags: dict[str, str]
    metrics: dict[str, float]
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def name(self) -> str:
        """Return ``experiment/7``."""
        return f"{self.experiment}/{self.number}"


@dataclass(frozen=True)
class Limits:
    """What the cluster lets this user do now. None: unlimited, or not known."""

    max_array_size: int = 1001  # indices go from 0 to one less
    max_array_tasks: int | None = None
    room: int | None = None  # how many more tasks may be submitted now
    time_s: dict[str, int] | None = None  # the longest time of each partition
    default_partition: str | None = None


@dataclass(frozen=True)
class Capabilities:
    """What a scheduler is and can do."""

    name: str  # "slurm", "local"
    version: tuple[int, ...]
    cluster: str
    has_accounting: bool
    min_job_age_s: int = 300
    accounting_lag_s: int = 60
    lacks: frozenset[str] = frozenset()  # words of the contract suite: "preemption", "accounts" …
