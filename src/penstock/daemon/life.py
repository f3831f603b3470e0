"""Whether a daemon lives, where, and how it fares: two small files in the project's home.

``daemon.<user>`` is written once by each daemon, and one that finds another's there ends;
``daemon.<user>.pulse`` is written now and then, without waiting for the disk. Neither decides what
is right: that is the lease's and the fence's.
"""

import contextlib
import json
import socket
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from penstock import aside
from penstock.clock import moment, stamp
from penstock.errors import StoreError, UsageError
from penstock.reconciler.world import here, is_gone

PULSE = timedelta(seconds=10)  # between two writes of the pulse
SILENT = timedelta(minutes=10)  # a daemon of another host that is silent for so long is gone
TRIES = 100  # to read the file, or to take its name


@dataclass(frozen=True)
class Life:
    """A daemon: host, number and beginning of its process; and since when."""

    holder: str
    since: datetime

    @property
    def host(self) -> str:
        """Return the host's name."""
        return self.holder.partition(":")[0]

    @property
    def pid(self) -> int:
        """Return the number of its process; 0: it is not known."""
        pid = self.holder.split(":")[1] if ":" in self.holder else ""
        return int(pid) if pid.isdecimal() else 0

    @property
    def is_here(self) -> bool:
        """Return whether it is on this host."""
        return self.host == socket.gethostname()


@dataclass
class Pulse:
    """How a daemon fares. Times are seconds since the epoch, or seconds."""

    at: float = 0
    cycles: int = 0
    last_s: float = 0
    mean_s: float = 0  # of the last fifty or so
    longest_s: float = 0
    next_at: float = 0
    failures: int = 0  # in a row
    trouble: str = ""
    written_at: float = field(default=0, repr=False)

    def beat(self, at: datetime, took_s: float, wait_s: float) -> None:
        """Take in a cycle."""
        self.at, self.last_s, self.next_at = stamp(at), took_s, stamp(at) + wait_s
        self.cycles += 1
        self.mean_s += (took_s - self.mean_s) / min(self.cycles, 50)
        self.longest_s = max(self.longest_s, took_s)


def path_of(home: Path, user: str) -> Path:
    """Return the file that says which daemon lives."""
    return home / f"daemon.{user}"


def read(path: Path) -> Life | None:
    """Return the daemon that wrote the file last; None: none, or it ended in order."""
    with contextlib.suppress(OSError):
        return _told(_text(path))
    return None


def _text(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _told(text: bytes | None) -> Life | None:
    try:
        told = json.loads(text or b"")
        return Life(str(told["holder"]), moment(float(told["since"])))
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def pulse(path: Path) -> Pulse:
    """Return how the daemon fared last."""
    try:
        told = json.loads(path.with_name(path.name + ".pulse").read_text())
        return Pulse(**{name: type(old)(told[name]) for name, old in asdict(Pulse()).items()})
    except (OSError, ValueError, KeyError, TypeError):
        return Pulse()


def write_pulse(path: Path, now: Pulse) -> None:
    """Write how it fares; where that cannot be, nobody hears of it."""
    now.written_at = now.at
    _write(path.with_name(path.name + ".pulse"), json.dumps(asdict(now)))


def living(path: Path, now: datetime) -> Life | None:
    """Return the daemon that lives; of one on another host its pulse tells."""
    life = read(path)
    return life if life is not None and _lives(life, path, now) else None


def _lives(life: Life, path: Path, now: datetime) -> bool:
    if life.is_here:
        return not is_gone(life.holder)
    return now - max(life.since, moment(pulse(path).at)) < SILENT


def claim(path: Path, now: datetime) -> Life:
    """Say that this process is the daemon, unless that is said already.

    Of several that do so at once, on whatever hosts, one has the file in the end: the others are
    refused, now or when they say so again. Raises UsageError where another lives, StoreError where
    nothing can be written.
    """
    try:
        for _ in range(TRIES):
            there = _text(path)
            found = _told(there)
            if found is not None and found.holder == here():
                return found
            if found is not None and _lives(found, path, now):
                raise _taken(found)
            if there is not None:
                aside.clear(path, there)
            mine = Life(here(), now)
            if aside.take(path, json.dumps({"holder": mine.holder, "since": stamp(now)})):
                return mine
            time.sleep(0.05)  # what NFS shows may be older than what took the name
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}", hint="is the disk full, or read-only?"
        ) from error
    raise StoreError(f"{path} comes and goes", hint="who writes it? Remove it, and start again")


def _taken(other: Life) -> UsageError:
    return UsageError(
        f"a daemon lives already: process {other.pid} on {other.host}, since "
        f"{other.since.astimezone():%Y-%m-%d %H:%M}",
        hint="`penstock daemon stop` ends it (on that host)",
    )


def give_up(path: Path) -> None:
    """Say that this daemon has ended, if no other has taken its place."""
    life = read(path)
    if life is not None and life.holder == here():
        path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):
        aside.write(path, text)
