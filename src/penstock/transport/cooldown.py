"""Wait before a host is tried again, in all processes: failures must not look like an attack.

A small file for each host, and a lock, so that only one process connects at a time. Sites ban
addresses for many connections, whether these succeed or not; so both count. A jump host is a host
of its own: what fails there is waited for by all that go through it.
"""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from penstock.errors import Denied, Dropped, PenstockError, Unattended, Unreachable, Untrusted

UNREACHABLE_S = (5, 10, 30, 60, 120, 300)  # after the first failure, the second … and all further
DENIED_S = (120, 600, 3600)
DROPPED_S = 30  # for the first time: most often it was the network; again, and it counts as denied
UNATTENDED_S = (60, 600, 3600)  # somebody is needed, and nobody is there: a daemon goes on for ever
WINDOW_S = 600
MOST_OPENED = 12  # connections in such a time, even if all succeed
LOCK_S = 330  # somebody may be typing a code
LONGEST_S = max(*DENIED_S, *UNATTENDED_S, WINDOW_S)


@dataclass(frozen=True)
class Record:
    """What became of the last tries."""

    failures: int = 0
    denials: int = 0
    until: float = 0.0
    why: str = ""
    opened: tuple[float, ...] = ()
    unattended: int = 0  # tries that needed somebody, while nobody was there
    kind: str = ""  # of MENDED: whoever is at a terminal need not wait


MENDED: dict[str, type[Unreachable]] = {"Unattended": Unattended, "Untrusted": Untrusted}


def after(
    record: Record, now: float, error: PenstockError | None, *, is_attended: bool = False
) -> Record:
    """Return the record after a try that succeeded, or failed by an error. Pure."""
    opened = (*(at for at in record.opened if 0 <= now - at < WINDOW_S), now)
    if error is None:
        return _crowded(opened)
    if isinstance(error, tuple(MENDED.values())):  # users mend that, and try again
        return _unattended(record, opened, error, is_attended=is_attended)
    if isinstance(error, Denied):
        wait_s = _wait_s(DENIED_S, record.denials)
        if isinstance(error, Dropped) and not record.denials:
            wait_s = DROPPED_S
        changed = replace(record, denials=record.denials + 1)
    else:
        wait_s = _wait_s(UNREACHABLE_S, record.failures)
        changed = replace(record, failures=record.failures + 1)
    return replace(changed, until=now + wait_s, why=str(error), opened=opened, kind="")


def _wait_s(waits_s: tuple[int, ...], before: int) -> int:
    """Return how long to wait after so many tries that went wrong in the same way before."""
    return waits_s[min(before, len(waits_s) - 1)]


def _unattended(
    record: Record, opened: tuple[float, ...], error: PenstockError, *, is_attended: bool
) -> Record:
    if is_attended:  # they know; those who are not go on waiting
        kept = record if record.kind else _crowded(opened)
        return replace(kept, opened=opened, unattended=record.unattended)
    wait_s = _wait_s(UNATTENDED_S, record.unattended)
    return Record(
        until=opened[-1] + wait_s,
        why=str(error),
        opened=opened,
        unattended=record.unattended + 1,
        kind=type(error).__name__,
    )


def _crowded(opened: tuple[float, ...]) -> Record:
    """Return the record of connections alone: so many are too many even if all succeed."""
    until = opened[-MOST_OPENED] + WINDOW_S if len(opened) >= MOST_OPENED else 0.0
    why = f"{len(opened)} connections in {WINDOW_S // 60} minutes" if until else ""
    return Record(until=until, why=why, opened=opened)


def kept_back(record: Record, *, is_attended: bool) -> Record:
    """Return what keeps a process back: not one at a terminal from what is mended there. Pure."""
    crowded = _crowded(record.opened)
    if record.kind and is_attended:
        return crowded
    return max(record, crowded, key=lambda one: one.until)


def record_path(folder: Path, host: str) -> Path:
    """Return where the record of a host is, as all processes find it."""
    return folder / f"{host.replace('/', '_')}.json"


class Cooldown:
    """The record of a host, shared by processes."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self._path, self._now = path, now

    def read(self) -> Record:
        """Return the record; an empty one where there is none, or none that can be read."""
        try:
            found = json.loads(self._path.read_text())
            return Record(**{**found, "opened": tuple(found["opened"])})
        except (OSError, ValueError, TypeError, KeyError):
            return Record()

    def forget(self) -> None:
        """Let the next try be at once: its user says that the cause is gone."""
        self._write(Record(opened=self.read().opened[1 - MOST_OPENED :]))

    @contextlib.contextmanager
    def trying(self, host: str, *, is_attended: bool = False) -> Iterator[None]:
        """Hold the lock for a try, and note how it ended. Raises Unreachable where it is early.

        ``is_attended``: somebody is there who can answer, and may have mended what was wrong.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with FileLock(self._path.with_suffix(".lock"), timeout=LOCK_S):
                self.check(host, is_attended=is_attended)
                try:
                    yield
                except Unreachable as error:
                    self._write(after(self.read(), self._now(), error, is_attended=is_attended))
                    raise
                self._write(after(self.read(), self._now(), None))
        except Timeout as error:
            raise Unreachable(
                f"another process has been connecting to {host} for {LOCK_S} s",
                hint=f"does it wait for something to be typed? its lock: {error.lock_file}",
            ) from error

    def check(self, host: str, *, is_attended: bool = False) -> None:
        """Raise Unreachable where it is early for a try."""
        record = kept_back(self.read(), is_attended=is_attended)
        left_s = record.until - self._now()
        if not 0 < left_s <= LONGEST_S:  # a clock that was set back is no reason
            return
        what, _, hint = record.why.partition("\n")
        kind = MENDED.get(record.kind) or (Denied if record.denials else Unreachable)
        mended = "when that is mended: penstock clusters --connect NAME"
        raise kind(
            f"{host} is not tried again for {left_s:.0f} s, so that the site does not ban you; "
            f"before: {what}",
            hint="; ".join(filter(None, (hint.strip(), "" if "--connect" in hint else mended))),
        )

    def _write(self, record: Record) -> None:
        aside = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):  # then the next one tries sooner
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(asdict(record), file)
            aside.replace(self._path)
