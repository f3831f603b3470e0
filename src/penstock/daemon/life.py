"""Whether a daemon lives, where, and how it fares: two small files in the project's home.

``daemon.<user>`` is written once by each daemon; ``daemon.<user>.pulse`` now and then, without
waiting for the disk. Neither decides what is right: that is the lease's and the fence's.
"""

import contextlib
import json
import socket
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from penstock import aside
from penstock.clock import moment, stamp
from penstock.errors import StoreError, UsageError
from penstock.reconciler.world import here, is_gone

PULSE = timedelta(seconds=10)  # between two writes of the pulse
SILENT = timedelta(minutes=10)  # a daemon of another host that is silent for so long is gone


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
    try:
        told = json.loads(path.read_text())
        return Life(str(told["holder"]), moment(float(told["since"])))
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
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
    if life is None or is_gone(life.holder):
        return None
    if not life.is_here:
        heard_at = max(life.since, moment(pulse(path).at))
        return life if now - heard_at < SILENT else None
    return life


def claim(path: Path, now: datetime) -> Life:
    """Say that this process is the daemon. Raises UsageError where another lives."""
    other = living(path, now)
    if other is not None and other.holder != here():
        raise UsageError(
            f"a daemon lives already: process {other.pid} on {other.host}, since "
            f"{other.since.astimezone():%Y-%m-%d %H:%M}",
            hint="`penstock daemon stop` ends it (on that host)",
        )
    life = Life(here(), now)
    _write(path, json.dumps({"holder": life.holder, "since": stamp(now)}))
    if read(path) is None:
        raise StoreError(f"{path} cannot be written", hint="is the disk full, or read-only?")
    return life


def give_up(path: Path) -> None:
    """Say that this daemon has ended, if no other has taken its place."""
    life = read(path)
    if life is not None and life.holder == here():
        path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):
        aside.write(path, text)
