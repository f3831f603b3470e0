"""What a cycle works with: one user's jobs on one cluster, and one store."""

import os
import pwd
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from penstock.clock import Clock
from penstock.model.evidence import Known
from penstock.model.run import Capabilities
from penstock.planning.patience import Policy, nameless
from penstock.scheduler.protocol import Scheduler
from penstock.settings import Settings
from penstock.store.connection import Store
from penstock.transport.protocol import Transport


@dataclass
class Memory:
    """What a process remembers of its cycles: to spare work, and to wait no longer than it must."""

    told_under: int | None = None  # the fence under which it told runners all that is over
    left_at: int | None = None  # the fence of its last cycle, when that was over
    # By attempt: since when nobody knows how it stands, and when this process saw that it is so.
    missed: dict[int, tuple[datetime, float]] = field(default_factory=dict)

    def missed_for(self, known: Known, at_s: float) -> timedelta:
        """Return for how long this process saw that nobody knows how an attempt stands."""
        noted, since_s = self.missed.get(known.attempt, (None, at_s))
        return timedelta(seconds=max(0, at_s - since_s if noted == known.unknown_since else 0))

    def note(self, attempt: int, unknown_since: datetime | None, now_s: float) -> None:
        """Remember since when an attempt is missed; nothing where that is known already."""
        noted, _ = self.missed.get(attempt, (None, 0))
        if unknown_since is None:
            self.missed.pop(attempt, None)
        elif noted != unknown_since:
            self.missed[attempt] = unknown_since, now_s


@dataclass(frozen=True)
class World:
    """The seams, opened; nothing here decides."""

    settings: Settings
    store: Store
    scheduler: Scheduler
    transport: Transport
    clock: Clock
    user: str
    uid: int
    alias: str = ""  # of the cluster in the settings, where it is reached by SSH
    memory: Memory = field(default_factory=Memory)
    # What all processes remember that share the connection to a cluster that is far: by key.
    recall: Callable[[str], str] = lambda _: ""
    remember: Callable[[str, str], None] = lambda *_: None

    @property
    def capabilities(self) -> Capabilities:
        """Return what the scheduler is and can do, as far as it has told."""
        return self.scheduler.capabilities()

    @property
    def cluster(self) -> str:
        """Return the cluster's name, as the store has it."""
        return self.alias or self.capabilities.cluster

    @property
    def is_far(self) -> bool:
        """Return whether each command is one to another machine."""
        return bool(self.alias)

    @property
    def holder(self) -> str:
        """Return the name under which this process takes the lease."""
        return here()

    @property
    def policy(self) -> Policy:
        """Return how long to wait for whom."""
        can = self.capabilities
        return Policy(
            record_grace=timedelta(seconds=self.settings.record_grace_s),
            absent_after=timedelta(seconds=can.min_job_age_s + can.accounting_lag_s),
            lost_after=timedelta(seconds=self.settings.lost_after_s),
            has_accounting=can.has_accounting,
            uid=self.uid,
            name=nameless if self.alias else _name,  # far away uids are of other people
        )

    def folder(self, token: str) -> Path:
        """Return the folder of an array's files."""
        return self.settings.home / "arrays" / token


def _name(uid: int) -> str:
    """Return the name of a user of this machine; empty: it knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return ""


def here() -> str:
    """Return the name of this process: host, number, and when it began."""
    return f"{socket.gethostname()}:{os.getpid()}:{_began(os.getpid())}"


def is_gone(holder: str) -> bool:
    """Return whether a process that took the lease is no more; no, where that can't be known."""
    host, _, process = holder.partition(":")
    pid, _, began = process.partition(":")
    if host != socket.gethostname() or not pid.isdigit() or not began:
        return False
    return _began(int(pid)) != began


def _began(pid: int) -> str:
    """Return when a process of this host began, in ticks since the boot; empty: there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]  # the 22nd field; the name may have spaces
